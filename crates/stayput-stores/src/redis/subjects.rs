//! The contract for a subject's sessions together, over two kinds of slots: the subject's, and one for each record.
//!
//! The order of things is what keeps it right, since nothing spans two slots: a member is listed before its record is there and
//! forgotten after it is gone; victims are marked as ending before they are removed; and an end is made under an index that is
//! as it was when the session to spare was seen alive. docs/decisions.md has the reasons.

pub(super) mod admission;

use redis::{Cmd, Value};
use stayput_core::{
    Epoch, Operation, Record, State, StorageKey, StoreError, StoreErrorKind, SubjectKey, TOMBSTONE_LIFETIME,
};

use super::RedisStore;
use super::client::{Call, Effect};
use super::keys::{Member, SubjectKeys};
use super::records::{header_in, tombstone_lifetime};
use super::script::{END, RAISE, Run};

impl RedisStore {
    pub(super) async fn sessions_of(&self, subject: SubjectKey) -> Result<Vec<StorageKey>, StoreError> {
        let mut call = self.client.begin(Operation::SubjectSessions)?;
        let names = self.keys.subject(&subject);
        let listed = call.send(&range(&names.index), Effect::Nothing).await?;
        let mut ending = redis::cmd("ZRANGEBYSCORE");
        ending.arg(&names.admitted).arg("-inf").arg("(0");
        let ending = members(&call.send(&ending, Effect::Nothing).await?);
        self.finish(&mut call, &subject, &ending).await?;
        let mut listed = members(&listed);
        listed.retain(|member| !ending.contains(member));
        let headers = call.ask(listed.iter().map(|member| self.read_header(&member.key())).collect()).await?;
        let there = listed.into_iter().zip(&headers);
        let mut there: Vec<_> = there
            .filter(|(member, header)| state(member, header) != GONE)
            .map(|(member, _)| member)
            .collect();
        there.sort_by_key(|member| (member.created(), member.key()));
        Ok(there.iter().map(Member::key).collect())
    }

    pub(super) async fn end_sessions(
        &self,
        subject: SubjectKey,
        except: Option<StorageKey>,
    ) -> Result<Option<usize>, StoreError> {
        let mut call = self.client.begin_write(Operation::EndSubject, true)?;
        let names = self.keys.subject(&subject);
        let lifetime = TOMBSTONE_LIFETIME.as_millis().to_string();
        for _ in 0..ATTEMPTS {
            let spared = match except {
                None => None,
                Some(key) => match self.see_alive(&mut call, &subject, &names, &key).await? {
                    None => return Ok(None),
                    spared => spared,
                },
            };
            let mut arguments = vec![lifetime.as_bytes()];
            if let Some((member, index)) = &spared {
                arguments.extend([member.as_bytes(), index.as_slice()]);
            }
            let keys = [&*names.index, &*names.admitted, &*names.epoch];
            let run = Run { script: &RAISE, keys: &keys, arguments: &arguments };
            match call.run(run, Effect::Something).await? {
                Value::BulkString(word) if word == b"ending" => return Ok(None),
                Value::Array(listed) => {
                    let spared = spared.map(|(member, _)| member);
                    let mut listed = members(&Value::Array(listed));
                    listed.retain(|member| Some(*member) != spared);
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
        let index = members(&call.send(&range(&names.index), Effect::Nothing).await?);
        let header = call.send(&self.read_header(key), Effect::Nothing).await?;
        let session = live_session(call, subject, &header)?;
        let index = index.iter().flat_map(|member| member.as_bytes().iter().copied()).collect();
        Ok(session.map(|session| (Member::new(key, session.header.created), index)))
    }

    /// Removes victims, and takes them out of the index: each was there once, so that none is about to come.
    async fn finish(
        &self,
        call: &mut Call<'_>,
        subject: &SubjectKey,
        victims: &[Member],
    ) -> Result<(), StoreError> {
        if !victims.is_empty() {
            self.remove_all(call, subject, victims).await?;
            self.forget(call, subject, victims).await;
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
        let gone = listed.iter().zip(&removed).filter(|(_, removed)| **removed != Value::Nil);
        let gone: Vec<_> = gone.map(|(member, _)| *member).collect();
        self.forget(call, subject, &gone).await;
        let is_session = |header: Record| header.header.state == State::Live;
        let live = removed.iter().filter(|removed| **removed != Value::Nil);
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
                let arguments: [&[u8]; 3] = [lifetime.as_bytes(), subject.as_bytes(), member.created_bytes()];
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

fn range(set: &[u8]) -> Cmd {
    let mut range = redis::cmd("ZRANGE");
    range.arg(set).arg(0).arg(-1);
    range
}

/// The members in an answer. What is none was put there by somebody else.
fn members(value: &Value) -> Vec<Member> {
    let Value::Array(values) = value else { return Vec::new() };
    let member = |value: &Value| match value {
        Value::BulkString(bytes) => Member::from_bytes(bytes),
        _ => None,
    };
    values.iter().filter_map(member).collect()
}

/// How a member stands, by the header under its key. What can't be read counts, as it does elsewhere until it is ended.
fn state(member: &Member, header: &Value) -> u8 {
    match header {
        Value::BulkString(bytes) if bytes.len() > 1 => match Record::decode(bytes) {
            Ok(record) if record.header.created != member.created() => GONE,
            Ok(record) if record.header.state == State::Remainder => REMAINDER,
            _ => LIVE,
        },
        _ => GONE,
    }
}

const LIVE: u8 = b'l';
const REMAINDER: u8 = b'r';
const GONE: u8 = b'g';

/// Each attempt is made again only because somebody else's came first.
const ATTEMPTS: u32 = 1000;
