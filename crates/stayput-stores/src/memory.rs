//! Sessions in this process's memory: bounded, and gone with the process.
//!
//! It never drops the session of a logged-in user to make room: anonymous sessions go first, and when only live
//! logged-in ones are left, a new one is refused with an error that says so.

mod index;
mod shard;
mod subjects;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stayput_core::{
    Admission, Admitted, Clock, Created, Epoch, Marker, Operation, Record, Replaced, SessionStore,
    StorageKey, StoreError, StoreErrorKind, StoreFuture, SubjectKey, SystemClock, SystemRandom, Timestamp,
    Touched, Version,
};

use self::index::Index;
use self::shard::{Full, Shard};

/// A sharded, bounded map of records.
///
/// Epochs of subjects are not among what is bounded: each takes some 50 bytes for an hour.
pub struct MemoryStore {
    shards: Vec<Mutex<Shard>>,
    indexes: Vec<Mutex<Index>>,
    clock: Arc<dyn Clock>,
    marker: Marker,
    evicted: AtomicU64,
}

impl MemoryStore {
    /// A store that takes about `capacity` bytes at most; it is divided evenly among 64 shards.
    pub fn new(capacity: usize) -> Self {
        let shard = || Mutex::new(Shard::new(capacity / SHARDS));
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            indexes: (0..SHARDS).map(|_| Mutex::default()).collect(),
            clock: Arc::new(SystemClock),
            marker: Marker::generate(&SystemRandom),
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
        StoreFuture::ready(match outcome {
            Ok((value, evicted)) => {
                self.evicted.fetch_add(evicted, Ordering::Relaxed);
                Ok(value)
            }
            Err(Full) => Err(StoreError::new(StoreErrorKind::Full, NAME, operation)),
        })
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
        let outcome = self.create_listed(key, record, self.clock.now());
        self.answer(Operation::Create, outcome)
    }

    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Arc<Record>>> {
        let record = self.shard(&key).live(&key, self.clock.now()).cloned();
        StoreFuture::ready(Ok(record))
    }

    fn replace(&self, key: StorageKey, record: Record, expected: Version) -> StoreFuture<'_, Replaced> {
        let now = self.clock.now();
        let outcome = self.change(&key, |shard| shard.replace(key, record, expected, now));
        self.answer(Operation::Replace, outcome)
    }

    fn touch(&self, key: StorageKey, expires: Timestamp) -> StoreFuture<'_, Touched> {
        let touched = self.shard(&key).touch(key, expires, self.clock.now());
        StoreFuture::ready(Ok(touched))
    }

    fn remove(&self, key: StorageKey) -> StoreFuture<'_, ()> {
        let now = self.clock.now();
        self.change(&key, |shard| shard.remove(key, now));
        StoreFuture::ready(Ok(()))
    }

    fn admit(&self, subject: SubjectKey, key: StorageKey, admission: Admission) -> StoreFuture<'_, Admitted> {
        let admitted = self.admit_session(subject, key, admission, self.clock.now());
        StoreFuture::ready(Ok(admitted))
    }

    fn subject_sessions(&self, subject: SubjectKey) -> StoreFuture<'_, Vec<StorageKey>> {
        let sessions = self.sessions_of(subject, self.clock.now());
        StoreFuture::ready(Ok(sessions))
    }

    fn end_subject(&self, subject: SubjectKey, except: Option<StorageKey>) -> StoreFuture<'_, Option<usize>> {
        let ended = self.end_sessions(subject, except, self.clock.now());
        StoreFuture::ready(Ok(ended))
    }

    fn subject_epoch(&self, subject: SubjectKey) -> StoreFuture<'_, Epoch> {
        let epoch = self.index(&subject).epoch(&subject, self.clock.now());
        StoreFuture::ready(Ok(epoch))
    }

    fn sweep(&self, limit: usize) -> StoreFuture<'_, usize> {
        let swept = self.sweep_all(limit, self.clock.now());
        StoreFuture::ready(Ok(swept))
    }

    fn marker(&self) -> StoreFuture<'_, Option<Marker>> {
        StoreFuture::ready(Ok(Some(self.marker)))
    }
}

/// A shard's methods finish what they begin, so a shard is whole even if a thread panicked elsewhere while it held it.
fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

const NAME: &str = "memory";

/// Enough that 16 threads seldom meet, at records and at the index of subjects; each costs a few empty trees.
const SHARDS: usize = 64;

#[cfg(test)]
mod tests;
