//! Bringing what was done while the store was out into the store: logouts first, then writes, each by compare-and-swap against
//! what is there by then.
//!
//! One session at a time, so that traffic goes before. What can't be brought in is said, never dropped silently.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use stayput_core::{
    OpenError, Operation, Record, Replaced, State as RecordState, StorageKey, Version, WriteTag,
};

use super::entry::{Attempt, Entry, Write};
use super::pending::Work;
use super::{Lifeboat, Written};
use crate::commit::Attempts;
use crate::data::Data;
use crate::events::{EventKind, Unreplayed};
use crate::outage::is_outage;
use crate::session::is_unfinished;
use crate::sessions::Inner;
use crate::{Error, Sessions, meter};

impl Sessions {
    /// Has all that waits replayed when the store is there, unless that is under way.
    pub(crate) fn start_replay(&self) {
        let Some(lifeboat) = &self.inner.lifeboat else { return };
        if lifeboat.pending.is_empty() || lifeboat.is_replaying.load(Ordering::Acquire) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !lifeboat.is_replaying.swap(true, Ordering::AcqRel) {
            runtime.spawn(replay(Arc::downgrade(&self.inner)));
        }
    }

    /// Replays what waits of one session. Something may be left if that is not in the store yet.
    pub(crate) async fn replay_session(&self, key: StorageKey) -> Result<(), Error> {
        let Some(lifeboat) = &self.inner.lifeboat else { return Ok(()) };
        let _turn = lifeboat.turn(&key).lock().await;
        let mut attempts = Attempts::begin();
        while let Some(work) = lifeboat.pending.work(&key) {
            let replay = Replay { sessions: self, lifeboat, key };
            match work {
                Work::End => replay.end().await?,
                Work::Write { writes, count, attempt } => {
                    if !replay.write(&writes, count, attempt).await? {
                        return Ok(());
                    }
                }
            }
            attempts.next(self).await?;
        }
        Ok(())
    }
}

/// The replay of one session.
struct Replay<'a> {
    sessions: &'a Sessions,
    lifeboat: &'a Lifeboat,
    key: StorageKey,
}

impl Replay<'_> {
    async fn end(&self) -> Result<(), Error> {
        self.sessions.remove(self.key).await?;
        let entry = Entry::Gone { key: self.key };
        let inner = &self.sessions.inner;
        self.lifeboat.pending.gone(&self.key, |is_empty| self.lifeboat.note_settled(&entry, is_empty, inner));
        Ok(())
    }

    /// Tries to bring in all writes at once. `false` if the session isn't in the store yet.
    async fn write(&self, writes: &[Write], count: usize, attempt: Option<Attempt>) -> Result<bool, Error> {
        let (sessions, key) = (self.sessions, self.key);
        let now = sessions.inner.clock.now();
        let record = sessions.call(Operation::Load, |store| store.load(key)).await?;
        if record.as_ref().is_some_and(|record| is_unfinished(&record.header)) {
            return Ok(false);
        }
        let is_alive =
            |record: &Arc<Record>| record.header.state == RecordState::Live && record.header.absolute > now;
        let Some(record) = record.filter(is_alive) else {
            if writes.iter().any(|write| write.born_until.is_some_and(|until| now < until)) {
                return Ok(false);
            }
            self.give_up(writes.len(), count, Unreplayed::Ended);
            return Ok(true);
        };
        if let Some(attempt) = attempt {
            if record.header.includes(attempt.tag) {
                self.done(attempt.count);
                return Ok(true);
            }
            if !record.header.remembers_since(attempt.expected) {
                self.give_up(writes.len(), attempt.count, Unreplayed::InDoubt);
                return Ok(true);
            }
        }
        let keyring = sessions.inner.keyring.load();
        let data = match record.open(&key, &keyring) {
            Ok(bytes) => Data::decode(bytes).ok(),
            // This server lacks a key; it may get it.
            Err(error @ OpenError::UnknownKey(_)) => return Err(Error::Keyring(error)),
            // For requests it is no session any more, either.
            Err(_) => None,
        };
        let Some(mut data) = data else {
            self.give_up(writes.len(), count, Unreplayed::Ended);
            return Ok(true);
        };
        let unmerged = writes.iter().filter(|write| !self.merge(&mut data, write)).count();
        // One that expects the record as it is may yet arrive: under its tag, only one of the two can count.
        let tag = attempt.filter(|attempt| attempt.expected == record.header.version());
        let tag = tag.map_or_else(|| sessions.write_tag(), |attempt| attempt.tag);
        self.swap(&record, data, tag, count, unmerged).await.map(|()| true)
    }

    /// Applies a write to the session as it is in the store by now; `false` if it doesn't fit.
    fn merge(&self, data: &mut Data, write: &Write) -> bool {
        let stored = data.get(&write.name).map(<[u8]>::to_vec);
        let merge = |before: Option<&[u8]>| {
            let written = Written { before, after: write.after.as_deref(), stored: stored.as_deref() };
            self.lifeboat.merges.merge(&write.name, written)
        };
        // Who wrote over what another server had written finds the store as it was before both, if this one is first.
        let merged = match &write.origin {
            Some(origin) if *origin == stored => merge(origin.as_deref()),
            _ => merge(write.before.as_deref()),
        };
        match merged {
            Ok(Some(value)) => data.set(write.name.as_bytes(), &value),
            Ok(None) => data.remove(write.name.as_bytes()),
            Err(_) => {
                tracing::warn!(
                    value = write.name,
                    "a write of an outage does not fit what the store has by now"
                );
                return false;
            }
        }
        true
    }

    async fn swap(
        &self,
        base: &Record,
        data: Data,
        tag: WriteTag,
        count: usize,
        unmerged: usize,
    ) -> Result<(), Error> {
        let (sessions, key) = (self.sessions, self.key);
        let (inner, expected) = (&sessions.inner, base.header.version());
        let attempt = Attempt { tag, expected, count };
        let entry = Entry::Tried { key, attempt };
        let tried = self.lifeboat.pending.tried(&key, attempt, || self.lifeboat.note(&entry, true, inner));
        let Some(noted) = tried else { return Ok(()) };
        if let Err(error) = noted.await {
            tracing::error!(%error, "journal can't be written");
        }
        let record = || sessions.seal(&key, base.header.next(tag), data.as_bytes());
        if self.is_swapped(expected, tag, record).await? {
            self.lost(unmerged, Unreplayed::Unmerged);
            self.done(count);
        }
        Ok(())
    }

    async fn is_swapped(
        &self,
        expected: Version,
        tag: WriteTag,
        record: impl Fn() -> Record,
    ) -> Result<bool, Error> {
        let key = self.key;
        let swap = self.sessions.twice(Operation::Replace, |store| store.replace(key, record(), expected));
        Ok(match swap.await?.0 {
            Replaced::Replaced => true,
            Replaced::Conflict(found) => found.header.includes(tag),
            Replaced::Missing => false,
        })
    }

    fn done(&self, count: usize) {
        meter::replayed(count);
        self.settle(count);
    }

    /// Gives the first `count` writes up, which are of so many `values`.
    fn give_up(&self, values: usize, count: usize, why: Unreplayed) {
        self.lost(values, why);
        self.settle(count);
    }

    fn lost(&self, values: usize, why: Unreplayed) {
        for _ in 0..values {
            self.sessions.emit(EventKind::NotReplayed(why), Some(self.key), None, None);
        }
    }

    fn settle(&self, count: usize) {
        let (inner, entry) = (&self.sessions.inner, Entry::Done { key: self.key, count });
        let note = |is_empty| self.lifeboat.note_settled(&entry, is_empty, inner);
        self.lifeboat.pending.done(&self.key, count, note);
    }
}

/// Replays until nothing waits.
async fn replay(weak: Weak<Inner>) {
    let (mut keys, mut pause) = (Vec::new(), Duration::ZERO);
    loop {
        let Some(inner) = weak.upgrade() else { return };
        let sessions = Sessions { inner };
        let Some(lifeboat) = &sessions.inner.lifeboat else { return };
        if lifeboat.pending.is_empty() {
            lifeboat.is_replaying.store(false, Ordering::Release);
            // What was added just before nobody has started to replay.
            sessions.start_replay();
            return;
        }
        let next = if sessions.store_is_out() { None } else { keys.pop() };
        let Some(key) = next else {
            drop(sessions);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            let Some(inner) = weak.upgrade() else { return };
            keys = inner.lifeboat.as_ref().map(|lifeboat| lifeboat.pending.keys()).unwrap_or_default();
            continue;
        };
        match sessions.replay_session(key).await {
            Ok(()) if !lifeboat.pending.is_waiting(&key) => pause = FIRST_PAUSE,
            Ok(()) => {}
            Err(error) if is_outage(&error) => {}
            Err(error) => error.log(),
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
