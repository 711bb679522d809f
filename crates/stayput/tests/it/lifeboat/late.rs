//! A store whose writes come late.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use stayput_core::{
    Admission, Admitted, Created, Epoch, Invalidations, Marker, Record, Replaced, SessionStore, StorageKey,
    StoreFuture, SubjectKey, Timestamp, Touched, Version,
};
use stayput_testkit::FaultyStore;

/// A store whose swaps can be on their way for a long time: they are made before the next one. What is to be created then is
/// left to the test.
#[derive(Debug)]
pub(super) struct LateStore {
    store: Arc<FaultyStore>,
    pub(super) is_late: AtomicBool,
    pub(super) waiting: Mutex<VecDeque<(StorageKey, Record, Version)>>,
    pub(super) born: Mutex<Vec<(StorageKey, Record)>>,
}

impl LateStore {
    pub(super) fn over(store: Arc<FaultyStore>) -> Self {
        let (waiting, born) = (Mutex::default(), Mutex::default());
        Self { store, is_late: AtomicBool::new(false), waiting, born }
    }
}

impl SessionStore for LateStore {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn create(&self, key: StorageKey, record: Record) -> StoreFuture<'_, Created> {
        if self.is_late.load(Ordering::SeqCst) {
            self.born.lock().unwrap().push((key, record));
            return StoreFuture::new(std::future::pending());
        }
        self.store.create(key, record)
    }

    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Arc<Record>>> {
        self.store.load(key)
    }

    fn replace(&self, key: StorageKey, record: Record, expected: Version) -> StoreFuture<'_, Replaced> {
        if self.is_late.load(Ordering::SeqCst) {
            self.waiting.lock().unwrap().push_back((key, record, expected));
            return StoreFuture::new(std::future::pending());
        }
        StoreFuture::new(async move {
            loop {
                let next = self.waiting.lock().unwrap().pop_front();
                let Some((key, record, expected)) = next else { break };
                let _ = self.store.replace(key, record, expected).await?;
            }
            self.store.replace(key, record, expected).await
        })
    }

    fn touch(&self, key: StorageKey, expires: Timestamp) -> StoreFuture<'_, Touched> {
        self.store.touch(key, expires)
    }

    fn remove(&self, key: StorageKey) -> StoreFuture<'_, ()> {
        self.store.remove(key)
    }

    fn admit(&self, subject: SubjectKey, key: StorageKey, admission: Admission) -> StoreFuture<'_, Admitted> {
        self.store.admit(subject, key, admission)
    }

    fn subject_sessions(&self, subject: SubjectKey) -> StoreFuture<'_, Vec<StorageKey>> {
        self.store.subject_sessions(subject)
    }

    fn end_subject(&self, subject: SubjectKey, except: Option<StorageKey>) -> StoreFuture<'_, Option<usize>> {
        self.store.end_subject(subject, except)
    }

    fn subject_epoch(&self, subject: SubjectKey) -> StoreFuture<'_, Epoch> {
        self.store.subject_epoch(subject)
    }

    fn sweep(&self, limit: usize) -> StoreFuture<'_, usize> {
        self.store.sweep(limit)
    }

    fn marker(&self) -> StoreFuture<'_, Option<Marker>> {
        self.store.marker()
    }

    fn invalidations(&self) -> Option<Invalidations> {
        self.store.invalidations()
    }
}
