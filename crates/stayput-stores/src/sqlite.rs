//! Sessions in an SQLite file: the embedded default, shared by any number of processes on one machine.
//!
//! Writes go through one writer thread that commits what has queued up in one transaction; reads run on the caller's
//! thread, since in WAL mode they wait for nobody and take microseconds from the page cache. It never waits without a
//! limit: the queue is bounded, and so is the wait for another process's write.

mod readers;
mod schema;
mod statements;
mod subjects;
mod writer;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use stayput_core::{
    Admission, Admitted, Clock, Created, Epoch, Marker, Operation, Record, Replaced, SessionStore,
    StorageKey, StoreError, StoreErrorKind, StoreFuture, SubjectKey, SystemClock, Timestamp, Touched,
    Version,
};

use self::readers::Readers;
use self::statements::Fault;
use self::writer::{Durability, Writer};

/// Records in one SQLite file in WAL mode.
///
/// Creates, replacements, removals, admissions and ends of subjects are on disk (`synchronous = FULL`) when they return:
/// they survive a power cut. Touches and sweeps survive the death of the process, but may be undone by a power cut.
pub struct SqliteStore {
    path: PathBuf,
    writer: Writer,
    readers: Readers,
    clock: Arc<dyn Clock>,
}

impl SqliteStore {
    /// Opens the file at `path`, which is made (readable by its owner only) if it doesn't exist.
    ///
    /// # Errors
    ///
    /// The file can't be opened or written, is no database of Stayput's, or was written by a newer Stayput. It is
    /// left as it is.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_with_clock(path, Arc::new(SystemClock)).await
    }

    /// The same, telling the time by `clock` instead of the system's.
    ///
    /// # Errors
    ///
    /// As [`SqliteStore::open`].
    pub async fn open_with_clock(
        path: impl Into<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let path = path.into();
        let (sender, opened) = tokio::sync::oneshot::channel();
        // Opening may wait for another process that opens the same file, so it has a thread of its own.
        std::thread::spawn(move || {
            let _ = sender.send(Self::open_blocking(path, clock));
        });
        opened.await.expect("opening a database does not panic")
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open_blocking(path: PathBuf, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let refused =
            |error: io::Error| error_of(StoreErrorKind::Refused, Operation::Connect).with_source(error);
        let connection = schema::open(&path).map_err(refused)?;
        let readers = Readers::new(path.clone());
        let writer = Writer::spawn(connection).map_err(refused)?;
        Ok(Self { path, writer, readers, clock })
    }

    fn read<T: Send + 'static>(
        &self,
        operation: Operation,
        statement: impl FnOnce(&Connection, Timestamp) -> Result<T, Fault>,
    ) -> StoreFuture<'_, T> {
        let outcome = self.readers.with(|db| statement(db, self.clock.now()));
        StoreFuture::ready(outcome.map_err(|fault| fault.into_error(operation)))
    }

    fn write<T: Send + 'static>(
        &self,
        operation: Operation,
        durability: Durability,
        statement: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        let answer = self.writer.submit(operation, durability, statement);
        StoreFuture::new(async move { answer?.wait().await })
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SessionStore for SqliteStore {
    fn name(&self) -> &'static str {
        NAME
    }

    fn create(&self, key: StorageKey, record: Record) -> StoreFuture<'_, Created> {
        let clock = Arc::clone(&self.clock);
        self.write(Operation::Create, Durability::Disk, move |db| {
            statements::create(db, &key, &record, clock.now())
        })
    }

    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Arc<Record>>> {
        self.read(Operation::Load, |db, now| Ok(statements::load(db, &key, now)?.map(Arc::new)))
    }

    fn replace(&self, key: StorageKey, record: Record, expected: Version) -> StoreFuture<'_, Replaced> {
        let clock = Arc::clone(&self.clock);
        self.write(Operation::Replace, Durability::Disk, move |db| {
            statements::replace(db, &key, &record, expected, clock.now())
        })
    }

    fn touch(&self, key: StorageKey, expires: Timestamp) -> StoreFuture<'_, Touched> {
        let clock = Arc::clone(&self.clock);
        self.write(Operation::Touch, Durability::Process, move |db| {
            statements::touch(db, &key, expires, clock.now())
        })
    }

    fn remove(&self, key: StorageKey) -> StoreFuture<'_, ()> {
        let clock = Arc::clone(&self.clock);
        self.write(Operation::Remove, Durability::Disk, move |db| statements::remove(db, &key, clock.now()))
    }

    fn admit(&self, subject: SubjectKey, key: StorageKey, admission: Admission) -> StoreFuture<'_, Admitted> {
        let clock = Arc::clone(&self.clock);
        self.write(Operation::Admit, Durability::Disk, move |db| {
            subjects::admit(db, &subject, &key, admission, clock.now())
        })
    }

    fn subject_sessions(&self, subject: SubjectKey) -> StoreFuture<'_, Vec<StorageKey>> {
        self.read(Operation::SubjectSessions, |db, now| subjects::sessions(db, &subject, now))
    }

    fn end_subject(&self, subject: SubjectKey, except: Option<StorageKey>) -> StoreFuture<'_, Option<usize>> {
        let clock = Arc::clone(&self.clock);
        self.write(Operation::EndSubject, Durability::Disk, move |db| {
            subjects::end(db, &subject, except, clock.now())
        })
    }

    fn subject_epoch(&self, subject: SubjectKey) -> StoreFuture<'_, Epoch> {
        self.read(Operation::SubjectEpoch, |db, now| subjects::epoch(db, &subject, now))
    }

    fn sweep(&self, limit: usize) -> StoreFuture<'_, usize> {
        let clock = Arc::clone(&self.clock);
        self.write(Operation::Sweep, Durability::Process, move |db| statements::sweep(db, limit, clock.now()))
    }

    fn marker(&self) -> StoreFuture<'_, Option<Marker>> {
        self.read(Operation::Marker, |db, _| statements::marker(db))
    }
}

fn error_of(kind: StoreErrorKind, operation: Operation) -> StoreError {
    StoreError::new(kind, NAME, operation)
}

const NAME: &str = "SQLite";

#[cfg(test)]
mod tests;
