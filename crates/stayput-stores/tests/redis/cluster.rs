//! A cluster whose nodes die, hang and hand over slots under load.

mod load;
mod replicas;

use std::sync::Arc;
use std::time::{Duration, Instant};

use stayput_core::{
    Admission, Admitted, Created, Overflow, Replaced, SessionLimit, SessionStore, StorageKey, StoreErrorKind,
    Subject,
};
use stayput_stores::{RedisConfig, RedisStore};
use stayput_testkit::Records;
use stayput_testkit::servers::{RedisCluster, RedisClusterOptions, RedisServer, RedisServerOptions, slot};
use tokio::time::sleep;

pub(crate) use self::load::slot_of;
use self::load::{Load, is_outage};
use crate::support::{records, story};

const PATIENCE: Duration = Duration::from_secs(30);

fn config(cluster: &RedisCluster) -> RedisConfig {
    format!("redis+cluster://{}", cluster.seeds()).parse().unwrap()
}

async fn connect(config: RedisConfig) -> Arc<RedisStore> {
    Arc::new(RedisStore::connect_with(config).await.unwrap())
}

/// A session whose record a node has, or doesn't have.
async fn session_on(store: &RedisStore, records: &Records, is_there: impl Fn(u16) -> bool) -> StorageKey {
    loop {
        let (key, record) = records.anonymous(b"");
        if is_there(slot_of(&key)) {
            assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
            return key;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_logs_nobody_out_and_traffic_goes_on_with_its_replica() {
    let (mut cluster, records) = (RedisCluster::plain(), records());
    let store = connect(config(&cluster)).await;
    let load = Load::start(&store, &records, 40).await;
    sleep(Duration::from_secs(1)).await;
    let dead = cluster.primary(0).unwrap();
    let its_slots = 0..=5460;
    let killed = Instant::now();
    cluster.kill(dead);
    while cluster.primary(0).is_none() {
        assert!(killed.elapsed() < PATIENCE, "nobody takes over");
        sleep(Duration::from_millis(5)).await;
    }
    let took_over = Instant::now();
    sleep(Duration::from_secs(3)).await;
    cluster.restart(dead);
    cluster.settle();
    let counters = load.end().await;

    let (hit, others): (Vec<_>, Vec<_>) =
        counters.iter().partition(|counter| its_slots.contains(&counter.slot()));
    assert!(hit.len() > 3 && others.len() > 3);
    let resumed = |counter: &&load::Counter| {
        let next = counter.answers.iter().find(|at| **at > killed + Duration::from_millis(500));
        next.expect("traffic resumes").saturating_duration_since(took_over)
    };
    let slowest = hit.iter().map(resumed).max().unwrap();
    let (missing, lost): (usize, u64) = (
        counters.iter().map(|counter| counter.missing).sum(),
        counters.iter().map(|counter| counter.lost).sum(),
    );
    let errors =
        |counters: &[&load::Counter]| counters.iter().map(|counter| counter.errors.len()).sum::<usize>();
    let answers: usize = counters.iter().map(|counter| counter.answers.len()).sum();
    println!(
        "servers failed over in {:?}; traffic resumed {slowest:?} later; {answers} answers, errors: {} in its slots, {} in \
         others; sessions said to be missing: {missing}; acknowledged writes lost by asynchronous replication: {lost}",
        took_over - killed,
        errors(&hit),
        errors(&others)
    );
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert_eq!(missing, 0);
    for (at, error) in counters.iter().flat_map(|counter| &counter.errors) {
        assert!(
            is_outage(error) && *at >= killed && *at < took_over + Duration::from_secs(2),
            "{}",
            story(error)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_failover_is_seen_by_nobody() {
    let (cluster, records) = (RedisCluster::plain(), records());
    let store = connect(config(&cluster)).await;
    let load = Load::start(&store, &records, 20).await;
    let (before, began) = (cluster.primary(0), Instant::now());
    // The replica of node 0.
    cluster.server(3).run("CLUSTER FAILOVER");
    while cluster.primary(0) == before || cluster.primary(0).is_none() {
        assert!(began.elapsed() < PATIENCE, "nobody takes over");
        sleep(Duration::from_millis(5)).await;
    }
    sleep(Duration::from_millis(500)).await;
    for counter in load.end().await {
        assert!(counter.errors.is_empty(), "{}", story(&counter.errors[0].1));
        assert_eq!((counter.missing, counter.lost), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_primary_costs_its_own_calls_their_time_limit_and_others_nothing() {
    let (mut cluster, records) = (RedisCluster::plain(), records());
    let limit = Duration::from_millis(300);
    let store = connect(config(&cluster).timeout(limit).in_flight(64)).await;
    let its_slot = |slot: u16| slot <= 5460;
    let hung = session_on(&store, &records, its_slot).await;
    let fine = session_on(&store, &records, |slot| !its_slot(slot)).await;
    let node = cluster.primary(0).unwrap();
    cluster.pause(node);
    let paused = Instant::now();
    // More than there may be at a time, again and again.
    let flood: Vec<_> = (0..200)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut longest = Duration::ZERO;
                while paused.elapsed() < Duration::from_secs(1) {
                    let began = Instant::now();
                    let error = store.load(hung).await.unwrap_err();
                    longest = longest.max(began.elapsed());
                    let kind = error.kind();
                    assert!(
                        matches!(kind, StoreErrorKind::Unavailable | StoreErrorKind::Overloaded),
                        "{kind:?}"
                    );
                    sleep(Duration::from_millis(5)).await;
                }
                longest
            })
        })
        .collect();
    // The others' slots are served for as long as the servers themselves haven't noticed.
    let mut served = 0;
    while paused.elapsed() < Duration::from_secs(1) {
        assert!(store.load(fine).await.unwrap().is_some());
        served += 1;
        sleep(Duration::from_millis(1)).await;
    }
    let mut longest = Duration::ZERO;
    for calls in flood {
        longest = longest.max(calls.await.unwrap());
    }
    println!("{served} calls of others' were served; the longest call to the hung node took {longest:?}");
    assert!(served > 100 && longest < limit + Duration::from_millis(600), "{served} {longest:?}");
    cluster.resume(node);
    while store.load(hung).await.is_err() {
        assert!(paused.elapsed() < PATIENCE, "traffic never resumes");
        sleep(Duration::from_millis(5)).await;
    }
    assert!(store.load(hung).await.unwrap().is_some());
}

/// With a hash tag in the prefix all keys are in one slot, and whatever is done meets its move.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_error_comes_of_a_slot_that_moves_under_load() {
    let (cluster, records) = (RedisCluster::plain(), records());
    let store = connect(config(&cluster).prefix("{shop}:").timeout(Duration::from_secs(5))).await;
    let load = Load::start(&store, &records, 20).await;
    let visits: Vec<_> = (0..4)
        .map(|number| {
            let (store, records) = (Arc::clone(&store), records.clone());
            tokio::spawn(async move {
                let subject = Subject::new(format!("subject {number}"));
                for round in 0..120 {
                    visit(&store, &records, &subject, round).await;
                }
            })
        })
        .collect();
    let (moving, began, mut moves, mut keys) = (slot(b"shop"), Instant::now(), 0, 0);
    while moves < 10 || !visits.iter().all(tokio::task::JoinHandle::is_finished) {
        assert!(began.elapsed() < PATIENCE + PATIENCE, "{moves} moves");
        let from = cluster.primary(moving).unwrap();
        let to = (from + 1) % 3;
        cluster.begin_move(moving, to);
        loop {
            sleep(Duration::from_millis(1)).await;
            match cluster.move_keys(moving, to, 7) {
                0 => break,
                moved => keys += moved,
            }
        }
        cluster.end_move(moving, to);
        moves += 1;
        sleep(Duration::from_millis(50)).await;
    }
    for visit in visits {
        visit.await.unwrap();
    }
    let counters = load.end().await;
    let answers: usize = counters.iter().map(|counter| counter.answers.len()).sum();
    println!("{moves} moves of one slot, {keys} keys moved; {answers} counts beside the logins");
    for counter in counters {
        assert!(counter.errors.is_empty(), "{}", story(&counter.errors[0].1));
        assert_eq!((counter.missing, counter.lost), (0, 0));
    }
}

/// It stays half moved for as long as it takes, so that no call gets through by waiting.
#[tokio::test]
async fn in_a_slot_half_moved_every_session_is_found_where_it_is() {
    let (cluster, records) = (RedisCluster::plain(), records());
    let store = connect(config(&cluster).prefix("{shop}:")).await;
    let mut sessions = Vec::new();
    for _ in 0..20 {
        let (key, record) = records.anonymous(b"1");
        assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
        sessions.push((key, record));
    }
    let moving = slot(b"shop");
    let to = (cluster.primary(moving).unwrap() + 1) % 3;
    cluster.begin_move(moving, to);
    assert_eq!(cluster.move_keys(moving, to, 10), 10);
    for (key, record) in &mut sessions {
        assert_eq!(store.load(*key).await.unwrap(), Some(record.clone().into()));
        let next = records.next(key, record, b"2");
        let replaced = store.replace(*key, next.clone(), record.header.version()).await;
        assert_eq!(replaced.unwrap(), Replaced::Replaced);
        *record = next;
    }
    // Some here, some there, and one nowhere.
    let (new, record) = records.anonymous(b"");
    let ended: Vec<_> = sessions.iter().step_by(2).map(|(key, _)| *key).collect();
    sessions.retain(|(key, _)| !ended.contains(key));
    for key in ended.into_iter().chain([new]) {
        store.remove(key).await.unwrap();
        assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Exists);
    }
    // What takes several keys has to wait, and says what for.
    let alice = Subject::new("alice").key();
    let (key, record) = records.logged_in(&Subject::new("alice"), b"");
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    let mut error = store.admit(alice, key, Admission::default()).await.unwrap_err();
    // One whose time is up just when it asks again can't say what it waited for.
    while error.kind() == StoreErrorKind::OutcomeUnknown {
        error = store.admit(alice, key, Admission::default()).await.unwrap_err();
    }
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(story(&error).contains("moving the key"), "{}", story(&error));
    while cluster.move_keys(moving, to, 10) > 0 {}
    cluster.end_move(moving, to);
    let admitted = store.admit(alice, key, Admission::default()).await.unwrap();
    assert_eq!(admitted, Admitted::Admitted { ended: vec![] });
    sessions.push((key, record));
    for (key, record) in sessions {
        assert_eq!(store.load(key).await.unwrap(), Some(record.into()));
    }
}

/// All that a login and a logout do, with what must hold at each step.
async fn visit(store: &RedisStore, records: &Records, subject: &Subject, round: u32) {
    let epoch = store.subject_epoch(subject.key()).await.unwrap();
    let (key, record) = records.logged_in(subject, b"");
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    let limit = SessionLimit { most: 2.try_into().unwrap(), overflow: Overflow::EndOldest };
    let admission = Admission { epoch, limit: Some(limit), replaces: None };
    let Admitted::Admitted { ended } = store.admit(subject.key(), key, admission).await.unwrap() else {
        panic!("not admitted");
    };
    for ended in ended {
        assert_eq!(store.load(ended).await.unwrap(), None);
        assert_eq!(store.create(ended, records.under(&ended, b"")).await.unwrap(), Created::Exists);
    }
    let next = records.next(&key, &record, b"cart");
    assert_eq!(store.replace(key, next, record.header.version()).await.unwrap(), Replaced::Replaced);
    let listed = store.subject_sessions(subject.key()).await.unwrap();
    assert!(listed.contains(&key) && listed.len() <= 2, "{listed:?}");
    if round.is_multiple_of(3) {
        store.remove(key).await.unwrap();
        assert_eq!(store.create(key, records.under(&key, b"")).await.unwrap(), Created::Exists);
    } else if round.is_multiple_of(5) {
        assert!(store.end_subject(subject.key(), None).await.unwrap() >= Some(1));
        assert!(store.subject_sessions(subject.key()).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn scripts_are_told_to_a_node_that_lacks_them() {
    let (cluster, records) = (RedisCluster::plain(), records());
    let (store, alice) = (connect(config(&cluster)).await, Subject::new("alice"));
    for round in 1..4 {
        for node in 0..cluster.len() {
            cluster.server(node).run("SCRIPT FLUSH");
        }
        visit(&store, &records, &alice, round).await;
    }
    for _ in 0..20 {
        let (key, record) = records.logged_in(&alice, b"");
        assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
    }
    for node in 0..cluster.len() {
        cluster.server(node).run("SCRIPT FLUSH");
    }
    assert!(store.end_subject(alice.key(), None).await.unwrap() >= Some(20));
}

#[tokio::test]
async fn any_node_will_do_to_find_the_others() {
    let (mut cluster, records) = (RedisClusterOptions::default().password("swordfish").start(), records());
    let port = |node| cluster.server(node).port();
    let (dead, replica) = (port(0), port(4));
    let url = format!("redis+cluster://:swordfish@127.0.0.1:{dead},127.0.0.1:{replica}/?prefix=shop:");
    cluster.kill(0);
    let killed = Instant::now();
    let store = loop {
        match RedisStore::connect(&url).await {
            Ok(store) => break store,
            Err(error) => assert!(error.kind() == StoreErrorKind::Unavailable, "{}", story(&error)),
        }
        assert!(killed.elapsed() < PATIENCE, "no node is found");
    };
    let (key, record) = records.anonymous(b"");
    while store.create(key, record.clone()).await.is_err() {
        assert!(killed.elapsed() < PATIENCE, "no node answers");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(store.load(key).await.unwrap(), Some(record.into()));
    assert!(!format!("{store:?}").contains("swordfish"));
}

#[tokio::test]
async fn a_cluster_is_talked_to_under_tls_whoever_names_its_nodes() {
    let (cluster, records) = (RedisClusterOptions::default().tls().start(), records());
    let seed = cluster.server(0).port();
    let url = format!("rediss+cluster://localhost:{seed}");
    let authority = cluster.authority().unwrap().display();
    let store = RedisStore::connect(&format!("{url}?ca={authority}")).await.unwrap();
    for round in 1..4 {
        visit(&store, &records, &Subject::new("alice"), round).await;
    }
    let stranger = RedisServerOptions::default().tls().start();
    let other = format!("{url}?ca={}", stranger.authority().unwrap().display());
    let error = RedisStore::connect(&other).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{}", story(&error));
    assert!(story(&error).contains("not trusted"), "{}", story(&error));
}

#[tokio::test]
async fn what_is_wrong_with_a_url_is_said() {
    let (cluster, server) =
        (RedisClusterOptions::default().password("swordfish").start(), RedisServer::plain());
    let node = cluster.server(0).port();
    for (url, hint) in [
        (format!("redis+cluster://127.0.0.1:{}", server.port()), "no node of a cluster"),
        (format!("redis+cluster://127.0.0.1:{node}"), "wants a password"),
        (format!("redis+cluster://:hunter2@127.0.0.1:{node}"), "user or the password"),
        (format!("redis+cluster://:swordfish@127.0.0.1:{node}/?prefix=%7B%7D"), "can't have {}"),
    ] {
        let error = RedisStore::connect(&url).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{url}: {}", story(&error));
        assert!(story(&error).contains(hint), "{url}: {}", story(&error));
        assert!(!format!("{error:?}{}", story(&error)).contains("hunter2"));
    }
    // Whether its one connection is to the right node is chance.
    let kinds = (0..3).map(|node| format!("redis://:swordfish@127.0.0.1:{}", cluster.server(node).port()));
    let mut hints = 0;
    for url in kinds {
        if let Err(error) = RedisStore::connect(&url).await {
            assert!(story(&error).contains("redis+cluster:"), "{}", story(&error));
            hints += 1;
        }
    }
    assert!(hints >= 2);
}
