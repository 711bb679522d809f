//! A store as a Stayput has it that is older than the newest record format.
//!
//! It passes on what it reads and writes, and never a record that such a Stayput couldn't have read.

use std::sync::Arc;

use stayput_core::{
    Admission, Admitted, Created, Epoch, Invalidations, Marker, Operation, Record, RecordError, RecordFormat,
    Replaced, SessionStore, StorageKey, StoreError, StoreErrorKind, StoreFuture, SubjectKey, Timestamp,
    Touched, Version,
};

/// Passes calls on to a store, and takes all records but those of the first format for unreadable.
#[derive(Debug)]
pub struct FormerStore(Arc<dyn SessionStore>);

impl FormerStore {
    /// Wraps `store`.
    pub fn new(store: Arc<dyn SessionStore>) -> Self {
        Self(store)
    }
}

fn read(operation: Operation, record: &Record) -> Result<(), StoreError> {
    match record.format() {
        RecordFormat::V1 => Ok(()),
        newer => Err(StoreError::new(StoreErrorKind::Unreadable, "former", operation)
            .with_source(RecordError::UnknownFormat(newer.number()))),
    }
}

impl SessionStore for FormerStore {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn create(&self, key: StorageKey, record: Record) -> StoreFuture<'_, Created> {
        self.0.create(key, record)
    }

    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Arc<Record>>> {
        StoreFuture::new(async move {
            let found = self.0.load(key).await?;
            found.iter().try_for_each(|record| read(Operation::Load, record))?;
            Ok(found)
        })
    }

    fn replace(&self, key: StorageKey, record: Record, expected: Version) -> StoreFuture<'_, Replaced> {
        StoreFuture::new(async move {
            let replaced = self.0.replace(key, record, expected).await?;
            if let Replaced::Conflict(found) = &replaced {
                read(Operation::Replace, found)?;
            }
            Ok(replaced)
        })
    }

    fn touch(&self, key: StorageKey, expires: Timestamp) -> StoreFuture<'_, Touched> {
        StoreFuture::new(async move {
            let found = self.0.load(key).await?;
            found.iter().try_for_each(|record| read(Operation::Touch, record))?;
            self.0.touch(key, expires).await
        })
    }

    fn remove(&self, key: StorageKey) -> StoreFuture<'_, ()> {
        self.0.remove(key)
    }

    fn admit(&self, subject: SubjectKey, key: StorageKey, admission: Admission) -> StoreFuture<'_, Admitted> {
        self.0.admit(subject, key, admission)
    }

    fn subject_sessions(&self, subject: SubjectKey) -> StoreFuture<'_, Vec<StorageKey>> {
        self.0.subject_sessions(subject)
    }

    fn end_subject(&self, subject: SubjectKey, except: Option<StorageKey>) -> StoreFuture<'_, Option<usize>> {
        self.0.end_subject(subject, except)
    }

    fn subject_epoch(&self, subject: SubjectKey) -> StoreFuture<'_, Epoch> {
        self.0.subject_epoch(subject)
    }

    fn sweep(&self, limit: usize) -> StoreFuture<'_, usize> {
        self.0.sweep(limit)
    }

    fn marker(&self) -> StoreFuture<'_, Option<Marker>> {
        self.0.marker()
    }

    fn invalidations(&self) -> Option<Invalidations> {
        self.0.invalidations()
    }

    fn keeps_tombstones(&self) -> bool {
        self.0.keeps_tombstones()
    }

    fn is_remote(&self) -> bool {
        self.0.is_remote()
    }
}
