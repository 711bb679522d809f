//! Promises that one client alone can check.

use std::sync::Arc;
use std::time::Duration;

use stayput_core::{Clock, Created, Replaced, SWEEP_DELAY, Subject, TOMBSTONE_LIFETIME, Timestamp, Touched};

use super::Bench;

const MINUTE: Duration = Duration::from_mins(1);

/// What is created is loaded, header and data alike.
pub async fn create_is_loaded_as_it_was_written(bench: &Bench) {
    let (key, record) = bench.created(b"data").await;
    let loaded = bench.load(key).await.unwrap();
    assert_eq!(loaded, record);
    assert_eq!(bench.records.open(&key, &loaded), b"data");
}

/// A key that holds a live record can't be created again.
pub async fn create_leaves_a_live_record_alone(bench: &Bench) {
    let (key, record) = bench.created(b"first").await;
    let second = bench.records.next(&key, &record, b"second");
    assert_eq!(bench.store.create(key, second).await.unwrap(), Created::Exists);
    assert_eq!(bench.load(key).await, Some(record));
}

/// An expired record doesn't stand in the way of a new one, swept or not.
pub async fn create_takes_the_place_of_an_expired_record(bench: &Bench) {
    let (key, record) = bench.created(b"first").await;
    bench.clock.set(record.header.expires);
    let later = bench.clock.now().after(MINUTE);
    let second = bench.records.next_until(&key, &record, later, b"second");
    assert_eq!(bench.store.create(key, second.clone()).await.unwrap(), Created::Created);
    assert_eq!(bench.load(key).await, Some(second));
}

/// Nothing is found, and nothing comes into being, where nothing is.
pub async fn a_missing_record_is_missing_for_every_operation(bench: &Bench) {
    let (key, record) = bench.records.anonymous(b"");
    assert_eq!(bench.load(key).await, None);
    let next = bench.records.next(&key, &record, b"");
    assert_eq!(bench.store.replace(key, next, record.header.version()).await.unwrap(), Replaced::Missing);
    assert_eq!(bench.store.touch(key, record.header.absolute).await.unwrap(), Touched::Missing);
    assert_eq!(bench.load(key).await, None);
}

/// A swap against an old version changes nothing and hands back what is there.
pub async fn replace_swaps_only_the_expected_version(bench: &Bench) {
    let (key, first) = bench.created(b"1").await;
    let second = bench.records.next(&key, &first, b"2");
    let swapped = bench.store.replace(key, second.clone(), first.header.version()).await.unwrap();
    assert_eq!(swapped, Replaced::Replaced);
    let late = bench.records.next(&key, &first, b"late");
    let refused = bench.store.replace(key, late, first.header.version()).await.unwrap();
    assert_eq!(refused, Replaced::Conflict(Arc::new(second.clone())));
    assert_eq!(bench.load(key).await, Some(second));
}

/// Two second writes are not the same version: the counter alone would let one overwrite the other (ABA).
pub async fn replace_tells_equal_counts_apart_by_their_write_tag(bench: &Bench) {
    let (key, first) = bench.created(b"1").await;
    let (mine, theirs) = (bench.records.next(&key, &first, b"m"), bench.records.next(&key, &first, b"t"));
    assert_eq!(mine.header.version().count, theirs.header.version().count);
    let swapped = bench.store.replace(key, theirs.clone(), first.header.version()).await.unwrap();
    assert_eq!(swapped, Replaced::Replaced);
    let third = bench.records.next(&key, &mine, b"3");
    let refused = bench.store.replace(key, third, mine.header.version()).await.unwrap();
    assert_eq!(refused, Replaced::Conflict(Arc::new(theirs)));
}

/// A write moves the idle deadline forward, like a touch, and back only by an earlier absolute one (a remainder).
pub async fn replace_moves_the_deadline_forward_only(bench: &Bench) {
    let (key, first) = bench.created(b"1").await;
    let later = first.header.expires.after(MINUTE);
    let second = bench.records.next_until(&key, &first, later, b"2");
    let version = first.header.version();
    assert_eq!(bench.store.replace(key, second.clone(), version).await.unwrap(), Replaced::Replaced);
    bench.clock.set(first.header.expires);
    assert!(bench.load(key).await.is_some());

    // A writer that read the record before a touch takes nothing back of it.
    let touched = bench.clock.now().after(10 * MINUTE);
    assert_eq!(bench.store.touch(key, touched).await.unwrap(), Touched::Touched);
    let soon = bench.clock.now().after(Duration::from_secs(1));
    let third = bench.records.next_until(&key, &second, soon, b"3");
    let version = second.header.version();
    assert_eq!(bench.store.replace(key, third.clone(), version).await.unwrap(), Replaced::Replaced);
    assert_eq!(bench.load(key).await.unwrap().header.expires, touched);

    // But for its absolute deadline, which counts whatever was before.
    let remainder = bench.records.remainder(&key, &third, soon);
    let version = third.header.version();
    assert_eq!(bench.store.replace(key, remainder, version).await.unwrap(), Replaced::Replaced);
    bench.clock.set(soon);
    assert_eq!(bench.load(key).await, None);
}

/// At its deadline a session is over, to the millisecond, for every operation.
pub async fn an_expired_record_is_missing_before_any_sweep(bench: &Bench) {
    let (key, record) = bench.created(b"").await;
    bench.clock.set(record.header.expires.before(Duration::from_millis(1)));
    assert_eq!(bench.load(key).await, Some(record.clone()));
    bench.clock.set(record.header.expires);
    assert_eq!(bench.load(key).await, None);
    assert_eq!(bench.store.touch(key, record.header.absolute).await.unwrap(), Touched::Missing);
    let next = bench.records.next_until(&key, &record, record.header.absolute, b"");
    assert_eq!(bench.store.replace(key, next, record.header.version()).await.unwrap(), Replaced::Missing);
    assert_eq!(bench.load(key).await, None);
}

/// A touch lengthens a session's life; a late one with an earlier deadline doesn't shorten it.
pub async fn touch_moves_the_deadline_forward_only(bench: &Bench) {
    let (key, record) = bench.created(b"").await;
    let (later, sooner) = (record.header.expires.after(MINUTE), record.header.expires.before(MINUTE));
    assert_eq!(bench.store.touch(key, later).await.unwrap(), Touched::Touched);
    assert_eq!(bench.store.touch(key, sooner).await.unwrap(), Touched::Touched);
    assert_eq!(bench.load(key).await.unwrap().header.expires, later);
    bench.clock.set(later.before(Duration::from_millis(1)));
    assert!(bench.load(key).await.is_some());
    bench.clock.set(later);
    assert_eq!(bench.load(key).await, None);
}

/// No activity keeps a session alive past its absolute deadline.
pub async fn touch_never_passes_the_absolute_deadline(bench: &Bench) {
    let (key, record) = bench.created(b"").await;
    let beyond = record.header.absolute.after(MINUTE);
    assert_eq!(bench.store.touch(key, beyond).await.unwrap(), Touched::Touched);
    assert_eq!(bench.load(key).await.unwrap().header.expires, record.header.absolute);
    bench.clock.set(record.header.absolute);
    assert_eq!(bench.load(key).await, None);
}

/// A swap may bring the absolute deadline nearer (a remainder); a touch from before it doesn't pass the new one either.
pub async fn touch_never_passes_the_absolute_deadline_of_the_last_write(bench: &Bench) {
    let (key, record) = bench.created(b"").await;
    let soon = bench.clock.now().after(MINUTE);
    let remainder = bench.records.remainder(&key, &record, soon);
    let swapped = bench.store.replace(key, remainder, record.header.version()).await.unwrap();
    assert_eq!(swapped, Replaced::Replaced);
    assert_eq!(bench.store.touch(key, record.header.expires.after(MINUTE)).await.unwrap(), Touched::Touched);
    assert_eq!(bench.load(key).await.unwrap().header.expires, soon);

    let (key, record) = bench.created(b"").await;
    bench.clock.set(record.header.expires);
    let again = bench.records.under(&key, b"");
    assert_eq!(bench.store.create(key, again.clone()).await.unwrap(), Created::Created);
    assert_eq!(bench.store.touch(key, Timestamp::MAX).await.unwrap(), Touched::Touched);
    assert_eq!(bench.load(key).await.unwrap().header.expires, again.header.absolute);
}

/// A touch is no write: a swap that began before it still succeeds.
pub async fn touch_leaves_version_and_data_alone(bench: &Bench) {
    let (key, record) = bench.created(b"data").await;
    let later = record.header.expires.after(MINUTE);
    assert_eq!(bench.store.touch(key, later).await.unwrap(), Touched::Touched);
    let touched = bench.load(key).await.unwrap();
    assert_eq!(touched.header.version(), record.header.version());
    assert_eq!(bench.records.open(&key, &touched), b"data");
    let next = bench.records.next(&key, &touched, b"next");
    assert_eq!(bench.store.replace(key, next, record.header.version()).await.unwrap(), Replaced::Replaced);
}

/// Nothing that was under way when a session ended brings it back.
pub async fn a_removed_record_stays_gone(bench: &Bench) {
    let (key, record) = bench.created(b"").await;
    bench.store.remove(key).await.unwrap();
    assert_eq!(bench.load(key).await, None);
    let next = bench.records.next(&key, &record, b"late");
    assert_eq!(bench.store.replace(key, next, record.header.version()).await.unwrap(), Replaced::Missing);
    assert_eq!(bench.store.touch(key, record.header.absolute).await.unwrap(), Touched::Missing);
    assert_eq!(bench.store.create(key, record).await.unwrap(), Created::Exists);
    assert_eq!(bench.load(key).await, None);
}

/// A removal that overtakes the creation of its session prevents it, for an hour, whatever is swept meanwhile.
pub async fn remove_leaves_a_tombstone_even_for_an_absent_key(bench: &Bench) {
    let (key, record) = bench.records.anonymous(b"");
    bench.store.remove(key).await.unwrap();
    bench.store.remove(key).await.unwrap();
    assert_eq!(bench.store.create(key, record.clone()).await.unwrap(), Created::Exists);
    bench.clock.advance(TOMBSTONE_LIFETIME.saturating_sub(Duration::from_millis(1)));
    bench.sweep(usize::MAX, 0).await;
    let later = bench.clock.now().after(MINUTE);
    let record = bench.records.next_until(&key, &record, later, b"");
    assert_eq!(bench.store.create(key, record.clone()).await.unwrap(), Created::Exists);
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.store.create(key, record).await.unwrap(), Created::Created);
}

/// A sweep takes what has been dead for a minute, as much as it was told to, and nothing else.
pub async fn sweep_deletes_only_what_expired_long_ago_in_bounded_steps(bench: &Bench) {
    for _ in 0..5 {
        bench.created(b"").await;
    }
    bench.clock.advance(MINUTE);
    let (live, record) = bench.created(b"").await;
    let first_deadline = record.header.expires.before(MINUTE);
    bench.clock.set(first_deadline.after(SWEEP_DELAY).before(Duration::from_millis(1)));
    bench.sweep(100, 0).await;
    bench.clock.advance(Duration::from_millis(1));
    // The last one's own deadline has come too, but not a minute ago.
    bench.sweep(3, 5).await;
    bench.sweep(3, 2).await;
    bench.sweep(3, 0).await;
    bench.clock.set(first_deadline);
    if bench.sweeps {
        assert_eq!(bench.load(live).await, Some(record));
    }
}

/// Size is no excuse.
pub async fn a_large_record_comes_back_whole(bench: &Bench) {
    let data: Vec<u8> = (0..=255).cycle().take(64 * 1024).collect();
    let (key, record) = bench.created(&data).await;
    let loaded = bench.load(key).await.unwrap();
    assert_eq!(loaded, record);
    assert_eq!(bench.records.open(&key, &loaded), data);
}

/// Who remembers a store's marker is told by it of a wiped store, and by nothing else.
pub async fn a_marker_stays_whatever_happens_to_sessions(bench: &Bench) {
    let marker = bench.store.marker().await.unwrap();
    let alice = Subject::new("alice");
    let (key, record) = bench.logged_in(&alice).await;
    bench.store.remove(key).await.unwrap();
    bench.end(&alice, None).await;
    bench.clock.set(record.header.absolute.after(TOMBSTONE_LIFETIME).after(SWEEP_DELAY));
    bench.store.sweep(usize::MAX).await.unwrap();
    assert_eq!(bench.store.marker().await.unwrap(), marker);
}
