//! What holds for memory beyond the contract: bounds, and who goes first.

use std::time::Duration;

use stayput_core::{SWEEP_DELAY, Subject, TOMBSTONE_LIFETIME};
use stayput_testkit::{ManualClock, Records, Seed};

use super::*;

stayput_testkit::store_conformance!(|clock: Arc<ManualClock>| async move {
    Arc::new(MemoryStore::default().with_clock(clock)) as Arc<dyn SessionStore>
});

#[tokio::test]
async fn room_is_made_by_dropping_anonymous_sessions_and_they_are_counted() {
    let records = Records::seeded();
    let store = MemoryStore::new(64 * 4096).with_clock(records.clock());
    let (user_key, user) = records.logged_in(&Subject::new("alice"), b"cart");
    assert_eq!(store.create(user_key, user.clone()).await.unwrap(), Created::Created);
    for _ in 0..10_000 {
        let (key, record) = records.anonymous(b"visit");
        assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
    }
    assert!(store.evicted() > 8_000, "{}", store.evicted());
    assert_eq!(store.load(user_key).await.unwrap().as_deref(), Some(&user));
}

#[tokio::test]
async fn when_only_live_users_are_left_a_new_session_is_refused_and_none_is_lost() {
    let records = Records::seeded();
    let store = MemoryStore::new(64 * 4096).with_clock(records.clock());
    let mut live = Vec::new();
    let error = loop {
        let (key, record) = records.logged_in(&Subject::new("alice"), b"cart");
        match store.create(key, record.clone()).await {
            Ok(_) => live.push((key, record)),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), StoreErrorKind::Full);
    assert!(live.len() > 64);
    for (key, record) in live {
        assert_eq!(store.load(key).await.unwrap().as_deref(), Some(&record));
    }
    assert_eq!(store.evicted(), 0);
}

#[tokio::test]
async fn a_record_that_finds_no_room_drops_nobody() {
    let records = Records::seeded();
    let store = MemoryStore::new(64 * 4096).with_clock(records.clock());
    let (key, record) = records.anonymous(b"visit");
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    let huge = records.next(&key, &record, &[0; 8192]);
    let error = store.replace(key, huge, record.header.version()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full);
    for _ in 0..640 {
        let (other, huge) = records.logged_in(&Subject::new("alice"), &[0; 8192]);
        assert_eq!(store.create(other, huge).await.unwrap_err().kind(), StoreErrorKind::Full);
    }
    assert_eq!(store.load(key).await.unwrap().as_deref(), Some(&record));
    assert_eq!(store.evicted(), 0);
}

#[tokio::test]
async fn the_index_of_subjects_keeps_nothing_of_sessions_that_are_gone() {
    let records = Records::seeded();
    let store = MemoryStore::default().with_clock(records.clock());
    for round in 0..10_000 {
        let subject = Subject::new(format!("user {}", round % 700));
        let (key, record) = records.logged_in(&subject, b"");
        assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
        let admitted = store.admit(subject.key(), key, Admission::default()).await.unwrap();
        match round % 4 {
            0 => store.remove(key).await.unwrap(),
            1 if round % 700 == 1 => assert!(store.end_subject(subject.key(), None).await.unwrap() > Some(0)),
            2 => {
                records.clock().set(record.header.expires);
                let other = records.logged_in_under(&key, &Subject::new("next"), b"");
                assert_eq!(store.create(key, other).await.unwrap(), Created::Created);
            }
            // Left to expire.
            _ => assert_ne!(admitted, Admitted::Missing),
        }
    }
    assert!(!index_is_empty(&store));
    records.clock().advance(TOMBSTONE_LIFETIME.max(Duration::from_hours(12)) + SWEEP_DELAY);
    store.sweep(usize::MAX).await.unwrap();
    assert!(index_is_empty(&store));
}

#[tokio::test]
async fn sessions_dropped_to_make_room_leave_the_index() {
    let records = Records::seeded();
    let store = MemoryStore::new(64 * 4096).with_clock(records.clock());
    let mut last = records.clock().now();
    for _ in 0..10_000 {
        let (key, record) = records.logged_in(&Subject::new("alice"), b"cart");
        last = record.header.expires;
        if store.create(key, record).await.is_err() {
            // Everybody there is has expired, and goes to make room for the next.
            records.clock().set(last);
        }
    }
    let listed = || store.index(&Subject::new("alice").key()).sessions(Subject::new("alice").key()).len();
    assert!(listed() < 1_000, "{}", listed());
    records.clock().set(last.after(SWEEP_DELAY));
    store.sweep(usize::MAX).await.unwrap();
    assert!(index_is_empty(&store));
}

/// Creates, removals, admissions, ends and evictions of the same keys and subjects from all sides: they neither wait
/// for each other for ever nor leave anything behind.
#[test]
fn whatever_happens_at_once_the_index_is_in_step_with_the_records() {
    let (records, seed) = (Records::seeded(), Seed::announce());
    let store = MemoryStore::new(64 * 2048).with_clock(records.clock());
    let subjects: Vec<_> = (0..3).map(|n| Subject::new(format!("user {n}"))).collect();
    let keys: Vec<_> = (0..40).map(|_| records.anonymous(b"").0).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, records, subjects, keys) = (&store, &records, &subjects, &keys);
            scope.spawn(move || {
                let mut rng = Seed(seed.0.wrapping_add(thread)).rng();
                for _ in 0..5_000 {
                    disturb(store, records, &subjects[rng.usize(..3)], keys[rng.usize(..40)], &mut rng);
                }
            });
        }
    });
    let listed: usize = subjects.iter().map(|s| store.index(&s.key()).sessions(s.key()).len()).sum();
    let held = |key: &&StorageKey| subjects.iter().any(|s| store.shard(key).holds(&s.key(), key));
    assert_eq!(listed, keys.iter().filter(held).count());
    records.clock().advance(Duration::from_hours(48));
    assert!(store.sweep_all(usize::MAX, records.clock().now()) > 0);
    assert!(index_is_empty(&store));
}

fn disturb(
    store: &MemoryStore,
    records: &Records,
    subject: &Subject,
    key: StorageKey,
    rng: &mut fastrand::Rng,
) {
    let now = records.clock().now();
    match rng.u8(..8) {
        0..=3 => {
            let _: Result<_, _> = store.create_listed(key, records.logged_in_under(&key, subject, b""), now);
        }
        4 => store.change(&key, |shard| shard.remove(key, now)),
        5 => {
            let admission = Admission {
                epoch: store.index(&subject.key()).epoch(&subject.key(), now),
                ..Admission::default()
            };
            let _: Admitted = store.admit_session(subject.key(), key, admission, now);
        }
        6 => {
            store.end_sessions(subject.key(), None, now);
        }
        _ => records.clock().advance(Duration::from_mins(rng.u64(..10))),
    }
}

fn index_is_empty(store: &MemoryStore) -> bool {
    store.indexes.iter().all(|index| lock(index).is_empty())
}
