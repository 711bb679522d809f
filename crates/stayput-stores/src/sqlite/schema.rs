//! Opening the file: its settings, its tables, and the checks that it is ours to write.
//!
//! A file of somebody else's, or of a newer Stayput, is never changed.

mod migration;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use stayput_core::{Marker, SystemRandom};

/// A connection that may write, to a file that is known to be ours.
pub(super) fn open(path: &Path) -> io::Result<Connection> {
    make_private(path)?;
    let deadline = Instant::now() + BUSY_LIMIT;
    loop {
        match connect(path).and_then(|mut db| prepare(&mut db).map(|()| db)) {
            // Turning WAL on doesn't go through the busy handler, so processes that start together meet here.
            Err(Problem::Sql(error)) if is_busy(&error) && Instant::now() < deadline => {
                thread::sleep(BUSY_STEP);
            }
            outcome => return outcome.map_err(Problem::into_io),
        }
    }
}

/// Makes the file if there is none: not left to SQLite, so that nobody else may read it, whatever the umask.
///
/// A file that exists is never opened here. Closing it would drop all locks that this process holds on it for SQLite
/// (POSIX), and another process could take the WAL away from under it.
fn make_private(path: &Path) -> io::Result<()> {
    // Nobody in this process gets on to SQLite before a new file is closed.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// A connection that only reads, to a file that [`open`] has prepared.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let mut db = Connection::open_with_flags(path, OPEN_FLAGS)?;
    db.busy_handler(Some(wait_for_other_process))?;
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}

fn connect(path: &Path) -> Result<Connection, Problem> {
    let mut db = Connection::open_with_flags(path, OPEN_FLAGS)?;
    db.busy_handler(Some(wait_for_other_process))?;
    Ok(db)
}

fn prepare(db: &mut Connection) -> Result<(), Problem> {
    check_owner(db)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    let setup = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been first.
    let version = check_owner(&setup)?;
    mark(&setup)?;
    match version {
        SCHEMA_VERSION => return Ok(setup.commit()?),
        0 => setup.execute_batch(SCHEMA)?,
        _ => migration::from_version_1(&setup)?,
    }
    setup.pragma_update(None, "application_id", APPLICATION_ID)?;
    setup.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    Ok(setup.commit()?)
}

/// Gives the file its marker, if it has none. A Stayput that knows no markers has no use for the table, and leaves it alone.
fn mark(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch("CREATE TABLE IF NOT EXISTS marker (marker BLOB NOT NULL) STRICT")?;
    let new = Marker::generate(&SystemRandom);
    db.execute(
        "INSERT INTO marker SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM marker)",
        [new.as_bytes().as_slice()],
    )?;
    Ok(())
}

/// The schema version of the file, 0 for an empty one; an error if it isn't ours.
fn check_owner(db: &Connection) -> Result<i32, Problem> {
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (pragma("application_id")?, pragma("user_version")?) {
        (0, 0) if tables == 0 => Ok(0),
        (APPLICATION_ID, version) if version <= SCHEMA_VERSION => Ok(version),
        (APPLICATION_ID, version) => Err(Problem::Refused(format!(
            "the file was written by a newer Stayput (schema {version}; this one knows {SCHEMA_VERSION})"
        ))),
        _ => Err(Problem::Refused("the file is an SQLite database of another application".to_owned())),
    }
}

enum Problem {
    Sql(rusqlite::Error),
    Refused(String),
}

impl Problem {
    fn into_io(self) -> io::Error {
        match self {
            Self::Sql(error) => io::Error::other(error),
            Self::Refused(reason) => io::Error::other(reason),
        }
    }
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// SQLite's own handler backs off to 100 ms, longer than a writer leaves the lock free, so that under load one of
/// several processes would starve. This one asks again every millisecond.
fn wait_for_other_process(tries: i32) -> bool {
    thread::sleep(BUSY_STEP);
    Duration::from_millis(u64::try_from(tries).unwrap_or_default()) < BUSY_LIMIT
}

/// How long to wait for another process's write: less than callers usually wait for us, so that they hear of it.
const BUSY_LIMIT: Duration = Duration::from_secs(3);
const BUSY_STEP: Duration = Duration::from_millis(1);

const OPEN_FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// "STPY"
const APPLICATION_ID: i32 = 0x5354_5059;
const SCHEMA_VERSION: i32 = 2;

/// A tombstone is a row without a record and without a subject. The table has a rowid, since records of some hundred
/// bytes would make the tree of a table without one several levels deeper.
///
/// `admitted` says which of the subject's admissions a session's was; none if it is yet to come, or if a remainder is
/// all that is left of the session. `created` has no default, so that a Stayput of before version 2 that still has the
/// file open is refused when it creates a session, which no subject would list.
const SCHEMA: &str = "
    CREATE TABLE records (
        key      BLOB NOT NULL UNIQUE,
        expires  INTEGER NOT NULL,
        absolute INTEGER NOT NULL,
        created  INTEGER NOT NULL,
        subject  BLOB,
        admitted INTEGER,
        record   BLOB
    ) STRICT;
    CREATE INDEX records_by_deadline ON records (expires);
    CREATE INDEX records_by_subject ON records (subject) WHERE subject IS NOT NULL;
    CREATE TABLE subjects (
        subject  BLOB PRIMARY KEY,
        epoch    INTEGER NOT NULL,
        expires  INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX subjects_by_deadline ON subjects (expires);
";
