//! From the first version of the file, which knew no subjects.
//!
//! It runs in the transaction that opens the file, and changes no record: one that can't be read is kept as it is.

use rusqlite::{Connection, params};
use stayput_core::{Header, Record, State, SubjectKey};

use super::SCHEMA;
use crate::sqlite::statements::millis;

/// Builds the tables anew, as a new file has them, and sorts the records in.
///
/// A session with a subject counts as admitted, the oldest first: its login is over.
pub(super) fn from_version_1(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch("ALTER TABLE records RENAME TO records_1; DROP INDEX records_by_deadline;")?;
    db.execute_batch(SCHEMA)?;
    copy_records(db)?;
    db.execute_batch("DROP TABLE records_1")
}

fn copy_records(db: &Connection) -> rusqlite::Result<()> {
    let mut old = db.prepare("SELECT rowid, record FROM records_1 ORDER BY rowid")?;
    let mut copy = db.prepare(
        "INSERT INTO records (key, expires, absolute, created, subject, admitted, record)
         SELECT key, expires, absolute, ?2, ?3, ?4, record FROM records_1 WHERE rowid = ?1",
    )?;
    let mut rows = old.query([])?;
    while let Some(row) = rows.next()? {
        let record = row.get_ref(1)?.as_blob_or_null()?;
        let header = record.and_then(|bytes| Record::decode(bytes).ok()).map(|record| record.header);
        let created = header.as_ref().map_or(0, |header| millis(header.created));
        let subject = header.as_ref().and_then(|header| header.subject.as_ref()).map(SubjectKey::as_bytes);
        let is_session = |header: &&Header| header.subject.is_some() && header.state == State::Live;
        let admitted = header.as_ref().filter(is_session).map(|_| created);
        copy.execute(params![row.get::<_, i64>(0)?, created, subject, admitted])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
