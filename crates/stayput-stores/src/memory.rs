//! Sessions in this process's memory: bounded, and gone with the process.
//!
//! It never drops the session of a logged-in user to make room: anonymous sessions go first, and when only live
//! logged-in ones are left, a new one is refused with an error that says so.

mod shard;

use std::fmt;
use std::future::ready;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stayput_core::{
    Clock, Created, Operation, Record, Replaced, SessionStore, StorageKey, StoreError, StoreErrorKind,
    StoreFuture, SystemClock, Timestamp, Touched, Version,
};

use self::shard::{Full, Shard};

/// A sharded, bounded map of records.
pub struct MemoryStore {
    shards: Vec<Mutex<Shard>>,
    clock: Arc<dyn Clock>,
    evicted: AtomicU64,
}

impl MemoryStore {
    /// A store that takes about `capacity` bytes at most; it is divided evenly among 64 shards.
    pub fn new(capacity: usize) -> Self {
        let shard = || Mutex::new(Shard::new(capacity / SHARDS));
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            clock: Arc::new(SystemClock),
            evicted: AtomicU64::new(0),
        }
    }

    /// Tells the time by `clock` instead of the system's.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How many live anonymous sessions were dropped to make room, since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    fn shard(&self, key: &StorageKey) -> MutexGuard<'_, Shard> {
        // The key is a SHA-256, so any byte of it spreads evenly.
        lock(&self.shards[usize::from(key.as_bytes()[0]) % SHARDS])
    }

    fn answer<'a, T: Send + 'a>(
        &self,
        operation: Operation,
        outcome: Result<(T, u64), Full>,
    ) -> StoreFuture<'a, T> {
        Box::pin(ready(match outcome {
            Ok((value, evicted)) => {
                self.evicted.fetch_add(evicted, Ordering::Relaxed);
                Ok(value)
            }
            Err(Full) => Err(StoreError::new(StoreErrorKind::Full, NAME, operation)),
        }))
    }
}

impl Default for MemoryStore {
    /// A store of 256 MiB, room for about half a million small sessions.
    fn default() -> Self {
        Self::new(256 * 1024 * 1024)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("evicted", &self.evicted()).finish_non_exhaustive()
    }
}

impl SessionStore for MemoryStore {
    fn name(&self) -> &'static str {
        NAME
    }

    fn create(&self, key: StorageKey, record: Record) -> StoreFuture<'_, Created> {
        let outcome = self.shard(&key).create(key, record, self.clock.now());
        self.answer(Operation::Create, outcome)
    }

    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Record>> {
        let record = self.shard(&key).live(&key, self.clock.now()).cloned();
        Box::pin(ready(Ok(record)))
    }

    fn replace(&self, key: StorageKey, record: Record, expected: Version) -> StoreFuture<'_, Replaced> {
        let outcome = self.shard(&key).replace(key, record, expected, self.clock.now());
        self.answer(Operation::Replace, outcome)
    }

    fn touch(&self, key: StorageKey, expires: Timestamp) -> StoreFuture<'_, Touched> {
        let touched = self.shard(&key).touch(key, expires, self.clock.now());
        Box::pin(ready(Ok(touched)))
    }

    fn remove(&self, key: StorageKey) -> StoreFuture<'_, ()> {
        self.shard(&key).remove(key, self.clock.now());
        Box::pin(ready(Ok(())))
    }

    fn sweep(&self, limit: usize) -> StoreFuture<'_, usize> {
        let now = self.clock.now();
        let mut swept = 0;
        for shard in &self.shards {
            swept += lock(shard).sweep(limit - swept, now);
        }
        Box::pin(ready(Ok(swept)))
    }
}

/// A shard's methods finish what they begin, so a shard is whole even if a thread panicked elsewhere while it held it.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

const NAME: &str = "memory";

/// Enough that 16 threads seldom meet; each costs two empty trees.
const SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use stayput_core::Subject;
    use stayput_testkit::{ManualClock, Records};

    use super::*;

    stayput_testkit::store_conformance!(|clock: Arc<ManualClock>| async move {
        Arc::new(MemoryStore::default().with_clock(clock)) as Arc<dyn SessionStore>
    });

    #[tokio::test]
    async fn room_is_made_by_dropping_anonymous_sessions_and_they_are_counted() {
        let records = Records::seeded();
        let store = MemoryStore::new(64 * 4096).with_clock(records.clock());
        let (user_key, user) = records.logged_in(&Subject::new("alice"), b"cart");
        assert_eq!(store.create(user_key, user.clone()).await.unwrap(), Created::Created);
        for _ in 0..10_000 {
            let (key, record) = records.anonymous(b"visit");
            assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
        }
        assert!(store.evicted() > 8_000, "{}", store.evicted());
        assert_eq!(store.load(user_key).await.unwrap(), Some(user));
    }

    #[tokio::test]
    async fn when_only_live_users_are_left_a_new_session_is_refused_and_none_is_lost() {
        let records = Records::seeded();
        let store = MemoryStore::new(64 * 4096).with_clock(records.clock());
        let mut live = Vec::new();
        let error = loop {
            let (key, record) = records.logged_in(&Subject::new("alice"), b"cart");
            match store.create(key, record.clone()).await {
                Ok(_) => live.push((key, record)),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), StoreErrorKind::Full);
        assert!(live.len() > 64);
        for (key, record) in live {
            assert_eq!(store.load(key).await.unwrap(), Some(record));
        }
        assert_eq!(store.evicted(), 0);
    }

    #[tokio::test]
    async fn a_record_that_finds_no_room_drops_nobody() {
        let records = Records::seeded();
        let store = MemoryStore::new(64 * 4096).with_clock(records.clock());
        let (key, record) = records.anonymous(b"visit");
        assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
        let huge = records.next(&key, &record, &[0; 8192]);
        let error = store.replace(key, huge, record.header.version()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Full);
        for _ in 0..640 {
            let (other, huge) = records.logged_in(&Subject::new("alice"), &[0; 8192]);
            assert_eq!(store.create(other, huge).await.unwrap_err().kind(), StoreErrorKind::Full);
        }
        assert_eq!(store.load(key).await.unwrap(), Some(record));
        assert_eq!(store.evicted(), 0);
    }
}
