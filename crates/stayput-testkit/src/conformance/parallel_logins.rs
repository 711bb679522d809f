//! Promises about a subject's sessions that take several clients at once.

use std::sync::Arc;

use stayput_core::{Admitted, Created, Overflow, Replaced, StorageKey, Subject};
use tokio::sync::Barrier;

use super::Bench;

/// However many log in at once, the limit is kept by either rule (OWASP ASVS 5.0, 7.1.2).
pub async fn of_50_parallel_admissions_with_limit_1_one_is_left(bench: &Bench) {
    for overflow in [Overflow::Reject, Overflow::EndOldest] {
        let alice = Subject::new("alice");
        let admission = bench.admission(&alice, Some((1, overflow)), None).await;
        // Half of them come to their admission at the same moment, the others as they come.
        let together = Arc::new(Barrier::new(25));
        let logins: Vec<_> = (0..50)
            .map(|number| {
                let (bench, alice, together) = (bench.clone(), alice.clone(), Arc::clone(&together));
                tokio::spawn(async move {
                    let (key, _) = bench.logged_in(&alice).await;
                    if number % 2 == 0 {
                        together.wait().await;
                    }
                    (key, bench.store.admit(alice.key(), key, admission).await.unwrap())
                })
            })
            .collect();
        let (mut admitted, mut ended) = (Vec::new(), Vec::new());
        for login in logins {
            match login.await.unwrap() {
                (key, Admitted::Admitted { ended: others }) => {
                    admitted.push(key);
                    ended.extend(others);
                }
                (key, outcome) => {
                    assert_eq!((overflow, outcome), (Overflow::Reject, Admitted::Rejected));
                    bench.store.remove(key).await.unwrap();
                }
            }
        }
        let mut left = admitted.clone();
        left.retain(|key| !ended.contains(key));
        assert_eq!(bench.listed(&alice).await, left);
        assert_eq!((left.len(), admitted.len()), (1, ended.len() + 1));
        bench.end(&alice, None).await;
    }
}

/// Who can load a session finds it in its subject's list, however new it is.
pub async fn a_session_that_can_be_loaded_is_listed(bench: &Bench) {
    for _ in 0..200 {
        let alice = Subject::new("alice");
        let (key, record) = bench.records.logged_in(&alice, b"");
        let store = Arc::clone(&bench.store);
        let creation = tokio::spawn(async move { store.create(key, record).await.unwrap() });
        while bench.load(key).await.is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.listed(&alice).await, [key]);
        assert_eq!(creation.await.unwrap(), Created::Created);
        bench.store.remove(key).await.unwrap();
    }
}

/// Of logins that began before everything was ended none is left, wherever the end meets them.
pub async fn what_is_ended_among_parallel_logins_stays_ended(bench: &Bench) {
    for round in 0..20 {
        let alice = Subject::new("alice");
        let admission = bench.admission(&alice, None, None).await;
        let logins: Vec<_> = (0..8)
            .map(|_| {
                let (bench, alice) = (bench.clone(), alice.clone());
                tokio::spawn(async move {
                    let (key, _) = bench.logged_in(&alice).await;
                    let outcome = bench.store.admit(alice.key(), key, admission).await.unwrap();
                    match outcome {
                        Admitted::Admitted { .. } => {}
                        Admitted::Revoked => bench.store.remove(key).await.unwrap(),
                        outcome => panic!("an admission without a limit was {outcome:?}"),
                    }
                    key
                })
            })
            .collect();
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        bench.end(&alice, None).await;
        for login in logins {
            assert_eq!(bench.load(login.await.unwrap()).await, None);
        }
        assert_eq!(bench.listed(&alice).await, []);
    }
}

/// Swaps, removals and creations around an end bring nothing back, and don't wait for each other for ever.
pub async fn an_end_among_writes_of_its_sessions_is_final(bench: &Bench) {
    for _ in 0..10 {
        let subjects = ["alice", "bob"].map(Subject::new);
        let mut sessions = Vec::new();
        for subject in &subjects {
            for _ in 0..4 {
                sessions.push(bench.logged_in(subject).await.0);
            }
        }
        let writers: Vec<_> =
            sessions.iter().map(|key| tokio::spawn(write_while_it_lives(bench.clone(), *key))).collect();
        tokio::task::yield_now().await;
        let (store, removed) = (Arc::clone(&bench.store), sessions[0]);
        let removal = tokio::spawn(async move { store.remove(removed).await.unwrap() });
        for subject in &subjects {
            bench.end(subject, None).await;
        }
        for key in &sessions {
            assert_eq!(bench.load(*key).await, None);
        }
        removal.await.unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
        for subject in &subjects {
            assert_eq!(bench.listed(subject).await, []);
        }
    }
}

async fn write_while_it_lives(bench: Bench, key: StorageKey) {
    for _ in 0..1_000 {
        let Some(current) = bench.load(key).await else { break };
        let next = bench.records.next(&key, &current, b"");
        if bench.store.replace(key, next, current.header.version()).await.unwrap() == Replaced::Missing {
            break;
        }
    }
    let late = bench.records.under(&key, b"late");
    assert_eq!(bench.store.create(key, late).await.unwrap(), Created::Exists);
}
