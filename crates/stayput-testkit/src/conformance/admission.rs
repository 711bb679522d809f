//! Promises about how many sessions a subject has.

use std::num::NonZeroU32;
use std::time::Duration;

use stayput_core::{
    Admission, Admitted, Created, Overflow, Record, SessionLimit, StorageKey, Subject, Touched,
};

use super::Bench;

const SECOND: Duration = Duration::from_secs(1);

/// Only a session that may be used, and that is the subject's, is counted in; a refusal changes nothing.
pub async fn only_a_live_session_of_the_subject_is_admitted(bench: &Bench) {
    let (alice, bob) = (Subject::new("alice"), Subject::new("bob"));
    let (absent, _) = bench.records.logged_in(&alice, b"");
    let ((removed, _), (expired, record)) = (bench.logged_in(&alice).await, bench.logged_in(&alice).await);
    bench.store.remove(removed).await.unwrap();
    bench.clock.set(record.header.expires);
    let ((remainder, record), (others, _)) = (bench.logged_in(&alice).await, bench.logged_in(&bob).await);
    bench.becomes_remainder(remainder, record.header.expires).await;
    let (anonymous, _) = bench.created(b"").await;
    for key in [absent, removed, expired, remainder, others, anonymous] {
        assert_eq!(bench.admit(&alice, key).await, Admitted::Missing);
    }
    assert_eq!(bench.listed(&alice).await, [remainder]);
    let (live, _) = bench.logged_in(&alice).await;
    assert_eq!(bench.admit_within(&alice, live, 1, Overflow::EndOldest).await, admitted());
}

/// A session above the limit is refused, and all are as they were; when one ends there is room.
pub async fn admit_rejects_above_the_limit(bench: &Bench) {
    let alice = Subject::new("alice");
    let sessions = bench.sessions(&alice, 3).await;
    for (key, _) in &sessions[..2] {
        assert_eq!(bench.admit_within(&alice, *key, 2, Overflow::Reject).await, admitted());
    }
    let third = sessions[2].0;
    assert_eq!(bench.admit_within(&alice, third, 2, Overflow::Reject).await, Admitted::Rejected);
    for (key, record) in &sessions {
        assert_eq!(bench.load(*key).await.as_ref(), Some(record));
    }
    bench.store.remove(sessions[1].0).await.unwrap();
    assert_eq!(bench.admit_within(&alice, third, 2, Overflow::Reject).await, admitted());
}

/// The sessions admitted longest ago end, as many as it takes, and are gone for good.
pub async fn admit_ends_the_longest_admitted(bench: &Bench) {
    let alice = Subject::new("alice");
    let keys: Vec<_> = bench.sessions(&alice, 6).await.into_iter().map(|(key, _)| key).collect();
    // Neither in the order of their creation nor in that of their last use.
    for at in [3, 1, 4, 0] {
        assert_eq!(bench.admit_within(&alice, keys[at], 4, Overflow::EndOldest).await, admitted());
    }
    let later = bench.load(keys[3]).await.unwrap().header.expires.after(SECOND);
    assert_eq!(bench.store.touch(keys[3], later).await.unwrap(), Touched::Touched);
    assert_eq!(bench.admit_within(&alice, keys[5], 4, Overflow::EndOldest).await, ended([keys[3]]));
    assert_eq!(bench.listed(&alice).await, [keys[0], keys[1], keys[2], keys[4], keys[5]]);
    // The limit was lowered meanwhile.
    let lowered = bench.admit_within(&alice, keys[2], 2, Overflow::EndOldest).await;
    assert_eq!(lowered, ended([keys[1], keys[4], keys[0]]));
    assert_eq!(bench.listed(&alice).await, [keys[2], keys[5]]);
    for at in [3, 1, 4, 0] {
        assert_eq!(bench.load(keys[at]).await, None);
        let again = bench.records.logged_in_under(&keys[at], &alice, b"");
        assert_eq!(bench.store.create(keys[at], again).await.unwrap(), Created::Exists);
    }
}

/// What a rotation left takes up no room, and is not ended to make some.
pub async fn a_remainder_does_not_count(bench: &Bench) {
    for overflow in [Overflow::Reject, Overflow::EndOldest] {
        let alice = Subject::new("alice");
        let sessions = bench.sessions(&alice, 2).await;
        let ((old, record), (new, _)) = (&sessions[0], &sessions[1]);
        assert_eq!(bench.admit_within(&alice, *old, 1, overflow).await, admitted());
        bench.becomes_remainder(*old, record.header.expires).await;
        assert_eq!(bench.admit_within(&alice, *new, 1, overflow).await, admitted());
        assert_eq!(bench.listed(&alice).await, [*old, *new]);
        bench.end(&alice, None).await;
    }
}

/// A session that ended by itself takes up no room, swept or not.
pub async fn an_expired_session_does_not_count(bench: &Bench) {
    let alice = Subject::new("alice");
    let (old, record) = bench.logged_in(&alice).await;
    assert_eq!(bench.admit_within(&alice, old, 1, Overflow::Reject).await, admitted());
    bench.clock.set(record.header.expires.before(Duration::from_millis(1)));
    let (new, _) = bench.logged_in(&alice).await;
    assert_eq!(bench.admit_within(&alice, new, 1, Overflow::Reject).await, Admitted::Rejected);
    bench.clock.set(record.header.expires);
    assert_eq!(bench.admit_within(&alice, new, 1, Overflow::EndOldest).await, admitted());
}

/// A session may take the place of another: while both are there, the old one neither counts nor ends.
pub async fn a_replaced_session_does_not_count(bench: &Bench) {
    for overflow in [Overflow::Reject, Overflow::EndOldest] {
        let alice = Subject::new("alice");
        let sessions = bench.sessions(&alice, 4).await;
        let [first, second, third, new] = [0, 1, 2, 3].map(|at| sessions[at].0);
        for key in [first, second, third] {
            assert_eq!(bench.admit(&alice, key).await, admitted());
        }
        let admission = bench.admission(&alice, Some((3, overflow)), Some(second)).await;
        assert_eq!(bench.store.admit(alice.key(), new, admission).await.unwrap(), admitted());
        assert_eq!(bench.listed(&alice).await, [first, second, third, new]);
        bench.end(&alice, None).await;
    }
}

/// Logins under way elsewhere have their own admission to come.
pub async fn sessions_not_admitted_are_neither_counted_nor_ended(bench: &Bench) {
    for overflow in [Overflow::Reject, Overflow::EndOldest] {
        let alice = Subject::new("alice");
        let sessions = bench.sessions(&alice, 3).await;
        assert_eq!(bench.admit_within(&alice, sessions[2].0, 1, overflow).await, admitted());
        for (key, record) in &sessions {
            assert_eq!(bench.load(*key).await.as_ref(), Some(record));
        }
        bench.end(&alice, None).await;
    }
}

/// Who doesn't know whether an admission happened may ask again, whatever room there is by then.
pub async fn admitting_again_changes_nothing(bench: &Bench) {
    let alice = Subject::new("alice");
    let sessions = bench.sessions(&alice, 3).await;
    let [first, second, third] = [0, 1, 2].map(|at| sessions[at].0);
    for key in [first, second, first] {
        assert_eq!(bench.admit_within(&alice, key, 2, Overflow::EndOldest).await, admitted());
    }
    for overflow in [Overflow::Reject, Overflow::EndOldest] {
        assert_eq!(bench.admit_within(&alice, first, 1, overflow).await, admitted());
    }
    assert_eq!(bench.listed(&alice).await, [first, second, third]);
    // The first one is still the longest admitted.
    assert_eq!(bench.admit_within(&alice, third, 2, Overflow::EndOldest).await, ended([first]));
}

fn admitted() -> Admitted {
    ended([])
}

fn ended<const N: usize>(keys: [StorageKey; N]) -> Admitted {
    Admitted::Admitted { ended: keys.to_vec() }
}

impl Bench {
    pub(super) async fn logged_in(&self, subject: &Subject) -> (StorageKey, Record) {
        let (key, record) = self.records.logged_in(subject, b"");
        assert_eq!(self.store.create(key, record.clone()).await.unwrap(), Created::Created);
        (key, record)
    }

    /// Sessions that began one after another.
    async fn sessions(&self, subject: &Subject, count: usize) -> Vec<(StorageKey, Record)> {
        let mut sessions = Vec::new();
        for _ in 0..count {
            sessions.push(self.logged_in(subject).await);
            self.clock.advance(SECOND);
        }
        sessions
    }

    pub(super) async fn admission(
        &self,
        subject: &Subject,
        limit: Option<(u32, Overflow)>,
        replaces: Option<StorageKey>,
    ) -> Admission {
        let limit = limit.map(|(most, overflow)| SessionLimit {
            most: NonZeroU32::new(most).expect("tests limit to at least one"),
            overflow,
        });
        Admission { epoch: self.epoch(subject).await, limit, replaces }
    }

    /// Admits without a limit.
    pub(super) async fn admit(&self, subject: &Subject, key: StorageKey) -> Admitted {
        let admission = self.admission(subject, None, None).await;
        self.store.admit(subject.key(), key, admission).await.unwrap()
    }

    pub(super) async fn admit_within(
        &self,
        subject: &Subject,
        key: StorageKey,
        most: u32,
        overflow: Overflow,
    ) -> Admitted {
        let admission = self.admission(subject, Some((most, overflow)), None).await;
        self.store.admit(subject.key(), key, admission).await.unwrap()
    }
}
