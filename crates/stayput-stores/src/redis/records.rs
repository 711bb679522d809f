//! The contract for one record: each method is one round trip, but where a subject's index has to know of it.

use std::sync::Arc;

use redis::{Cmd, Value};
use stayput_core::{
    Created, Header, Operation, Record, Replaced, State, StorageKey, StoreError, StoreErrorKind, SubjectKey,
    TOMBSTONE_LIFETIME, Timestamp, Touched, Version, layout,
};

use super::client::{Call, Effect};
use super::index::{Member, members};
use super::script::{LIST, REMOVE, REPLACE, Run, TOUCH};
use super::{RedisStore, error_of};

impl RedisStore {
    /// A session is listed before it is there: what never comes to be leaves a member behind, and no session is unlisted.
    pub(super) async fn create_record(&self, key: StorageKey, record: Record) -> Result<Created, StoreError> {
        let mut call = self.client.begin_write(Operation::Create, record.header.subject.is_some())?;
        if let Some(subject) = &record.header.subject {
            self.list(&mut call, subject, &key, &record).await?;
        }
        let deadline = deadline(record.header.expires);
        let mut set = redis::cmd("SET");
        set.arg(self.keys.record(&key)).arg(record.encode()).arg("NX").arg("PXAT").arg(deadline);
        let answer = call.send(&set, Effect::Something).await?;
        call.confirm().await?;
        match answer {
            Value::Nil => Ok(Created::Exists),
            _ => Ok(Created::Created),
        }
    }

    pub(super) async fn load_record(&self, key: StorageKey) -> Result<Option<Arc<Record>>, StoreError> {
        let mut call = self.client.begin(Operation::Load)?;
        let value = call.get(self.keys.record_name(&key)).await?;
        record_in(Operation::Load, value)
    }

    pub(super) async fn replace_record(
        &self,
        key: StorageKey,
        record: Record,
        expected: Version,
    ) -> Result<Replaced, StoreError> {
        let mut call = self.client.begin_write(Operation::Replace, is_vital(&record, expected))?;
        let expected = [expected.count.to_be_bytes(), expected.tag.0.to_be_bytes()].concat();
        let (name, record) = (self.keys.record(&key), record.encode());
        let run = Run { script: &REPLACE, keys: &[&name], arguments: &[&record, &expected] };
        let answer = call.run(run, Effect::Something).await?;
        call.confirm().await?;
        match answer {
            Value::Int(_) => Ok(Replaced::Replaced),
            value => {
                let current = record_in(Operation::Replace, value)?;
                Ok(current.map_or(Replaced::Missing, Replaced::Conflict))
            }
        }
    }

    pub(super) async fn touch_record(
        &self,
        key: StorageKey,
        expires: Timestamp,
    ) -> Result<Touched, StoreError> {
        let mut call = self.client.begin(Operation::Touch)?;
        let expires = expires.as_millis().to_string();
        let name = self.keys.record(&key);
        let run = Run { script: &TOUCH, keys: &[&name], arguments: &[expires.as_bytes()] };
        match call.run(run, Effect::Something).await? {
            Value::Int(_) => Ok(Touched::Touched),
            value => match record_in(Operation::Touch, value)? {
                // One that this Stayput reads and its scripts don't.
                Some(_) => Err(error_of(StoreErrorKind::Unreadable, Operation::Touch)),
                None => Ok(Touched::Missing),
            },
        }
    }

    pub(super) async fn remove_record(&self, key: StorageKey) -> Result<(), StoreError> {
        let mut call = self.client.begin_write(Operation::Remove, true)?;
        let (name, lifetime) = (self.keys.record(&key), tombstone_lifetime());
        let run = Run { script: &REMOVE, keys: &[&name], arguments: &[lifetime.as_bytes()] };
        let removed = call.run(run, Effect::Something).await?;
        self.tell_again(&mut call, &[&name]).await;
        if let Some(Record { header, .. }) = header_in(&removed)
            && let Some(subject) = header.subject
        {
            let member = Member::new(&key, header.created, header.absolute);
            self.forget_session(&mut call, &subject, &member).await;
        }
        call.confirm().await
    }

    async fn list(
        &self,
        call: &mut Call<'_>,
        subject: &SubjectKey,
        key: &StorageKey,
        record: &Record,
    ) -> Result<(), StoreError> {
        let (names, header) = (self.keys.subject(subject), &record.header);
        let member = Member::new(key, header.created, header.absolute);
        let (first, deadline) = (names.range.first().to_string(), exact(header.absolute));
        let arguments = [member.as_bytes(), first.as_bytes(), deadline.as_bytes()];
        let run = Run { script: &LIST, keys: &[&names.bucket], arguments: &arguments };
        call.run(run, Effect::Nothing).await.map(|_| ())
    }

    /// Takes members whose records are gone out of the subject's index. One that stays behind because that fails is a
    /// leftover, which lists may have.
    pub(super) async fn forget(&self, call: &mut Call<'_>, subject: &SubjectKey, members: &[Member]) {
        let names = self.keys.subject(subject);
        let commands = members.chunks(1000).map(|members| remove_from(&names.bucket, members));
        let _ = call.ask(commands.collect()).await;
    }

    /// The same for a member as its record tells it, whose end may have been a later one when it was listed.
    async fn forget_session(&self, call: &mut Call<'_>, subject: &SubjectKey, member: &Member) {
        let names = self.keys.subject(subject);
        let removal = remove_from(&names.bucket, std::slice::from_ref(member));
        if let Ok(Value::Int(0)) = call.send(&removal, Effect::Nothing).await
            && let Ok(listed) = call.send(&names.range.read(&names.bucket), Effect::Nothing).await
        {
            let mut listed = members(&listed);
            listed.retain(|listed| listed.session() == member.session());
            self.forget(call, subject, &listed).await;
        }
    }

    /// What reads as much of a record as a store may read.
    pub(super) fn read_header(&self, key: &StorageKey) -> Cmd {
        let mut read = redis::cmd("GETRANGE");
        read.arg(self.keys.record(key)).arg(0).arg(layout::SUBJECT.end - 1);
        read
    }
}

/// Whether a failover that takes the write back would let somebody in, or out: the end of an id that a login left behind, and
/// the first write to a login's session, by which it gets its deadline.
fn is_vital(record: &Record, expected: Version) -> bool {
    let Header { subject, state, .. } = &record.header;
    *state == State::Remainder || (subject.is_some() && expected.count == 1)
}

/// The record in what is under a key; `None` if there is nothing, or a tombstone.
fn record_in(operation: Operation, value: Value) -> Result<Option<Arc<Record>>, StoreError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) if bytes.is_empty() || bytes == TOMBSTONE => Ok(None),
        Value::BulkString(bytes) => Record::decode(&bytes)
            .map(|record| Some(Arc::new(record)))
            .map_err(|error| error_of(StoreErrorKind::Unreadable, operation).with_source(error)),
        _ => Err(error_of(StoreErrorKind::Unreadable, operation)),
    }
}

/// The same of a header alone; `None` too for one that can't be read.
pub(super) fn header_in(value: &Value) -> Option<Record> {
    match value {
        Value::BulkString(bytes) => Record::decode(bytes).ok(),
        _ => None,
    }
}

fn remove_from(bucket: &[u8], members: &[Member]) -> Cmd {
    let mut remove = redis::cmd("ZREM");
    remove.arg(bucket);
    for member in members {
        remove.arg(member.as_bytes());
    }
    remove
}

/// A record's last millisecond. Redis holds a key to be there at its very deadline, Stayput a session to be over.
fn deadline(expires: Timestamp) -> u64 {
    expires.as_millis().clamp(2, EXACT) - 1
}

/// A time as scripts have it.
pub(super) fn exact(time: Timestamp) -> String {
    time.as_millis().min(EXACT).to_string()
}

/// The lifetime of a tombstone in milliseconds, its last one not included.
pub(super) fn tombstone_lifetime() -> String {
    (TOMBSTONE_LIFETIME.as_millis() - 1).to_string()
}

/// What a removed record leaves. No format of records has this number.
const TOMBSTONE: &[u8] = &[0];

/// The largest number up to which Lua is exact.
const EXACT: u64 = (1 << 53) - 1;
