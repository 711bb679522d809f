use std::sync::Arc;
use std::time::Duration;

use stayput_core::{
    Header, Keyring, Record, SessionStore, StorageKey, SystemRandom, Timestamp, Uptime, WriteTag,
};
use stayput_testkit::{ManualClock, ModelStore, TellingStore};

use super::copy::Held;
use super::motion::Motion;
use super::{Copy, Near, NearCache};

// Whatever is told, and whenever: what the store is asked for is never answered from a copy.
stayput_testkit::store_conformance!(|clock: Arc<ManualClock>| async move {
    let store = Arc::new(TellingStore::new(Arc::new(ModelStore::new(clock.clone()))));
    Near::start(store, clock, NearCache::default()) as Arc<dyn SessionStore>
});

const NOW: Uptime = Uptime::from_millis(1000);

/// Makes a swap during which so many messages come; says whether it is the newest.
fn swap(motion: &mut Motion, told: u32) -> bool {
    motion.begin_write(NOW);
    for _ in 0..told {
        assert!(motion.is_news(NOW), "whose it is can't be known yet");
    }
    motion.end_swap(NOW, true)
}

#[test]
fn the_message_of_an_own_swap_is_no_news_whenever_it_comes() {
    let mut motion = Motion::default();
    assert!(swap(&mut motion, 0));
    assert!(!motion.is_news(NOW));
    assert!(motion.is_news(NOW), "the next one is somebody else's");

    assert!(swap(&mut motion, 1));
    assert!(motion.is_still());
    assert!(motion.is_news(NOW));
}

#[test]
fn messages_of_own_swaps_may_come_late() {
    let mut motion = Motion::default();
    assert!(swap(&mut motion, 0));
    assert!(swap(&mut motion, 0));
    // One for each, and one that came before them.
    assert!(swap(&mut motion, 2));
    assert!(!motion.is_news(NOW));
    assert!(motion.is_news(NOW));
}

#[test]
fn more_messages_than_own_swaps_mean_that_somebody_else_wrote() {
    let mut motion = Motion::default();
    assert!(!swap(&mut motion, 2));
    assert!(motion.is_news(NOW));
}

#[test]
fn of_writes_that_overlap_none_is_known_to_be_the_newest() {
    let mut motion = Motion::default();
    motion.begin_write(NOW);
    motion.begin_write(NOW);
    assert!(!motion.end_swap(NOW, true));
    assert!(!motion.end_swap(NOW, true));
    assert!(motion.is_news(NOW));
}

#[test]
fn a_message_that_comes_during_another_write_is_not_waited_for_again() {
    let mut motion = Motion::default();
    assert!(swap(&mut motion, 0));
    motion.begin_write(NOW);
    assert!(motion.is_news(NOW), "whose it is can't be known yet");
    // It was refused, say, and there will be no message of it.
    motion.end_write();
    assert!(motion.is_news(NOW), "this one is somebody else's");
}

#[test]
fn after_a_loss_no_message_is_waited_for() {
    let mut motion = Motion::default();
    assert!(swap(&mut motion, 0));
    motion.expect_nothing();
    assert!(motion.is_news(NOW));

    motion.begin_write(NOW);
    motion.expect_nothing();
    assert!(!motion.end_swap(NOW, true), "what was lost may have come after it");
}

#[test]
fn a_message_that_does_not_come_in_time_is_not_waited_for() {
    let mut motion = Motion::default();
    assert!(swap(&mut motion, 0));
    assert!(motion.is_news(NOW.after(Duration::from_secs(1))));
    motion.begin_write(NOW);
    assert!(motion.end_swap(NOW, false));
    assert!(motion.is_still(), "a store that tells nothing sends none");
}

#[test]
fn a_read_never_replaces_a_copy_of_a_later_version_unless_that_is_doubted() {
    let (clock, keyring) = (Arc::new(ManualClock::default()), Keyring::generate(&SystemRandom));
    let near = Near::start(Arc::new(ModelStore::new(clock.clone())), clock, NearCache::default());
    let key = StorageKey::from_bytes([1; StorageKey::LEN]);
    let first = Header::new(Timestamp::from_millis(1), Timestamp::MAX, Timestamp::MAX, WriteTag(1));
    let second = first.next(WriteTag(2));
    let [older, newer] = [first, second].map(|header| {
        let record = Record::seal(&key, header, b"", &keyring, &SystemRandom);
        Arc::new(Copy::new(Arc::new(record), NOW, None))
    });
    let held = || match near.copies.peek(&key) {
        Some(Held::Copy(copy)) => copy.version(),
        _ => panic!("a copy is held"),
    };
    near.hold(key, &newer);
    near.hold(key, &older);
    assert_eq!(held(), newer.version());
    near.doubt_copy(&key);
    near.hold(key, &older);
    assert_eq!(held(), older.version());
}
