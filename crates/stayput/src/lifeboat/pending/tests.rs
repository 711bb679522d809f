//! What waits for the store, and what is forgotten of it.

use stayput_core::{Header, SessionId, SystemRandom, Timestamp, Version, WriteTag};

use super::*;

fn key(number: u8) -> StorageKey {
    StorageKey::from_bytes([number; StorageKey::LEN])
}

fn write(name: &str, before: &str, after: &str) -> Write {
    let value = |text: &str| Some(text.as_bytes().to_vec());
    let (before, after) = (value(before), value(after));
    Write { name: name.to_owned(), before, after, origin: None, born_until: None }
}

/// The session after so many writes.
fn view(writes: u32) -> View {
    let now = Timestamp::default();
    let id = SessionId::generate(&SystemRandom);
    let header = Header::new(now, Timestamp::MAX, Timestamp::MAX, WriteTag(1));
    let current = Current { key: id.storage_key(), id, header, data: crate::data::Data::new() };
    let drift = Drift { writes, ..Drift::since(now, None) };
    View { current: Arc::new(current), drift }
}

fn take(pending: &Pending, writes: u32, write: Write) -> Result<(), NotTaken> {
    pending.write(key(1), view(writes), vec![write], |_| ())
}

fn waiting(pending: &Pending) -> Vec<(String, String, String)> {
    let Some(Work::Write { writes, .. }) = pending.work(&key(1)) else { return Vec::new() };
    let text = |value: Option<Vec<u8>>| String::from_utf8(value.unwrap()).unwrap();
    writes.into_iter().map(|write| (write.name, text(write.before), text(write.after))).collect()
}

fn attempt(count: usize) -> Attempt {
    Attempt { tag: WriteTag(9), expected: Version { count: 1, tag: WriteTag(1) }, count }
}

fn is(expected: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    expected.iter().map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned())).collect()
}

#[test]
fn writes_over_each_other_are_one_and_over_somebody_elses_are_two() {
    let pending = Pending::default();
    for (count, (before, after)) in [("0", "1"), ("1", "2"), ("5", "6"), ("6", "7")].into_iter().enumerate() {
        assert!(take(&pending, u32::try_from(count).unwrap() + 1, write("n", before, after)).is_ok());
        assert!(pending.view(&key(1)).is_some());
    }
    assert_eq!(waiting(&pending), is(&[("n", "0", "2"), ("n", "5", "7")]));
}

#[test]
fn what_is_on_its_way_is_not_added_to_and_what_has_arrived_is_forgotten() {
    let pending = Pending::default();
    assert!(take(&pending, 1, write("n", "0", "1")).is_ok());
    assert!(take(&pending, 2, write("color", "red", "blue")).is_ok());
    assert!(pending.tried(&key(1), attempt(2), || ()).is_some());
    assert!(take(&pending, 3, write("n", "1", "2")).is_ok());
    // What was tried comes first, by itself, until it is settled.
    assert_eq!(waiting(&pending), is(&[("n", "0", "1"), ("color", "red", "blue")]));
    assert!(pending.tried(&key(1), attempt(3), || ()).is_none());
    assert!(pending.tried(&key(1), attempt(2), || ()).is_some());
    pending.done(&key(1), 2, |is_empty| assert!(!is_empty));
    assert_eq!(waiting(&pending), is(&[("n", "1", "2")]));
    pending.done(&key(1), 1, |is_empty| assert!(is_empty));
    assert!(pending.is_empty() && !pending.is_waiting(&key(1)));
}

#[test]
fn who_has_seen_less_than_was_written_is_told_and_nothing_of_theirs_is_taken() {
    let pending = Pending::default();
    assert!(take(&pending, 1, write("n", "0", "1")).is_ok());
    let Err(NotTaken::Behind(newer)) = take(&pending, 1, write("n", "0", "1")) else { panic!("taken") };
    assert_eq!(newer.drift.writes, 1);
    assert_eq!(waiting(&pending), is(&[("n", "0", "1")]));
}

#[test]
fn an_end_comes_first_and_nothing_is_written_after_it() {
    let pending = Pending::default();
    assert!(pending.write(key(2), view(1), vec![write("n", "0", "1")], |_| ()).is_ok());
    assert!(take(&pending, 1, write("n", "0", "1")).is_ok());
    assert!(pending.end(key(1), || ()).is_ok());
    assert!(matches!(take(&pending, 2, write("n", "1", "2")), Err(NotTaken::Ended)));
    assert_eq!(pending.keys(), [key(2), key(1)]);
    // The replay of its writes that was under way changes nothing of that.
    pending.done(&key(1), 1, |_| ());
    assert!(pending.is_ended(&key(1)));
    pending.gone(&key(1), |is_empty| assert!(!is_empty));
    assert!(!pending.is_waiting(&key(1)));
}

#[test]
fn more_than_there_is_room_for_is_refused() {
    let pending = Pending::default();
    let large = "x".repeat(MOST_WRITTEN / 4);
    let mut taken = 0;
    while pending.write(key(taken), view(1), vec![write("n", "", &large)], |_| ()).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 3);
    assert!(matches!(take(&pending, 2, write("n", &large, &large)), Err(NotTaken::Full)));
    assert!(pending.end(key(8), || ()).is_ok(), "there is room for a logout");
    pending.done(&key(0), 1, |_| ());
    assert!(pending.write(key(9), view(1), vec![write("n", "", &large)], |_| ()).is_ok());
}

#[test]
fn a_journal_is_read_as_it_happened() {
    let (pending, journal) = (
        Pending::default(),
        [
            Entry::Written { key: key(1), write: write("n", "0", "1") },
            Entry::Written { key: key(1), write: write("n", "1", "2") },
            Entry::Tried { key: key(1), attempt: attempt(2) },
            Entry::Written { key: key(1), write: write("n", "2", "3") },
            Entry::Ended { key: key(2) },
            Entry::Written { key: key(3), write: write("n", "0", "1") },
            Entry::Ended { key: key(3) },
            Entry::Gone { key: key(2) },
        ],
    );
    pending.restore(journal.to_vec());
    assert_eq!(waiting(&pending), is(&[("n", "0", "2")]));
    let Some(Work::Write { count, attempt: tried, .. }) = pending.work(&key(1)) else { panic!("nothing") };
    assert_eq!((count, tried), (2, Some(attempt(2))));
    assert!(!pending.is_waiting(&key(2)) && pending.is_ended(&key(3)));
    let done = [journal.to_vec(), vec![Entry::Done { key: key(1), count: 2 }]].concat();
    let pending = Pending::default();
    pending.restore(done);
    assert_eq!(waiting(&pending), is(&[("n", "2", "3")]));
}
