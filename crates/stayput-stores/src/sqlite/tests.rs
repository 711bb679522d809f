//! What holds for SQLite beyond the contract: files, processes, strangers.

use std::os::unix::fs::PermissionsExt;

use rusqlite::TransactionBehavior;
use stayput_core::{Overflow, SessionLimit, Subject};
use stayput_testkit::{ManualClock, Records};
use tempfile::TempDir;

use super::*;

stayput_testkit::store_conformance!(|clock: Arc<ManualClock>| async move {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open_with_clock(dir.path().join("sessions.db"), clock).await.unwrap();
    (Arc::new(store) as Arc<dyn SessionStore>, dir)
});

fn somewhere() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.db");
    (dir, path)
}

async fn open(path: &Path, records: &Records) -> SqliteStore {
    SqliteStore::open_with_clock(path, records.clock()).await.unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_when_the_file_is_opened_again() {
    let ((_dir, path), records) = (somewhere(), Records::seeded());
    let (key, record) = records.anonymous(b"cart");
    let first = open(&path, &records).await;
    assert_eq!(first.create(key, record.clone()).await.unwrap(), Created::Created);
    // Opened while the first is still there, and with its WAL not yet folded into the file.
    let second = open(&path, &records).await;
    assert_eq!(second.load(key).await.unwrap().as_deref(), Some(&record));
    drop((first, second));
    assert_eq!(open(&path, &records).await.load(key).await.unwrap().as_deref(), Some(&record));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_openers_of_one_file_lose_no_swap() {
    let ((_dir, path), records) = (somewhere(), Records::seeded());
    // All at once, on a file that doesn't exist yet.
    let stores: Vec<_> = futures_of(4, |_| {
        let (path, clock) = (path.clone(), records.clock());
        async move { Arc::new(SqliteStore::open_with_clock(path, clock).await.unwrap()) }
    })
    .await;
    let (key, record) = records.anonymous(b"");
    assert_eq!(stores[0].create(key, record.clone()).await.unwrap(), Created::Created);
    let won: u64 = futures_of(64, |n| {
        let (store, record, records) = (Arc::clone(&stores[n % 4]), record.clone(), records.clone());
        async move {
            let next = records.next(&key, &record, b"mine");
            let outcome = store.replace(key, next, record.header.version()).await.unwrap();
            u64::from(outcome == Replaced::Replaced)
        }
    })
    .await
    .into_iter()
    .sum();
    assert_eq!(won, 1);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn opening_the_file_again_does_not_let_go_of_its_lock() {
    let ((_dir, path), records) = (somewhere(), Records::seeded());
    let _first = open(&path, &records).await;
    let _second = open(&path, &records).await;
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
    // The kernel may leave a line out of a list that changes while it is read.
    let listed = || std::fs::read_to_string("/proc/locks").unwrap().contains(&format!(":{inode} "));
    assert!((0..100).any(|_| listed()), "nothing tells other processes that the file is in use");
}

#[tokio::test]
async fn when_one_write_of_a_batch_fails_no_answer_belies_the_file() {
    let ((_dir, path), records) = (somewhere(), Records::seeded());
    let store = open(&path, &records).await;
    let all: Vec<_> = (0..60).map(|_| records.anonymous(b"")).collect();
    let bad = all[50].0;
    let mut other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE forbidden (key BLOB)").unwrap();
    other.execute("INSERT INTO forbidden VALUES (?1)", [bad.as_bytes()]).unwrap();
    let trigger = "CREATE TRIGGER no BEFORE INSERT ON records WHEN new.key IN (SELECT key FROM forbidden)
                   BEGIN SELECT RAISE(ABORT, 'no'); END";
    other.execute_batch(trigger).unwrap();
    // While the lock is held they queue up, so that the bad one shares its transaction with others.
    let lock = other.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let calls: Vec<_> = all.iter().map(|(key, record)| store.create(*key, record.clone())).collect();
    lock.rollback().unwrap();

    for ((key, record), call) in all.into_iter().zip(calls) {
        match call.await {
            Ok(created) => {
                assert_ne!(key, bad);
                assert_eq!(
                    (created, store.load(key).await.unwrap().as_deref()),
                    (Created::Created, Some(&record))
                );
            }
            Err(error) => {
                assert_eq!(
                    (error.kind(), store.load(key).await.unwrap()),
                    (StoreErrorKind::Unavailable, None)
                );
            }
        }
    }
    let (key, record) = records.anonymous(b"");
    assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
}

async fn futures_of<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    count: usize,
    make: impl Fn(usize) -> F,
) -> Vec<T> {
    let tasks: Vec<_> = (0..count).map(|n| tokio::spawn(make(n))).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

#[tokio::test]
async fn only_the_owner_may_read_the_file() {
    let ((_dir, path), records) = (somewhere(), Records::seeded());
    let store = open(&path, &records).await;
    let (key, record) = records.anonymous(b"");
    assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", file.file_name());
    }
}

#[tokio::test]
async fn a_strangers_database_is_refused_and_left_alone() {
    let (_dir, path) = somewhere();
    let db = Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)").unwrap();
    drop(db);
    let before = std::fs::read(&path).unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(format!("{error:?}").contains("another application"), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_a_non_database_too() {
    let ((_dir, path), records) = (somewhere(), Records::seeded());
    drop(open(&path, &records).await);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(format!("{error:?}").contains("newer Stayput"), "{error:?}");

    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    assert_eq!(SqliteStore::open(&path).await.unwrap_err().kind(), StoreErrorKind::Refused);
}

#[tokio::test]
async fn one_unreadable_record_is_an_error_that_leaves_it_and_the_others_alone() {
    let ((_dir, path), records) = (somewhere(), Records::seeded());
    let store = open(&path, &records).await;
    let ((bad, record), (good, other)) = (records.anonymous(b""), records.anonymous(b""));
    assert_eq!(store.create(bad, record.clone()).await.unwrap(), Created::Created);
    assert_eq!(store.create(good, other.clone()).await.unwrap(), Created::Created);
    let db = Connection::open(&path).unwrap();
    db.execute("UPDATE records SET record = x'ff00' WHERE key = ?1", [bad.as_bytes()]).unwrap();

    let error = store.load(bad).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (StoreErrorKind::Unreadable, false));
    let error = store.replace(bad, record.clone(), record.header.version()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unreadable);
    assert_eq!(store.load(good).await.unwrap().as_deref(), Some(&other));
    let kept: Vec<u8> = db
        .query_row("SELECT record FROM records WHERE key = ?1", [bad.as_bytes()], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, [0xff, 0x00]);
}

#[tokio::test]
async fn what_cannot_be_read_of_a_subject_ends_with_the_rest() {
    let ((_dir, path), records, alice) = (somewhere(), Records::seeded(), Subject::new("alice"));
    let store = open(&path, &records).await;
    let (bad, record) = records.logged_in(&alice, b"");
    assert_eq!(store.create(bad, record).await.unwrap(), Created::Created);
    let db = Connection::open(&path).unwrap();
    db.execute("UPDATE records SET record = x'ff00' WHERE key = ?1", [bad.as_bytes()]).unwrap();
    let error = store.admit(alice.key(), bad, Admission::default()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unreadable);
    assert_eq!(store.subject_sessions(alice.key()).await.unwrap(), [bad]);
    assert_eq!(store.end_subject(alice.key(), None).await.unwrap(), Some(1));
    assert_eq!(store.load(bad).await.unwrap(), None);
}

#[tokio::test]
async fn what_a_subject_ended_stays_ended_when_the_file_is_opened_again() {
    let ((_dir, path), records, alice) = (somewhere(), Records::seeded(), Subject::new("alice"));
    let (key, record) = records.logged_in(&alice, b"");
    let first = open(&path, &records).await;
    assert_eq!(first.create(key, record).await.unwrap(), Created::Created);
    assert_eq!(first.end_subject(alice.key(), None).await.unwrap(), Some(1));
    drop(first);
    let second = open(&path, &records).await;
    assert_eq!(second.load(key).await.unwrap(), None);
    let admitted = second.admit(alice.key(), key, Admission::default()).await.unwrap();
    assert_eq!(admitted, Admitted::Revoked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_openers_of_one_file_keep_one_limit() {
    let ((_dir, path), records, alice) = (somewhere(), Records::seeded(), Subject::new("alice"));
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(Arc::new(open(&path, &records).await));
    }
    let limit = SessionLimit { most: 1.try_into().unwrap(), overflow: Overflow::EndOldest };
    let admission = Admission { limit: Some(limit), ..Admission::default() };
    futures_of(48, |n| {
        let (store, (key, record)) = (Arc::clone(&stores[n % 4]), records.logged_in(&alice, b""));
        let subject = alice.key();
        async move {
            assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
            let admitted = store.admit(subject, key, admission).await.unwrap();
            assert!(matches!(admitted, Admitted::Admitted { .. }), "{admitted:?}");
        }
    })
    .await;
    assert_eq!(stores[0].subject_sessions(alice.key()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_epoch_that_can_not_be_raised_is_an_error_and_writes_go_on() {
    let ((_dir, path), records) = (somewhere(), Records::seeded());
    let store = open(&path, &records).await;
    let subject = Subject::new("alice").key();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute(
        "INSERT INTO subjects (subject, epoch, expires) VALUES (?1, ?2, ?2)",
        rusqlite::params![subject.as_bytes(), i64::MAX],
    )
    .unwrap();
    let _ = store.end_subject(subject, None).await;
    let (key, record) = records.anonymous(b"cart");
    assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
}

#[tokio::test]
async fn a_panic_in_a_write_undoes_its_batch_and_ends_no_later_one() {
    let ((_dir, path), records) = (somewhere(), Records::seeded());
    let store = open(&path, &records).await;
    let (key, record) = records.anonymous(b"cart");
    let undone = record.clone();
    let clock = records.clock();
    let panicking = store.write::<()>(Operation::Create, Durability::Disk, move |db| {
        let _ = statements::create(db, &key, &undone, clock.now())?;
        panic!("on purpose");
    });
    assert_eq!(panicking.await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert_eq!(store.load(key).await.unwrap(), None);
    assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
}

#[tokio::test]
async fn a_file_keeps_its_marker_and_a_new_file_has_another() {
    let ((_dir, path), records) = (somewhere(), Records::seeded());
    let marker = open(&path, &records).await.marker().await.unwrap();
    assert!(marker.is_some());
    assert_eq!(open(&path, &records).await.marker().await.unwrap(), marker);
    let (_other_dir, other) = somewhere();
    assert_ne!(open(&other, &records).await.marker().await.unwrap(), marker);
}
