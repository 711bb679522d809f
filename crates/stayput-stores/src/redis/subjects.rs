//! The contract for a subject's sessions together, over two kinds of slots: the subject's, and one for each record.
//!
//! The order of things is what keeps it right, since nothing spans two slots: a member is listed before its record is there and
//! forgotten after it is gone; victims are marked as ending before they are removed; and an end is made under an index that is
//! as it was when the session to spare was seen alive. docs/decisions.md has the reasons.

pub(super) mod admission;

use redis::{Cmd, Value};
use stayput_core::{
    Epoch, Operation, Record, State, StorageKey, StoreError, StoreErrorKind, SubjectKey, TOMBSTONE_LIFETIME,
    Timestamp, layout,
};

use super::RedisStore;
use super::client::{Call, Effect};
use super::index::{Member, members};
use super::keys::SubjectKeys;
use super::records::{header_in, tombstone_lifetime};
use super::script::{END, RAISE, Run};

impl RedisStore {
    pub(super) async fn sessions_of(&self, subject: SubjectKey) -> Result<Vec<StorageKey>, StoreError> {
        let mut call = self.client.begin(Operation::SubjectSessions)?;
        let names = self.keys.subject(&subject);
        let commands = [names.range.read(&names.bucket), names.range.read_ending(&names.bucket)];
        let answers = call.ask(commands.into()).await?;
        let (mut listed, ending) = (members(&answers[0]), members(&answers[1]));
        self.finish(&mut call, &subject, &ending).await?;
        listed.retain(|member| !ending.contains(member));
        let headers = call.ask(listed.iter().map(|member| self.read_header(&member.key())).collect()).await?;
        let there = listed.iter().zip(&headers);
        let there =
            there.filter(|(member, header)| matches!(state(&subject, member, header), LIVE | REMAINDER));
        let mut there: Vec<_> = there.map(|(member, header)| (beginning(header), member.key())).collect();
        there.sort_unstable();
        // One whose deadline was moved while it was listed is there twice.
        there.dedup();
        Ok(there.into_iter().map(|(_, key)| key).collect())
    }

    pub(super) async fn end_sessions(
        &self,
        subject: SubjectKey,
        except: Option<StorageKey>,
    ) -> Result<Option<usize>, StoreError> {
        let mut call = self.client.begin_write(Operation::EndSubject, true)?;
        let names = self.keys.subject(&subject);
        let (lifetime, first) = (TOMBSTONE_LIFETIME.as_millis().to_string(), names.range.first().to_string());
        for _ in 0..ATTEMPTS {
            let spared = match except {
                None => None,
                Some(key) => match self.see_alive(&mut call, &subject, &names, &key).await? {
                    None => return Ok(None),
                    spared => spared,
                },
            };
            let mut arguments = vec![lifetime.as_bytes(), first.as_bytes()];
            if let Some((member, index)) = &spared {
                arguments.extend([member.as_bytes(), index.as_slice()]);
            }
            let keys = [&*names.bucket, &*names.epoch];
            let run = Run { script: &RAISE, keys: &keys, arguments: &arguments };
            match call.run(run, Effect::Something).await? {
                Value::BulkString(word) if word == b"ending" => return Ok(None),
                Value::Array(listed) => {
                    let spared = spared.map(|(member, _)| member);
                    let mut listed = members(&Value::Array(listed));
                    listed.retain(|member| spared.is_none_or(|spared| member.session() != spared.session()));
                    let ended = self.end_all(&mut call, &subject, &listed).await?;
                    call.confirm().await?;
                    return Ok(Some(ended));
                }
                // Others logged in since the session to spare was seen alive.
                _ => {}
            }
        }
        Err(call.error(StoreErrorKind::Overloaded).with_source("too many logins of one subject at once"))
    }

    pub(super) async fn epoch(&self, subject: SubjectKey) -> Result<Epoch, StoreError> {
        let mut call = self.client.begin(Operation::SubjectEpoch)?;
        let answer = call.send(&get(&self.keys.subject(&subject).epoch), Effect::Nothing).await?;
        epoch_in(&answer).ok_or_else(|| call.error(StoreErrorKind::Unreadable))
    }

    /// The session to spare and the index of the moment, if it is still live after that was read.
    async fn see_alive(
        &self,
        call: &mut Call<'_>,
        subject: &SubjectKey,
        names: &SubjectKeys,
        key: &StorageKey,
    ) -> Result<Option<(Member, Vec<u8>)>, StoreError> {
        let index = members(&call.send(&names.range.read(&names.bucket), Effect::Nothing).await?);
        let header = call.send(&self.read_header(key), Effect::Nothing).await?;
        let Some(Record { header, .. }) = live_session(call, subject, &header)? else { return Ok(None) };
        let member = Member::new(key, header.created, header.absolute);
        let listed = index.iter().find(|listed| listed.session() == member.session());
        let read = index.iter().flat_map(|member| member.as_bytes().iter().copied()).collect();
        Ok(Some((*listed.unwrap_or(&member), read)))
    }

    /// Removes victims, and takes them out of the index: each was there once, so that none is about to come.
    async fn finish(
        &self,
        call: &mut Call<'_>,
        subject: &SubjectKey,
        victims: &[Member],
    ) -> Result<(), StoreError> {
        if !victims.is_empty() {
            let removed = self.remove_all(call, subject, victims).await?;
            let done = victims.iter().zip(&removed).filter(|(_, removed)| **removed != ANOTHERS);
            let done: Vec<_> = done.map(|(member, _)| *member).collect();
            self.forget(call, subject, &done).await;
        }
        Ok(())
    }

    /// Removes those that are there, and says how many of them were live sessions.
    async fn end_all(
        &self,
        call: &mut Call<'_>,
        subject: &SubjectKey,
        listed: &[Member],
    ) -> Result<usize, StoreError> {
        let removed = self.remove_all(call, subject, listed).await?;
        // Where nothing was, a record may be about to come: its member stays.
        let was_there = |removed: &Value| *removed != Value::Nil && *removed != ANOTHERS;
        let gone = listed.iter().zip(&removed).filter(|(_, removed)| was_there(removed));
        let gone: Vec<_> = gone.map(|(member, _)| *member).collect();
        self.forget(call, subject, &gone).await;
        let is_session = |header: Record| header.header.state == State::Live;
        let live = removed.iter().filter(|removed| was_there(removed));
        Ok(live.filter(|removed| header_in(removed).is_none_or(is_session)).count())
    }

    async fn remove_all(
        &self,
        call: &mut Call<'_>,
        subject: &SubjectKey,
        members: &[Member],
    ) -> Result<Vec<Value>, StoreError> {
        let names: Vec<_> = members.iter().map(|member| self.keys.record(&member.key())).collect();
        let lifetime = tombstone_lifetime();
        let own: Vec<_> = members
            .iter()
            .zip(&names)
            .map(|(member, name)| {
                let arguments: [&[u8]; 3] = [lifetime.as_bytes(), subject.as_bytes(), member.beginning()];
                ([name.as_slice()], arguments)
            })
            .collect();
        let runs: Vec<_> =
            own.iter().map(|(keys, arguments)| Run { script: &END, keys, arguments }).collect();
        let removed = call.run_all(&runs).await?;
        let names: Vec<_> = names.iter().map(Vec::as_slice).collect();
        self.tell_again(call, &names).await;
        Ok(removed)
    }
}

/// The record if it is a session of the subject, and no remainder.
fn live_session(call: &Call<'_>, subject: &SubjectKey, header: &Value) -> Result<Option<Record>, StoreError> {
    match header {
        Value::BulkString(bytes) if bytes.len() > 1 => {
            let record = Record::decode(bytes)
                .map_err(|error| call.error(StoreErrorKind::Unreadable).with_source(error))?;
            let Record { header, .. } = &record;
            let is_session = header.subject == Some(*subject) && header.state == State::Live;
            Ok(is_session.then_some(record))
        }
        _ => Ok(None),
    }
}

fn get(key: &[u8]) -> Cmd {
    let mut get = redis::cmd("GET");
    get.arg(key);
    get
}

fn epoch_in(value: &Value) -> Option<Epoch> {
    match value {
        Value::Nil => Some(Epoch::default()),
        value => number_in(value).map(Epoch::from_count),
    }
}

fn number_in(value: &Value) -> Option<u64> {
    let Value::BulkString(bytes) = value else { return None };
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// How a member stands, by the header under its key. What can't be read counts, as it does elsewhere until it is ended; but whose it is
/// and when it began can be told of every format.
fn state(subject: &SubjectKey, member: &Member, header: &Value) -> u8 {
    let Value::BulkString(bytes) = header else { return GONE };
    match lasting(bytes) {
        Some((created, _)) if !member.began(created) => GONE,
        Some((_, owner)) if owner != Some(subject.as_bytes()) => FOREIGN,
        None if bytes.len() <= 1 => GONE,
        _ if Record::decode(bytes).is_ok_and(|record| record.header.state == State::Remainder) => REMAINDER,
        _ => LIVE,
    }
}

/// When the session of a header began, and whose it is. `None` of what is none in any format.
fn lasting(header: &[u8]) -> Option<(Timestamp, Option<&[u8]>)> {
    let has_subject = *header.get(layout::HAS_SUBJECT)? == 1;
    let created = header[layout::CREATED].try_into().map(u64::from_be_bytes).ok()?;
    let owner = if has_subject { Some(header.get(layout::SUBJECT)?) } else { None };
    Some((Timestamp::from_millis(created), owner))
}

const LIVE: u8 = b'l';
const REMAINDER: u8 = b'r';
const GONE: u8 = b'g';
/// Of another subject in the same range.
const FOREIGN: u8 = b'x';

/// What end.lua answers where another subject's session is.
const ANOTHERS: Value = Value::Int(0);

/// When the session of a header began. One that can't be read is from a newer Stayput, and comes last.
fn beginning(header: &Value) -> Timestamp {
    header_in(header).map_or(Timestamp::MAX, |record| record.header.created)
}

/// Each attempt is made again only because somebody else's came first.
const ATTEMPTS: u32 = 1000;
