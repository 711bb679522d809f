//! The contract for a subject's sessions together, over two kinds of slots: the subject's, and one for each record.
//!
//! The order of things is what keeps it right, since nothing spans two slots: a member is listed before its record is there and
//! forgotten after it is gone; victims are marked as ending before they are removed; and an end is made under an index that is
//! as it was when the session to spare was seen alive. docs/decisions.md has the reasons.

use redis::{Cmd, Value};
use stayput_core::{
    Admission, Admitted, Epoch, Operation, Overflow, Record, State, StorageKey, StoreError, StoreErrorKind,
    SubjectKey, TOMBSTONE_LIFETIME, Timestamp,
};

use super::RedisStore;
use super::client::{Call, Effect};
use super::keys::{Member, SubjectKeys};
use super::records::{header_in, score, tombstone_lifetime};
use super::script::{ADMIT, END, RAISE, Run};

impl RedisStore {
    pub(super) async fn admit_session(
        &self,
        subject: SubjectKey,
        key: StorageKey,
        admission: Admission,
    ) -> Result<Admitted, StoreError> {
        let mut call = self.client.begin(Operation::Admit)?;
        let names = self.keys.subject(&subject);
        for _ in 0..ATTEMPTS {
            let standing = self.standing(&mut call, &names, admission.limit.is_some()).await?;
            if standing.epoch != admission.epoch {
                return Ok(Admitted::Revoked);
            }
            let keys = std::iter::once(key).chain(standing.admitted.iter().map(Member::key));
            let mut headers = call.ask(keys.map(|key| self.read_header(&key)).collect()).await?;
            let others = headers.split_off(1);
            let Some(session) = live_session(&call, &subject, &headers[0])? else {
                return Ok(Admitted::Missing);
            };
            let facts = Facts {
                member: Member::new(&key, session.header.created),
                ends: session.header.absolute,
                known: known(&standing.admitted, &others),
                until: standing.now.after(call.timeout()),
            };
            let decision = self.decide(&mut call, &names, admission, &facts).await?;
            self.finish(&mut call, &subject, &decision.ending).await?;
            match decision.outcome.as_slice() {
                b"admitted" => {
                    let ended = decision.ending[..decision.ended].iter().map(Member::key).collect();
                    return Ok(Admitted::Admitted { ended });
                }
                b"rejected" => return Ok(Admitted::Rejected),
                b"revoked" => return Ok(Admitted::Revoked),
                b"missing" => return Ok(Admitted::Missing),
                // Others were admitted since theirs were read, or too much time has passed.
                _ => {}
            }
        }
        Err(call.error(StoreErrorKind::Overloaded).with_source("too many admissions of one subject at once"))
    }

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
        let mut call = self.client.begin(Operation::EndSubject)?;
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
                    return self.end_all(&mut call, &subject, &listed).await.map(Some);
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

    /// How things stand in the subject's slot.
    async fn standing(
        &self,
        call: &mut Call<'_>,
        names: &SubjectKeys,
        with_admitted: bool,
    ) -> Result<Standing, StoreError> {
        let mut commands = vec![redis::cmd("TIME"), get(&names.epoch)];
        commands.extend(with_admitted.then(|| range(&names.admitted)));
        let answers = call.ask(commands).await?;
        let unreadable = || call.error(StoreErrorKind::Unreadable);
        Ok(Standing {
            now: time_in(&answers[0]).ok_or_else(unreadable)?,
            epoch: epoch_in(&answers[1]).ok_or_else(unreadable)?,
            admitted: answers.get(2).map(members).unwrap_or_default(),
        })
    }

    pub(super) async fn decide(
        &self,
        call: &mut Call<'_>,
        names: &SubjectKeys,
        admission: Admission,
        facts: &Facts,
    ) -> Result<Decision, StoreError> {
        let number = |number: u64| number.to_string().into_bytes();
        let most = admission.limit.map_or(0, |limit| limit.most.get());
        let rejects = admission.limit.is_some_and(|limit| limit.overflow == Overflow::Reject);
        let replaced = admission.replaces.as_ref().map_or(&[][..], |key| key.as_bytes());
        let arguments = [
            &*number(admission.epoch.count()),
            facts.member.as_bytes(),
            score(facts.ends).as_bytes(),
            &*number(most.into()),
            &*number(rejects.into()),
            replaced,
            &*facts.known,
            score(facts.until).as_bytes(),
        ]
        .map(<[u8]>::to_vec);
        let arguments: Vec<_> = arguments.iter().map(Vec::as_slice).collect();
        let keys = [&*names.index, &*names.admitted, &*names.epoch];
        let answer =
            call.run(Run { script: &ADMIT, keys: &keys, arguments: &arguments }, Effect::Something).await?;
        Decision::from_value(answer).ok_or_else(|| call.error(StoreErrorKind::Unreadable))
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
        call.run_all(&runs).await
    }
}

/// How things stand in a subject's slot before an admission.
struct Standing {
    /// By the server's clock.
    now: Timestamp,
    epoch: Epoch,
    /// Who was admitted before; empty if nobody wants to know.
    admitted: Vec<Member>,
}

/// What an admission is decided by.
pub(super) struct Facts {
    pub(super) member: Member,
    /// The session's absolute deadline.
    pub(super) ends: Timestamp,
    /// See [`known`].
    pub(super) known: Vec<u8>,
    /// Until when, by the server's clock, all of this may be taken to be so. A script that was long under way must not end
    /// somebody for a session that was ended itself meanwhile.
    pub(super) until: Timestamp,
}

/// What the subject's slot decided on an admission.
pub(super) struct Decision {
    pub(super) outcome: Vec<u8>,
    /// How many of those that are ending were ended by this.
    pub(super) ended: usize,
    ending: Vec<Member>,
}

impl Decision {
    fn from_value(value: Value) -> Option<Self> {
        let Value::Array(values) = value else { return None };
        let parts = <[Value; 3]>::try_from(values).ok()?;
        let [Value::BulkString(outcome), Value::Int(ended), ending] = parts else { return None };
        let (ended, ending) = (usize::try_from(ended).ok()?, members(&ending));
        (ended <= ending.len()).then_some(Self { outcome, ended, ending })
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

/// The answer to `TIME`: seconds, and microseconds of the second.
fn time_in(value: &Value) -> Option<Timestamp> {
    let Value::Array(parts) = value else { return None };
    let [seconds, micros] = [parts.first()?, parts.get(1)?].map(number_in);
    Some(Timestamp::from_millis(seconds?.checked_mul(1000)?.checked_add(micros? / 1000)?))
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

/// What the script has to know of those that were admitted before: each member with its state.
fn known(admitted: &[Member], headers: &[Value]) -> Vec<u8> {
    let entry = |(member, header): (&Member, &Value)| [member.as_bytes(), &[state(member, header)]].concat();
    admitted.iter().zip(headers).flat_map(entry).collect()
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
