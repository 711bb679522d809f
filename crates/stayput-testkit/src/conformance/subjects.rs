//! Promises about a subject's sessions as a whole: that they are found, and that all of them can be ended.

use std::time::Duration;

use stayput_core::{
    Admission, Admitted, Clock, Created, Epoch, Overflow, Replaced, SWEEP_DELAY, State, StorageKey, Subject,
    TOMBSTONE_LIFETIME, Timestamp, Touched,
};

use super::Bench;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Who was ended or superseded, or is somebody else, can't have all others ended.
pub async fn who_is_not_live_ends_nobody_else(bench: &Bench) {
    let (alice, bob) = (Subject::new("alice"), Subject::new("bob"));
    let (first, record) = bench.logged_in(&alice).await;
    let (second, _) = bench.logged_in(&alice).await;
    let (foreign, _) = bench.logged_in(&bob).await;
    let (ended, _) = bench.logged_in(&alice).await;
    bench.store.remove(ended).await.unwrap();
    bench.becomes_remainder(first, record.header.absolute).await;
    let epoch = bench.store.subject_epoch(alice.key()).await.unwrap();
    for except in [first, foreign, ended] {
        assert_eq!(bench.store.end_subject(alice.key(), Some(except)).await.unwrap(), None);
    }
    assert!(bench.load(second).await.is_some());
    assert_eq!(bench.store.subject_epoch(alice.key()).await.unwrap(), epoch);
}

/// A session is listed under its subject, admitted or not, touched or written, until it is gone.
pub async fn a_subjects_sessions_are_listed_until_they_are_gone(bench: &Bench) {
    let alice = Subject::new("alice");
    assert_eq!(bench.listed(&alice).await, []);
    let (first, record) = bench.logged_in(&alice).await;
    bench.clock.advance(SECOND);
    let (second, _) = bench.logged_in(&alice).await;
    bench.created(b"anonymous").await;
    assert_eq!(bench.admit(&alice, second).await, Admitted::Admitted { ended: vec![] });
    let touched = bench.store.touch(first, record.header.expires.after(SECOND)).await.unwrap();
    assert_eq!(touched, Touched::Touched);
    // Beyond the deadline that it began with: its place in the list goes on as long as it does.
    bench.clock.set(record.header.expires);
    assert_eq!(bench.listed(&alice).await, [first, second]);
    bench.becomes_remainder(first, record.header.absolute).await;
    assert_eq!(bench.listed(&alice).await, [first, second]);

    bench.store.remove(second).await.unwrap();
    assert_eq!(bench.listed(&alice).await, [first]);
    bench.clock.set(record.header.absolute);
    assert_eq!(bench.listed(&alice).await, []);
    bench.clock.advance(SWEEP_DELAY);
    bench.store.sweep(usize::MAX).await.unwrap();
    assert_eq!(bench.listed(&alice).await, []);
}

/// The list goes by when sessions began, not by when the store got to know them, were used or admitted.
pub async fn sessions_are_listed_from_the_oldest_to_the_newest(bench: &Bench) {
    let alice = Subject::new("alice");
    let mut keys = Vec::new();
    let mut late = Vec::new();
    for _ in 0..4 {
        let (key, record) = bench.records.logged_in(&alice, b"");
        keys.push(key);
        late.push((key, record));
        bench.clock.advance(SECOND);
    }
    for (key, record) in late.into_iter().rev() {
        assert_eq!(bench.store.create(key, record).await.unwrap(), Created::Created);
        assert_eq!(bench.admit(&alice, key).await, Admitted::Admitted { ended: vec![] });
    }
    assert_eq!(bench.listed(&alice).await, keys);
}

/// A key that an expired session had belongs to the one that takes its place, and was not admitted by it.
pub async fn a_session_in_the_place_of_an_expired_one_is_listed_under_its_own_subject(bench: &Bench) {
    let (alice, bob) = (Subject::new("alice"), Subject::new("bob"));
    let (key, record) = bench.logged_in(&alice).await;
    assert_eq!(bench.admit(&alice, key).await, Admitted::Admitted { ended: vec![] });
    bench.clock.set(record.header.expires);
    let again = bench.records.logged_in_under(&key, &bob, b"");
    assert_eq!(bench.store.create(key, again.clone()).await.unwrap(), Created::Created);
    assert_eq!((bench.listed(&alice).await, bench.listed(&bob).await), (vec![], vec![key]));
    assert_eq!(bench.end(&alice, None).await, 0);
    assert_eq!(bench.load(key).await, Some(again.clone()));

    bench.clock.set(again.header.expires);
    let anonymous = bench.records.under(&key, b"");
    assert_eq!(bench.store.create(key, anonymous.clone()).await.unwrap(), Created::Created);
    assert_eq!(bench.end(&bob, None).await, 0);
    assert_eq!(bench.load(key).await, Some(anonymous));
}

/// Nor was it admitted by it, if both are the same subject's.
pub async fn a_session_in_the_place_of_an_expired_one_is_yet_to_be_admitted(bench: &Bench) {
    let alice = Subject::new("alice");
    let (key, record) = bench.logged_in(&alice).await;
    assert_eq!(bench.admit(&alice, key).await, Admitted::Admitted { ended: vec![] });
    bench.clock.set(record.header.expires);
    let again = bench.records.logged_in_under(&key, &alice, b"");
    assert_eq!(bench.store.create(key, again).await.unwrap(), Created::Created);
    let (other, _) = bench.logged_in(&alice).await;
    let alone = bench.admit_within(&alice, other, 1, Overflow::Reject).await;
    assert_eq!(alone, Admitted::Admitted { ended: vec![] });
    assert_eq!(bench.admit_within(&alice, key, 1, Overflow::Reject).await, Admitted::Rejected);
}

/// All sessions but the exempted one are gone for good when it returns; the count is of those that could be used.
pub async fn ending_a_subject_ends_all_sessions_but_one(bench: &Bench) {
    let alice = Subject::new("alice");
    let ((kept, record), (admitted, _)) = (bench.logged_in(&alice).await, bench.logged_in(&alice).await);
    let ((waiting, _), (remainder, _)) = (bench.logged_in(&alice).await, bench.logged_in(&alice).await);
    for key in [kept, admitted, remainder] {
        assert_eq!(bench.admit(&alice, key).await, Admitted::Admitted { ended: vec![] });
    }
    bench.becomes_remainder(remainder, record.header.expires).await;
    assert_eq!(bench.end(&alice, Some(kept)).await, 2);
    for key in [admitted, waiting, remainder] {
        assert_eq!(bench.load(key).await, None);
        let again = bench.records.logged_in_under(&key, &alice, b"");
        assert_eq!(bench.store.create(key, again).await.unwrap(), Created::Exists);
    }
    assert_eq!(bench.listed(&alice).await, [kept]);
    assert_eq!(bench.load(kept).await, Some(record));
    assert_eq!(bench.end(&alice, None).await, 1);
    assert_eq!(bench.listed(&alice).await, []);
    assert_eq!(bench.end(&alice, None).await, 0);
}

/// Nobody else's sessions are counted, ended or revoked, and an exemption that isn't the subject's exempts nothing.
pub async fn other_subjects_are_left_alone(bench: &Bench) {
    let (alice, bob) = (Subject::new("alice"), Subject::new("bob"));
    let ((of_alice, _), (of_bob, record)) = (bench.logged_in(&alice).await, bench.logged_in(&bob).await);
    let (anonymous, visit) = bench.created(b"").await;
    for (subject, key) in [(&alice, of_alice), (&bob, of_bob)] {
        let admitted = bench.admit_within(subject, key, 1, Overflow::EndOldest).await;
        assert_eq!(admitted, Admitted::Admitted { ended: vec![] });
    }
    assert_eq!(bench.end(&alice, None).await, 1);
    assert_eq!(bench.epoch(&bob).await, Epoch::default());
    assert_eq!(bench.listed(&bob).await, [of_bob]);
    assert_eq!(bench.load(of_bob).await, Some(record));
    assert_eq!(bench.load(anonymous).await, Some(visit));
}

/// A login that read the epoch before everything was ended is refused, whether its session was made before or after.
pub async fn a_login_that_began_before_an_end_is_revoked(bench: &Bench) {
    let alice = Subject::new("alice");
    let admission = Admission { epoch: bench.epoch(&alice).await, ..Admission::default() };
    let (before, _) = bench.logged_in(&alice).await;
    let (exempted, record) = bench.logged_in(&alice).await;
    bench.end(&alice, Some(exempted)).await;
    let (after, _) = bench.logged_in(&alice).await;
    for key in [before, exempted, after] {
        assert_eq!(bench.store.admit(alice.key(), key, admission).await.unwrap(), Admitted::Revoked);
    }
    assert_eq!(bench.load(exempted).await, Some(record));
    assert_eq!(bench.admit(&alice, after).await, Admitted::Admitted { ended: vec![] });
    // The refused one wasn't let in by the way.
    let alone = bench.admit_within(&alice, exempted, 1, Overflow::Reject).await;
    assert_eq!(alone, Admitted::Rejected);
}

/// Every end has an epoch of its own, while the clock stands still, when it goes back, and after one was forgotten.
pub async fn an_epoch_never_repeats(bench: &Bench) {
    let alice = Subject::new("alice");
    let mut last = bench.epoch(&alice).await;
    assert_eq!(last, Epoch::default());
    for round in 0..12 {
        bench.end(&alice, None).await;
        let epoch = bench.epoch(&alice).await;
        assert!(epoch > last, "round {round}");
        last = epoch;
        match round {
            3 => bench.clock.set(bench.clock.now().before(SECOND)),
            7 => {
                bench.clock.set(epoch.expires().after(SWEEP_DELAY));
                bench.sweep(usize::MAX, 1).await;
                assert_eq!(bench.epoch(&alice).await, Epoch::default());
            }
            _ => {}
        }
    }
}

/// An epoch is remembered as long as a tombstone, sweeps or not, and is swept as records are, in bounded steps.
pub async fn an_epoch_is_remembered_as_long_as_a_tombstone(bench: &Bench) {
    let subjects = ["alice", "bob", "carol"].map(Subject::new);
    for subject in &subjects {
        bench.end(subject, None).await;
    }
    let epoch = bench.epoch(&subjects[0]).await;
    bench.clock.advance(TOMBSTONE_LIFETIME.saturating_sub(MILLISECOND));
    bench.sweep(usize::MAX, 0).await;
    assert_eq!(bench.epoch(&subjects[0]).await, epoch);
    bench.clock.advance(MILLISECOND);
    assert_eq!(bench.epoch(&subjects[0]).await, Epoch::default());
    bench.clock.advance(SWEEP_DELAY.saturating_sub(MILLISECOND));
    bench.sweep(usize::MAX, 0).await;
    bench.clock.advance(MILLISECOND);
    bench.sweep(2, 3).await;
    bench.sweep(2, 1).await;
    bench.sweep(2, 0).await;
}

impl Bench {
    /// The subject's sessions without the leftovers that a store may name.
    pub(super) async fn listed(&self, subject: &Subject) -> Vec<StorageKey> {
        let mut listed = self.store.subject_sessions(subject.key()).await.unwrap();
        let mut gone = Vec::new();
        for key in &listed {
            if self.load(*key).await.is_none_or(|record| record.header.subject != Some(subject.key())) {
                gone.push(*key);
            }
        }
        listed.retain(|key| !gone.contains(key));
        listed
    }

    pub(super) async fn end(&self, subject: &Subject, except: Option<StorageKey>) -> usize {
        self.store.end_subject(subject.key(), except).await.unwrap().expect("the one to spare is live")
    }

    pub(super) async fn epoch(&self, subject: &Subject) -> Epoch {
        self.store.subject_epoch(subject.key()).await.unwrap()
    }

    /// Leaves a remainder of what is under `key`, until `ends`.
    pub(super) async fn becomes_remainder(&self, key: StorageKey, ends: Timestamp) {
        let record = self.load(key).await.unwrap();
        assert_eq!(record.header.state, State::Live);
        let remainder = self.records.remainder(&key, &record, ends);
        let replaced = self.store.replace(key, remainder, record.header.version()).await.unwrap();
        assert_eq!(replaced, Replaced::Replaced);
    }
}
