//! The contract in SQL, for one record. Each function runs inside a transaction of its caller's and leaves committing
//! to it.

use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};
use stayput_core::{
    Created, Marker, Operation, Record, RecordError, Replaced, SWEEP_DELAY, State, StorageKey, StoreError,
    StoreErrorKind, SubjectKey, TOMBSTONE_LIFETIME, Timestamp, Touched, Version,
};

use super::{error_of, schema};

/// Why a statement failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite failed: nothing of the transaction may be kept.
    Sql(rusqlite::Error),
    /// This row holds no record that can be read; other statements are not concerned.
    Unreadable(RecordError),
}

impl Fault {
    /// The error of an operation of which nothing was kept.
    pub(super) fn into_error(self, operation: Operation) -> StoreError {
        match self {
            Self::Sql(error) if schema::is_busy(&error) => {
                error_of(StoreErrorKind::Overloaded, operation).with_source(error)
            }
            Self::Sql(error) => error_of(StoreErrorKind::Unavailable, operation).with_source(error),
            Self::Unreadable(error) => error_of(StoreErrorKind::Unreadable, operation).with_source(error),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

pub(super) fn create(
    db: &Connection,
    key: &StorageKey,
    record: &Record,
    now: Timestamp,
) -> Result<Created, Fault> {
    let changed = db
        .prepare_cached(
            "INSERT INTO records (key, expires, absolute, created, subject, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (key) DO UPDATE
             SET expires = excluded.expires, absolute = excluded.absolute, created = excluded.created,
                 subject = excluded.subject, admitted = NULL, record = excluded.record
             WHERE expires <= ?7",
        )?
        .execute(params![
            key.as_bytes(),
            millis(record.header.expires),
            millis(record.header.absolute),
            millis(record.header.created),
            record.header.subject.as_ref().map(SubjectKey::as_bytes),
            record.encode(),
            millis(now)
        ])?;
    Ok(if changed == 1 { Created::Created } else { Created::Exists })
}

pub(super) fn load(db: &Connection, key: &StorageKey, now: Timestamp) -> Result<Option<Record>, Fault> {
    let row = db
        .prepare_cached(
            "SELECT expires, record FROM records WHERE key = ?1 AND expires > ?2 AND record IS NOT NULL",
        )?
        .query_row(params![key.as_bytes(), millis(now)], |row| {
            let expires = u64::try_from(row.get::<_, i64>(0)?)
                .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, error.into()))?;
            let record = Record::decode(row.get_ref(1)?.as_blob()?);
            Ok((Timestamp::from_millis(expires), record))
        })
        .optional()?;
    let Some((expires, record)) = row else { return Ok(None) };
    let mut record = record.map_err(Fault::Unreadable)?;
    // A touch moves the column only.
    record.header.expires = expires;
    Ok(Some(record))
}

pub(super) fn replace(
    db: &Connection,
    key: &StorageKey,
    record: &Record,
    expected: Version,
    now: Timestamp,
) -> Result<Replaced, Fault> {
    let Some(current) = load(db, key, now)? else { return Ok(Replaced::Missing) };
    if current.header.version() != expected {
        return Ok(Replaced::Conflict(Arc::new(current)));
    }
    let mut header = record.header.clone();
    header.keep_deadline(current.header.expires);
    db.prepare_cached(
        "UPDATE records SET expires = ?2, absolute = ?3, admitted = iif(?4, admitted, NULL), record = ?5
         WHERE key = ?1",
    )?
    .execute(params![
        key.as_bytes(),
        millis(header.expires),
        millis(header.absolute),
        header.state == State::Live,
        record.encode()
    ])?;
    Ok(Replaced::Replaced)
}

pub(super) fn touch(
    db: &Connection,
    key: &StorageKey,
    expires: Timestamp,
    now: Timestamp,
) -> Result<Touched, Fault> {
    let changed = db
        .prepare_cached(
            "UPDATE records SET expires = max(expires, min(?2, absolute))
             WHERE key = ?1 AND expires > ?3 AND record IS NOT NULL",
        )?
        .execute(params![key.as_bytes(), millis(expires), millis(now)])?;
    Ok(if changed == 1 { Touched::Touched } else { Touched::Missing })
}

pub(super) fn remove(db: &Connection, key: &StorageKey, now: Timestamp) -> Result<(), Fault> {
    let until = millis(now.after(TOMBSTONE_LIFETIME));
    db.prepare_cached(
        "INSERT INTO records (key, expires, absolute, created, record) VALUES (?1, ?2, ?2, ?3, NULL)
         ON CONFLICT (key) DO UPDATE
         SET expires = ?2, absolute = ?2, subject = NULL, admitted = NULL, record = NULL",
    )?
    .execute(params![key.as_bytes(), until, millis(now)])?;
    Ok(())
}

pub(super) fn sweep(db: &Connection, limit: usize, now: Timestamp) -> Result<usize, Fault> {
    let deadline = millis(now.before(SWEEP_DELAY));
    let step = |limit: usize| i64::try_from(limit).unwrap_or(i64::MAX);
    let records = db
        .prepare_cached(
            "DELETE FROM records WHERE rowid IN
             (SELECT rowid FROM records WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
        )?
        .execute(params![deadline, step(limit)])?;
    let epochs = db
        .prepare_cached(
            "DELETE FROM subjects WHERE subject IN
             (SELECT subject FROM subjects WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
        )?
        .execute(params![deadline, step(limit - records)])?;
    Ok(records + epochs)
}

pub(super) fn marker(db: &Connection) -> Result<Option<Marker>, Fault> {
    let marker =
        db.prepare_cached("SELECT marker FROM marker")?.query_row([], |row| row.get(0)).optional()?;
    Ok(marker.map(Marker::from_bytes))
}

pub(super) fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.as_millis()).expect("a timestamp is at most Timestamp::MAX")
}
