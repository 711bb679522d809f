//! The contract in SQL, for a subject's sessions together. Each function runs inside a transaction of its caller's, so
//! that it is one step for all processes that have the file open.
//!
//! It goes by the columns alone, and opens a record only to see whether it is a session.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use stayput_core::{
    Admission, Admitted, Epoch, Header, Overflow, Record, State, StorageKey, SubjectKey, Timestamp,
};

use super::statements::{self, Fault, millis};

pub(super) fn admit(
    db: &Connection,
    subject: &SubjectKey,
    key: &StorageKey,
    admission: Admission,
    now: Timestamp,
) -> Result<Admitted, Fault> {
    if epoch(db, subject, now)? != admission.epoch {
        return Ok(Admitted::Revoked);
    }
    let record = statements::load(db, key, now)?;
    let session = record.map(|record| record.header).filter(|header| header.subject == Some(*subject));
    if session.is_none_or(|header| header.state != State::Live) {
        return Ok(Admitted::Missing);
    }
    if is_admitted(db, key)? {
        return Ok(Admitted::Admitted { ended: Vec::new() });
    }
    let Some(ended) = to_end(db, subject, admission, now)? else { return Ok(Admitted::Rejected) };
    for other in &ended {
        statements::remove(db, other, now)?;
    }
    count_in(db, subject, key)?;
    Ok(Admitted::Admitted { ended })
}

/// The subject's sessions and remainders, the oldest first.
pub(super) fn sessions(
    db: &Connection,
    subject: &SubjectKey,
    now: Timestamp,
) -> Result<Vec<StorageKey>, Fault> {
    let mut sessions = db.prepare_cached(
        "SELECT key FROM records WHERE subject = ?1 AND expires > ?2 AND record IS NOT NULL ORDER BY created",
    )?;
    let keys = sessions.query_map(params![subject.as_bytes(), millis(now)], |row| key(row, 0))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

pub(super) fn end(
    db: &Connection,
    subject: &SubjectKey,
    except: Option<StorageKey>,
    now: Timestamp,
) -> Result<Option<usize>, Fault> {
    if let Some(key) = except {
        let spared = statements::load(db, &key, now)?.map(|record| record.header);
        let is_live = |header: Header| header.state == State::Live && header.subject == Some(*subject);
        if !spared.is_some_and(is_live) {
            return Ok(None);
        }
    }
    raise_epoch(db, subject, now)?;
    let mut ended = 0;
    for key in sessions(db, subject, now)?.into_iter().filter(|key| Some(*key) != except) {
        match statements::load(db, &key, now) {
            Ok(Some(Record { header, .. })) => ended += usize::from(header.state == State::Live),
            // Whatever it is, it ends with the others.
            Err(Fault::Unreadable(_)) => ended += 1,
            Ok(None) => {}
            Err(fault) => return Err(fault),
        }
        statements::remove(db, &key, now)?;
    }
    Ok(Some(ended))
}

pub(super) fn epoch(db: &Connection, subject: &SubjectKey, now: Timestamp) -> Result<Epoch, Fault> {
    let epoch = db
        .prepare_cached("SELECT epoch FROM subjects WHERE subject = ?1 AND expires > ?2")?
        .query_row(params![subject.as_bytes(), millis(now)], |row| {
            let count = u64::try_from(row.get::<_, i64>(0)?)
                .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, error.into()))?;
            Ok(Epoch::from_count(count))
        })
        .optional()?;
    Ok(epoch.unwrap_or_default())
}

fn raise_epoch(db: &Connection, subject: &SubjectKey, now: Timestamp) -> Result<(), Fault> {
    let raised = epoch(db, subject, now)?.raised(now);
    // A time in milliseconds or little more, unless somebody else wrote the file.
    let count = i64::try_from(raised.count()).unwrap_or(i64::MAX);
    db.prepare_cached("REPLACE INTO subjects (subject, epoch, expires) VALUES (?1, ?2, ?3)")?
        .execute(params![subject.as_bytes(), count, millis(raised.expires())])?;
    Ok(())
}

/// Which sessions must end for one more; `None` if none may.
fn to_end(
    db: &Connection,
    subject: &SubjectKey,
    admission: Admission,
    now: Timestamp,
) -> Result<Option<Vec<StorageKey>>, Fault> {
    let Some(limit) = admission.limit else { return Ok(Some(Vec::new())) };
    let mut others = admitted(db, subject, now)?;
    others.retain(|other| Some(*other) != admission.replaces);
    let excess = (others.len() + 1).saturating_sub(limit.most.get() as usize);
    match limit.overflow {
        Overflow::Reject if excess > 0 => return Ok(None),
        _ => others.truncate(excess),
    }
    Ok(Some(others))
}

/// The subject's admitted sessions, the longest admitted first. A remainder was admitted once, and is not any more.
fn admitted(db: &Connection, subject: &SubjectKey, now: Timestamp) -> Result<Vec<StorageKey>, Fault> {
    let mut admitted = db.prepare_cached(
        "SELECT key FROM records WHERE subject = ?1 AND admitted IS NOT NULL AND expires > ?2
         ORDER BY admitted",
    )?;
    let keys = admitted.query_map(params![subject.as_bytes(), millis(now)], |row| key(row, 0))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

fn is_admitted(db: &Connection, key: &StorageKey) -> Result<bool, Fault> {
    let mut admitted = db.prepare_cached("SELECT admitted IS NOT NULL FROM records WHERE key = ?1")?;
    Ok(admitted.query_row([key.as_bytes()], |row| row.get(0))?)
}

/// Gives the session its place in the order of admissions: a count, since clocks differ and stand still.
fn count_in(db: &Connection, subject: &SubjectKey, key: &StorageKey) -> Result<(), Fault> {
    db.prepare_cached(
        "UPDATE records
         SET admitted = (SELECT coalesce(max(admitted), 0) + 1 FROM records WHERE subject = ?2)
         WHERE key = ?1",
    )?
    .execute(params![key.as_bytes(), subject.as_bytes()])?;
    Ok(())
}

fn key(row: &Row<'_>, column: usize) -> rusqlite::Result<StorageKey> {
    row.get(column).map(StorageKey::from_bytes)
}
