//! What concerns a subject's sessions together: index and records, under the locks of both.
//!
//! The order of locks: the index first, then a shard, one of each at most. Nothing takes the index while it holds a
//! shard. A record of a subject comes into being only under the lock of its index, so none is ever unlisted; it may go
//! without, and whoever made it go tells the index afterwards. Until then it is a leftover, which everybody who reads
//! the index checks for.

use std::mem;
use std::sync::MutexGuard;

use stayput_core::{
    Admission, Admitted, Created, Overflow, Record, SWEEP_DELAY, State, StorageKey, SubjectKey, Timestamp,
};

use super::index::Index;
use super::shard::{Full, Shard};
use super::{MemoryStore, SHARDS, lock};

/// Records of subjects that are gone, for the index to hear of.
type Gone = Vec<(SubjectKey, StorageKey)>;

impl MemoryStore {
    pub(super) fn create_listed(
        &self,
        key: StorageKey,
        record: Record,
        now: Timestamp,
    ) -> Result<(Created, u64), Full> {
        let (subject, created) = (record.header.subject, record.header.created);
        let mut index = subject.map(|subject| (subject, self.index(&subject)));
        let (outcome, gone) = self.act(&key, |shard| shard.create(key, record, now));
        if let (Some((subject, index)), Ok((Created::Created, _))) = (&mut index, &outcome) {
            index.list(*subject, key, created);
        }
        drop(index);
        self.unlist(gone);
        outcome
    }

    /// Does with the shard of `key` what may make records go.
    pub(super) fn change<T>(&self, key: &StorageKey, change: impl FnOnce(&mut Shard) -> T) -> T {
        let (outcome, gone) = self.act(key, change);
        self.unlist(gone);
        outcome
    }

    pub(super) fn admit_session(
        &self,
        subject: SubjectKey,
        key: StorageKey,
        admission: Admission,
        now: Timestamp,
    ) -> Admitted {
        let mut index = self.index(&subject);
        if index.epoch(&subject, now) != admission.epoch {
            return Admitted::Revoked;
        }
        if self.state(&subject, &key, now) != Some(State::Live) {
            return Admitted::Missing;
        }
        if index.is_admitted(subject, key) {
            return Admitted::Admitted { ended: Vec::new() };
        }
        let Some(ended) = self.to_end(&index, subject, admission, now) else { return Admitted::Rejected };
        let gone: Vec<_> = ended.iter().flat_map(|key| self.end(&subject, key, now).1).collect();
        index.admit(subject, key);
        drop(index);
        self.unlist(gone);
        Admitted::Admitted { ended }
    }

    pub(super) fn sessions_of(&self, subject: SubjectKey, now: Timestamp) -> Vec<StorageKey> {
        let mut sessions = self.index(&subject).sessions(subject);
        sessions.retain(|key| self.state(&subject, key, now).is_some());
        sessions
    }

    pub(super) fn end_sessions(
        &self,
        subject: SubjectKey,
        except: Option<StorageKey>,
        now: Timestamp,
    ) -> Option<usize> {
        let mut index = self.index(&subject);
        if except.is_some_and(|key| self.state(&subject, &key, now) != Some(State::Live)) {
            return None;
        }
        index.raise_epoch(subject, now);
        let (mut count, mut all_gone) = (0, Gone::new());
        for key in index.sessions(subject).into_iter().filter(|key| Some(*key) != except) {
            let (state, gone) = self.end(&subject, &key, now);
            count += usize::from(state == Some(State::Live));
            all_gone.extend(gone);
        }
        drop(index);
        self.unlist(all_gone);
        Some(count)
    }

    pub(super) fn sweep_all(&self, limit: usize, now: Timestamp) -> usize {
        let mut swept = 0;
        for shard in &self.shards {
            let mut shard = lock(shard);
            swept += shard.sweep(limit - swept, now);
            let gone = mem::take(&mut shard.gone);
            drop(shard);
            self.unlist(gone);
        }
        for index in &self.indexes {
            swept += lock(index).sweep(limit - swept, now.before(SWEEP_DELAY));
        }
        swept
    }

    /// Which sessions must end for one more; `None` if none may.
    fn to_end(
        &self,
        index: &Index,
        subject: SubjectKey,
        admission: Admission,
        now: Timestamp,
    ) -> Option<Vec<StorageKey>> {
        let Some(limit) = admission.limit else { return Some(Vec::new()) };
        let mut others = index.admitted(subject);
        others.retain(|other| {
            Some(*other) != admission.replaces && self.state(&subject, other, now) == Some(State::Live)
        });
        let excess = (others.len() + 1).saturating_sub(limit.most.get() as usize);
        match limit.overflow {
            Overflow::Reject if excess > 0 => return None,
            _ => others.truncate(excess),
        }
        Some(others)
    }

    /// Removes the record if it is the subject's and live, and says in which state it was.
    fn end(&self, subject: &SubjectKey, key: &StorageKey, now: Timestamp) -> (Option<State>, Gone) {
        self.act(key, |shard| {
            let state = shard.state(subject, key, now)?;
            shard.remove(*key, now);
            Some(state)
        })
    }

    fn state(&self, subject: &SubjectKey, key: &StorageKey, now: Timestamp) -> Option<State> {
        self.shard(key).state(subject, key, now)
    }

    fn act<T>(&self, key: &StorageKey, act: impl FnOnce(&mut Shard) -> T) -> (T, Gone) {
        let mut shard = self.shard(key);
        let outcome = act(&mut shard);
        (outcome, mem::take(&mut shard.gone))
    }

    /// Tells the index what is gone, unless it has come again meanwhile.
    fn unlist(&self, gone: Gone) {
        for (subject, key) in gone {
            let mut index = self.index(&subject);
            if !self.shard(&key).holds(&subject, &key) {
                index.unlist(subject, key);
            }
        }
    }

    pub(super) fn index(&self, subject: &SubjectKey) -> MutexGuard<'_, Index> {
        lock(&self.indexes[usize::from(subject.as_bytes()[0]) % SHARDS])
    }
}
