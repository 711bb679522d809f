//! How a session is counted in: what is read first, and what the subject's slot decides by it.
//!
//! It decides nothing itself but what no slot can change any more, such as that a session is gone.

use redis::Value;
use stayput_core::{
    Admission, Admitted, Epoch, Operation, Overflow, StorageKey, StoreError, StoreErrorKind, SubjectKey,
    Timestamp,
};

use super::{ATTEMPTS, epoch_in, get, live_session, number_in, state};
use crate::redis::RedisStore;
use crate::redis::client::{Call, Effect};
use crate::redis::index::{Member, members};
use crate::redis::keys::SubjectKeys;
use crate::redis::records::exact;
use crate::redis::script::{ADMIT, Run};

impl RedisStore {
    pub(in crate::redis) async fn admit_session(
        &self,
        subject: SubjectKey,
        key: StorageKey,
        admission: Admission,
    ) -> Result<Admitted, StoreError> {
        let mut call = self.client.begin_write(Operation::Admit, true)?;
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
                member: Member::new(&key, session.header.created, session.header.absolute),
                ends: session.header.absolute,
                known: known(&subject, &standing.admitted, &others),
                until: standing.now.after(call.timeout()),
            };
            let decision = self.decide(&mut call, &names, admission, &facts).await?;
            self.finish(&mut call, &subject, &decision.ending).await?;
            match decision.outcome.as_slice() {
                b"admitted" => {
                    call.confirm().await?;
                    let ended = decision.ending[..decision.ended].iter().map(Member::key).collect();
                    return Ok(Admitted::Admitted { ended });
                }
                b"rejected" => return Ok(Admitted::Rejected),
                b"revoked" => return Ok(Admitted::Revoked),
                b"missing" => return Ok(Admitted::Missing),
                // Others were admitted since theirs were read, and it depends on them; or too much time has passed.
                _ => {}
            }
        }
        Err(call.error(StoreErrorKind::Overloaded).with_source("too many admissions of one subject at once"))
    }

    /// How things stand in the subject's slot.
    async fn standing(
        &self,
        call: &mut Call<'_>,
        names: &SubjectKeys,
        with_admitted: bool,
    ) -> Result<Standing, StoreError> {
        let mut commands = vec![redis::cmd("TIME"), get(&names.epoch)];
        commands.extend(with_admitted.then(|| names.range.read_admitted(&names.bucket)));
        let answers = call.ask(commands).await?;
        let unreadable = || call.error(StoreErrorKind::Unreadable);
        Ok(Standing {
            now: time_in(&answers[0]).ok_or_else(unreadable)?,
            epoch: epoch_in(&answers[1]).ok_or_else(unreadable)?,
            admitted: answers.get(2).map(members).unwrap_or_default(),
        })
    }

    pub(in crate::redis) async fn decide(
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
            exact(facts.ends).as_bytes(),
            &*number(names.range.first()),
            &*number(most.into()),
            &*number(rejects.into()),
            replaced,
            &*facts.known,
            exact(facts.until).as_bytes(),
        ]
        .map(<[u8]>::to_vec);
        let arguments: Vec<_> = arguments.iter().map(Vec::as_slice).collect();
        let keys = [&*names.bucket, &*names.epoch];
        let answer =
            call.run(Run { script: &ADMIT, keys: &keys, arguments: &arguments }, Effect::Something).await?;
        Decision::from_value(answer).ok_or_else(|| call.error(StoreErrorKind::Unreadable))
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
pub(in crate::redis) struct Facts {
    pub(in crate::redis) member: Member,
    /// The session's absolute deadline.
    pub(in crate::redis) ends: Timestamp,
    /// See [`known`].
    pub(in crate::redis) known: Vec<u8>,
    /// Until when, by the server's clock, all of this may be taken to be so. A script that was long under way must not end
    /// somebody for a session that was ended itself meanwhile.
    pub(in crate::redis) until: Timestamp,
}

/// What the subject's slot decided on an admission.
pub(in crate::redis) struct Decision {
    pub(in crate::redis) outcome: Vec<u8>,
    /// How many of those that are ending were ended by this.
    pub(in crate::redis) ended: usize,
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

/// The answer to `TIME`: seconds, and microseconds of the second.
fn time_in(value: &Value) -> Option<Timestamp> {
    let Value::Array(parts) = value else { return None };
    let [seconds, micros] = [parts.first()?, parts.get(1)?].map(number_in);
    Some(Timestamp::from_millis(seconds?.checked_mul(1000)?.checked_add(micros? / 1000)?))
}

/// What the script has to know of those that were admitted before: each member with its state.
fn known(subject: &SubjectKey, admitted: &[Member], headers: &[Value]) -> Vec<u8> {
    let entry =
        |(member, header): (&Member, &Value)| [member.as_bytes(), &[state(subject, member, header)]].concat();
    admitted.iter().zip(headers).flat_map(entry).collect()
}
