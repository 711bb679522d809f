//! A file as the first version wrote it, opened by this one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use stayput_core::{
    Admission, Admitted, Created, Overflow, SessionLimit, SessionStore, StorageKey, StoreErrorKind, Subject,
    Timestamp,
};
use stayput_testkit::Records;
use tempfile::TempDir;

use super::*;
use crate::SqliteStore;

const VERSION_1: &str = "
    CREATE TABLE records (
        key      BLOB NOT NULL UNIQUE,
        expires  INTEGER NOT NULL,
        absolute INTEGER NOT NULL,
        record   BLOB
    ) STRICT;
    CREATE INDEX records_by_deadline ON records (expires);
    PRAGMA application_id = 0x53545059;
    PRAGMA user_version = 1;
";

struct OldFile {
    db: Connection,
    path: PathBuf,
    records: Records,
    _dir: TempDir,
}

impl OldFile {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(VERSION_1).unwrap();
        Self { db, path, records: Records::seeded(), _dir: dir }
    }

    fn insert(&self, key: &StorageKey, expires: Timestamp, record: Option<&[u8]>) -> rusqlite::Result<usize> {
        let far = millis(Timestamp::MAX);
        let insert = "INSERT INTO records (key, expires, absolute, record) VALUES (?1, ?2, ?3, ?4)";
        self.db.execute(insert, params![key.as_bytes(), millis(expires), far, record])
    }

    /// A session of the subject's, the next one a second later.
    fn session(&self, subject: &Subject) -> (StorageKey, Record) {
        let (key, record) = self.records.logged_in(subject, b"cart");
        self.insert(&key, record.header.expires, Some(&record.encode())).unwrap();
        self.records.clock().advance(Duration::from_secs(1));
        (key, record)
    }

    async fn open(&self) -> SqliteStore {
        SqliteStore::open_with_clock(&self.path, self.records.clock()).await.unwrap()
    }
}

#[tokio::test]
async fn records_tombstones_and_what_cannot_be_read_are_as_they_were() {
    let old = OldFile::new();
    let (key, mut touched) = old.session(&Subject::new("alice"));
    touched.header.expires = touched.header.expires.after(Duration::from_mins(1));
    let update = "UPDATE records SET expires = ?2 WHERE key = ?1";
    old.db.execute(update, params![key.as_bytes(), millis(touched.header.expires)]).unwrap();
    let ((anonymous, visit), (ended, again)) = (old.records.anonymous(b"visit"), old.records.anonymous(b""));
    old.insert(&anonymous, visit.header.expires, Some(&visit.encode())).unwrap();
    old.insert(&ended, again.header.expires, None).unwrap();
    let (unreadable, _) = old.records.anonymous(b"");
    old.insert(&unreadable, visit.header.expires, Some(&[0xff, 0x00])).unwrap();

    for _ in 0..2 {
        let store = old.open().await;
        assert_eq!(store.load(key).await.unwrap().as_deref(), Some(&touched));
        assert_eq!(store.load(anonymous).await.unwrap().as_deref(), Some(&visit));
        assert_eq!(store.create(ended, again.clone()).await.unwrap(), Created::Exists);
        assert_eq!(store.load(unreadable).await.unwrap_err().kind(), StoreErrorKind::Unreadable);
    }
    let select = "SELECT record FROM records WHERE key = ?1";
    let kept: Vec<u8> = old.db.query_row(select, [unreadable.as_bytes()], |row| row.get(0)).unwrap();
    assert_eq!(kept, [0xff, 0x00]);
}

#[tokio::test]
async fn sessions_are_listed_under_their_subject_and_count_as_admitted() {
    let (old, alice, bob) = (OldFile::new(), Subject::new("alice"), Subject::new("bob"));
    let ((first, _), (of_bob, _)) = (old.session(&alice), old.session(&bob));
    let ((second, _), (rotated, record)) = (old.session(&alice), old.session(&alice));
    let remainder = old.records.remainder(&rotated, &record, record.header.expires).encode();
    let update = "UPDATE records SET record = ?2 WHERE key = ?1";
    old.db.execute(update, params![rotated.as_bytes(), remainder]).unwrap();

    let store = old.open().await;
    assert_eq!(store.subject_sessions(alice.key()).await.unwrap(), [first, second, rotated]);
    assert_eq!(store.subject_sessions(bob.key()).await.unwrap(), [of_bob]);
    let (new, record) = old.records.logged_in(&alice, b"");
    assert_eq!(store.create(new, record).await.unwrap(), Created::Created);
    let admission = |overflow| {
        let limit = SessionLimit { most: 2.try_into().unwrap(), overflow };
        Admission { limit: Some(limit), ..Admission::default() }
    };
    let admit = |overflow| store.admit(alice.key(), new, admission(overflow));
    assert_eq!(admit(Overflow::Reject).await.unwrap(), Admitted::Rejected);
    assert_eq!(admit(Overflow::EndOldest).await.unwrap(), Admitted::Admitted { ended: vec![first] });
    assert_eq!(store.end_subject(alice.key(), None).await.unwrap(), Some(2));
    assert_eq!(store.subject_sessions(bob.key()).await.unwrap(), [of_bob]);
}

#[tokio::test]
async fn a_file_that_was_brought_up_to_date_is_like_a_new_one() {
    let (old, new) = (OldFile::new(), tempfile::tempdir().unwrap());
    let new_path = new.path().join("sessions.db");
    drop((old.open().await, SqliteStore::open(&new_path).await.unwrap()));
    let described = |path: &Path| -> Vec<(String, Option<String>)> {
        let db = Connection::open(path).unwrap();
        let mut schema = db.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
        let rows = schema.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(described(&old.path), described(&new_path));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_openers_of_an_old_file_bring_it_up_to_date_once() {
    let (old, alice) = (OldFile::new(), Subject::new("alice"));
    for _ in 0..3 {
        old.session(&alice);
    }
    let open = || SqliteStore::open_with_clock(old.path.clone(), old.records.clock());
    let opening: Vec<_> = (0..4).map(|_| tokio::spawn(open())).collect();
    for store in opening {
        let store = store.await.unwrap().unwrap();
        assert_eq!(store.subject_sessions(alice.key()).await.unwrap().len(), 3);
    }
}

#[tokio::test]
async fn an_older_stayput_that_still_has_the_file_open_cannot_add_a_session_that_no_subject_lists() {
    let old = OldFile::new();
    let (key, record) = old.session(&Subject::new("alice"));
    let _store = old.open().await;
    let (other, _) = old.records.anonymous(b"");
    assert!(old.insert(&other, record.header.expires, Some(&record.encode())).is_err());
    let update = "UPDATE records SET record = ?2 WHERE key = ?1";
    assert_eq!(old.db.execute(update, params![key.as_bytes(), record.encode()]).unwrap(), 1);
}
