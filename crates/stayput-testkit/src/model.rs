//! The contract as simply as it can be said: a plain map that every store must be indistinguishable from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use stayput_core::{
    Admission, Admitted, Clock, Created, Epoch, Overflow, Record, Replaced, SWEEP_DELAY, SessionStore, State,
    StorageKey, StoreFuture, SubjectKey, TOMBSTONE_LIFETIME, Timestamp, Touched, Version,
};

/// Maps under one lock.
#[derive(Debug)]
pub struct ModelStore {
    entries: Mutex<Entries>,
    clock: Arc<dyn Clock>,
}

/// All that a [`ModelStore`] held at one time.
#[derive(Clone, Debug, Default)]
pub struct ModelState(Entries);

#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    /// What is under each key, with its deadline; `None` is a tombstone.
    pub(crate) records: BTreeMap<StorageKey, (Timestamp, Option<Record>)>,
    /// In the order of their admission.
    pub(crate) admitted: Vec<StorageKey>,
    epochs: BTreeMap<SubjectKey, Epoch>,
}

impl ModelStore {
    /// An empty model that tells the time by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { entries: Mutex::default(), clock }
    }

    /// All that it holds.
    pub fn state(&self) -> ModelState {
        ModelState(self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Forgets all that it holds, and holds `state` instead, as a store that failed over to a replica which lagged, or was
    /// restored from a backup; or wiped, if that is the default.
    pub fn put_back(&self, state: ModelState) {
        *self.entries.lock().unwrap_or_else(PoisonError::into_inner) = state.0;
    }

    pub(crate) fn answer<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Entries, Timestamp) -> T,
    ) -> StoreFuture<'_, T> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        StoreFuture::ready(Ok(act(&mut entries, self.clock.now())))
    }
}

impl Entries {
    pub(crate) fn put(&mut self, key: StorageKey, record: Record) {
        self.records.insert(key, (record.header.expires, Some(record)));
    }

    pub(crate) fn remove(&mut self, key: StorageKey, now: Timestamp) {
        self.admitted.retain(|admitted| *admitted != key);
        self.records.insert(key, (now.after(TOMBSTONE_LIFETIME), None));
    }

    pub(crate) fn raise_epoch(&mut self, subject: SubjectKey, now: Timestamp) {
        let raised = self.epoch(&subject, now).raised(now);
        self.epochs.insert(subject, raised);
    }

    fn sweep(&mut self, limit: usize, deadline: Timestamp) -> usize {
        let records = self.records.extract_if(.., |_, (expires, _)| *expires <= deadline);
        let swept = records.take(limit).count();
        let epochs = self.epochs.extract_if(.., |_, epoch| epoch.expires() <= deadline);
        swept + epochs.take(limit - swept).count()
    }

    pub(crate) fn live(&self, key: &StorageKey, now: Timestamp) -> Option<Record> {
        let (expires, record) = self.records.get(key)?;
        record.clone().filter(|_| *expires > now)
    }

    /// The subject's records, remainders too, the oldest first.
    fn of(&self, subject: &SubjectKey, now: Timestamp) -> Vec<StorageKey> {
        let live = self.records.keys().filter_map(|key| Some((*key, self.live(key, now)?)));
        let mut of: Vec<_> = live.filter(|(_, record)| record.header.subject == Some(*subject)).collect();
        of.sort_by_key(|(_, record)| record.header.created);
        of.into_iter().map(|(key, _)| key).collect()
    }

    fn is_session_of(&self, key: &StorageKey, subject: &SubjectKey, now: Timestamp) -> bool {
        self.live(key, now).is_some_and(|record| {
            record.header.subject == Some(*subject) && record.header.state == State::Live
        })
    }

    fn epoch(&self, subject: &SubjectKey, now: Timestamp) -> Epoch {
        self.epochs.get(subject).copied().filter(|epoch| epoch.expires() > now).unwrap_or_default()
    }

    fn admit(
        &mut self,
        subject: SubjectKey,
        key: StorageKey,
        admission: Admission,
        now: Timestamp,
    ) -> Admitted {
        if self.epoch(&subject, now) != admission.epoch {
            return Admitted::Revoked;
        }
        if !self.is_session_of(&key, &subject, now) {
            return Admitted::Missing;
        }
        if self.admitted.contains(&key) {
            return Admitted::Admitted { ended: Vec::new() };
        }
        let others = self.admitted.iter().filter(|other| self.is_session_of(other, &subject, now));
        let mut ended: Vec<_> = others.filter(|other| Some(**other) != admission.replaces).copied().collect();
        match admission.limit {
            Some(limit) if ended.len() >= limit.most.get() as usize => match limit.overflow {
                Overflow::Reject => return Admitted::Rejected,
                Overflow::EndOldest => ended.truncate(ended.len() - (limit.most.get() as usize - 1)),
            },
            _ => ended.clear(),
        }
        for key in &ended {
            self.remove(*key, now);
        }
        self.admitted.push(key);
        Admitted::Admitted { ended }
    }
}

impl SessionStore for ModelStore {
    fn name(&self) -> &'static str {
        "model"
    }

    fn create(&self, key: StorageKey, record: Record) -> StoreFuture<'_, Created> {
        self.answer(|entries, now| {
            if entries.records.get(&key).is_some_and(|(expires, _)| *expires > now) {
                return Created::Exists;
            }
            entries.admitted.retain(|admitted| *admitted != key);
            entries.put(key, record);
            Created::Created
        })
    }

    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Arc<Record>>> {
        self.answer(|entries, now| entries.live(&key, now).map(Arc::new))
    }

    fn replace(&self, key: StorageKey, mut record: Record, expected: Version) -> StoreFuture<'_, Replaced> {
        self.answer(|entries, now| match entries.live(&key, now) {
            None => Replaced::Missing,
            Some(current) if current.header.version() != expected => Replaced::Conflict(Arc::new(current)),
            Some(current) => {
                record.header.keep_deadline(current.header.expires);
                entries.put(key, record);
                Replaced::Replaced
            }
        })
    }

    fn touch(&self, key: StorageKey, expires: Timestamp) -> StoreFuture<'_, Touched> {
        self.answer(|entries, now| {
            let Some(mut record) = entries.live(&key, now) else { return Touched::Missing };
            let header = &mut record.header;
            header.expires = header.expires.max(expires.min(header.absolute));
            entries.put(key, record);
            Touched::Touched
        })
    }

    fn remove(&self, key: StorageKey) -> StoreFuture<'_, ()> {
        self.answer(|entries, now| entries.remove(key, now))
    }

    fn admit(&self, subject: SubjectKey, key: StorageKey, admission: Admission) -> StoreFuture<'_, Admitted> {
        self.answer(|entries, now| entries.admit(subject, key, admission, now))
    }

    fn subject_sessions(&self, subject: SubjectKey) -> StoreFuture<'_, Vec<StorageKey>> {
        self.answer(|entries, now| entries.of(&subject, now))
    }

    fn end_subject(&self, subject: SubjectKey, except: Option<StorageKey>) -> StoreFuture<'_, Option<usize>> {
        self.answer(|entries, now| {
            if except.is_some_and(|key| !entries.is_session_of(&key, &subject, now)) {
                return None;
            }
            entries.raise_epoch(subject, now);
            let ending = entries.of(&subject, now).into_iter().filter(|key| Some(*key) != except);
            let is_session = |key: StorageKey| {
                let is_session = entries.is_session_of(&key, &subject, now);
                entries.remove(key, now);
                is_session
            };
            Some(ending.map(is_session).filter(|is_session| *is_session).count())
        })
    }

    fn subject_epoch(&self, subject: SubjectKey) -> StoreFuture<'_, Epoch> {
        self.answer(|entries, now| entries.epoch(&subject, now))
    }

    fn sweep(&self, limit: usize) -> StoreFuture<'_, usize> {
        self.answer(|entries, now| entries.sweep(limit, now.before(SWEEP_DELAY)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::store_conformance!(|clock: Arc<crate::ManualClock>| async move {
        Arc::new(ModelStore::new(clock)) as Arc<dyn SessionStore>
    });
}
