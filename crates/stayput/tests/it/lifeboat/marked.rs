//! A store that says it is another one than it was: servers that see another marker find the same sessions in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stayput_core::{
    Admission, Admitted, Created, Epoch, Invalidations, Marker, Record, Replaced, SessionStore, StorageKey,
    StoreFuture, SubjectKey, Timestamp, Touched, Version,
};

#[derive(Debug)]
pub(super) struct Marked {
    store: Arc<dyn SessionStore>,
    marker: Marker,
    was_asked: AtomicBool,
}

impl Marked {
    pub(super) fn new(store: Arc<dyn SessionStore>, marker: Marker) -> Self {
        Self { store, marker, was_asked: AtomicBool::new(false) }
    }

    /// Whether a server knows its marker.
    pub(super) fn was_asked(&self) -> bool {
        self.was_asked.load(Ordering::Acquire)
    }
}

impl SessionStore for Marked {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn create(&self, key: StorageKey, record: Record) -> StoreFuture<'_, Created> {
        self.store.create(key, record)
    }

    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Arc<Record>>> {
        self.store.load(key)
    }

    fn replace(&self, key: StorageKey, record: Record, expected: Version) -> StoreFuture<'_, Replaced> {
        self.store.replace(key, record, expected)
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
        self.was_asked.store(true, Ordering::Release);
        let marker = self.marker;
        StoreFuture::new(async move { Ok(Some(marker)) })
    }

    fn invalidations(&self) -> Option<Invalidations> {
        self.store.invalidations()
    }
}
