//! The contract as simply as it can be said: a plain map that every store must be indistinguishable from.

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};

use stayput_core::{
    Clock, Created, Record, Replaced, SWEEP_DELAY, SessionStore, StorageKey, StoreFuture, TOMBSTONE_LIFETIME,
    Timestamp, Touched, Version,
};

/// A map from key to record under one lock, with `None` for a tombstone, and each entry's deadline.
#[derive(Debug)]
pub struct ModelStore {
    entries: Mutex<Entries>,
    clock: Arc<dyn Clock>,
}

type Entries = HashMap<StorageKey, (Timestamp, Option<Record>)>;

impl ModelStore {
    /// An empty model that tells the time by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { entries: Mutex::default(), clock }
    }

    fn answer<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Entries, Timestamp) -> T,
    ) -> StoreFuture<'_, T> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        Box::pin(ready(Ok(act(&mut entries, self.clock.now()))))
    }
}

fn live(entries: &Entries, key: &StorageKey, now: Timestamp) -> Option<Record> {
    let (expires, record) = entries.get(key)?;
    record.clone().filter(|_| *expires > now)
}

fn put(entries: &mut Entries, key: StorageKey, record: Record) {
    entries.insert(key, (record.header.expires, Some(record)));
}

impl SessionStore for ModelStore {
    fn name(&self) -> &'static str {
        "model"
    }

    fn create(&self, key: StorageKey, record: Record) -> StoreFuture<'_, Created> {
        self.answer(|entries, now| {
            if entries.get(&key).is_some_and(|(expires, _)| *expires > now) {
                return Created::Exists;
            }
            put(entries, key, record);
            Created::Created
        })
    }

    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Record>> {
        self.answer(|entries, now| live(entries, &key, now))
    }

    fn replace(&self, key: StorageKey, record: Record, expected: Version) -> StoreFuture<'_, Replaced> {
        self.answer(|entries, now| match live(entries, &key, now) {
            None => Replaced::Missing,
            Some(current) if current.header.version() != expected => Replaced::Conflict(Box::new(current)),
            Some(_) => {
                put(entries, key, record);
                Replaced::Replaced
            }
        })
    }

    fn touch(&self, key: StorageKey, expires: Timestamp) -> StoreFuture<'_, Touched> {
        self.answer(|entries, now| {
            let Some(mut record) = live(entries, &key, now) else { return Touched::Missing };
            let header = &mut record.header;
            header.expires = header.expires.max(expires.min(header.absolute));
            put(entries, key, record);
            Touched::Touched
        })
    }

    fn remove(&self, key: StorageKey) -> StoreFuture<'_, ()> {
        self.answer(|entries, now| {
            entries.insert(key, (now.after(TOMBSTONE_LIFETIME), None));
        })
    }

    fn sweep(&self, limit: usize) -> StoreFuture<'_, usize> {
        self.answer(|entries, now| {
            let deadline = now.before(SWEEP_DELAY);
            let expired =
                |(key, entry): (&StorageKey, &(Timestamp, _))| (entry.0 <= deadline).then_some(*key);
            let keys: Vec<_> = entries.iter().filter_map(expired).take(limit).collect();
            for key in &keys {
                entries.remove(key);
            }
            keys.len()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::store_conformance!(|clock: Arc<crate::ManualClock>| async move {
        Arc::new(ModelStore::new(clock)) as Arc<dyn SessionStore>
    });
}
