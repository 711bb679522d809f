//! What a primary takes with it when it dies, and what it doesn't if its replicas are waited for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stayput_core::{Admission, Created, SessionStore, StoreErrorKind, Subject};
use stayput_stores::{RedisConfig, RedisStore};
use stayput_testkit::servers::{RedisCluster, Reply};
use tokio::time::sleep;

use super::{PATIENCE, connect};
use crate::failover::load::{Load, Lost};
use crate::support::{records, story};

const LIMIT: Duration = Duration::from_millis(500);

/// What a busy machine may add to a time limit.
const SLACK: Duration = Duration::from_millis(1500);

async fn connect_with(cluster: &RedisCluster, options: &str) -> Arc<RedisStore> {
    let config: RedisConfig = format!("redis+cluster://{}/{options}", cluster.seeds()).parse().unwrap();
    connect(config.timeout(LIMIT)).await
}

/// Kills a primary whose replica has nothing of the last half second, and says what is lost of what was acknowledged.
async fn lost_with_a_primary(options: &str) -> Lost {
    let mut cluster = RedisCluster::plain();
    let store = connect_with(&cluster, options).await;
    let load = Load::start(store, || replicas_follow(&cluster)).await;
    load.runs_for(Duration::from_millis(500)).await;
    // Node 3 follows node 0.
    cluster.pause(3);
    cluster.server(0).run("CLIENT KILL TYPE replica");
    load.runs_for(Duration::from_millis(500)).await;
    cluster.kill(0);
    let killed = Instant::now();
    cluster.resume(3);
    while cluster.primary(0).is_none() {
        assert!(killed.elapsed() < PATIENCE, "nobody takes over");
        sleep(Duration::from_millis(5)).await;
    }
    println!("{options:?}: failover after {:?}", killed.elapsed());
    load.runs_for(Duration::from_secs(1)).await;
    let lost = load.end().await;
    println!("{options:?}: {lost:?}");
    assert!(lost.longest_call < LIMIT + SLACK, "{:?}", lost.longest_call);
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_its_replica_does_not_have_is_lost_with_a_primary() {
    let lost = lost_with_a_primary("").await;
    // The next two tests show something only if this is so.
    assert!(lost.logins > 0 && lost.rotations > 0 && lost.logouts > 0 && lost.visits > 0 && lost.updates > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_wait_replicas_no_login_no_rotation_and_no_logout_is_lost_with_a_primary() {
    let lost = lost_with_a_primary("?wait_replicas=1").await;
    assert_eq!((lost.logins, lost.rotations, lost.logouts), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_wait_for_writes_nothing_is_lost_with_a_primary() {
    let lost = lost_with_a_primary("?wait_replicas=1&wait_for=writes").await;
    assert_eq!((lost.logins, lost.rotations, lost.logouts, lost.visits, lost.updates), (0, 0, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_replicas_of_a_cluster_do_not_have_is_in_doubt_and_costs_others_nothing() {
    let (mut cluster, records, alice) = (RedisCluster::plain(), records(), Subject::new("alice"));
    let store = connect_with(&cluster, "?wait_replicas=1").await;
    let mut keys = Vec::new();
    for _ in 0..20 {
        let (key, record) = records.logged_in(&alice, b"");
        assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
        keys.push(key);
    }
    (3..6).for_each(|replica| cluster.pause(replica));
    let began = Instant::now();
    let others = async {
        while began.elapsed() < Duration::from_millis(400) {
            let (key, record) = records.anonymous(b"");
            let call = Instant::now();
            assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
            assert!(store.load(key).await.unwrap().is_some());
            assert!(call.elapsed() < Duration::from_millis(200), "{:?}", call.elapsed());
        }
    };
    let (removed, ()) = tokio::join!(store.remove(keys[0]), others);
    let error = removed.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::OutcomeUnknown);
    assert!(story(&error).contains("0 of 1 replicas"), "{}", story(&error));
    // Done it is.
    assert_eq!(store.load(keys[0]).await.unwrap(), None);
    let (key, record) = records.logged_in(&alice, b"");
    let rest = records.remainder(&key, &record, record.header.expires);
    for outcome in [
        store.create(key, record.clone()).await.map(|_| ()),
        store.admit(alice.key(), key, Admission::default()).await.map(|_| ()),
        store.replace(key, rest, record.header.version()).await.map(|_| ()),
        store.end_subject(alice.key(), None).await.map(|_| ()),
    ] {
        assert_eq!(outcome.unwrap_err().kind(), StoreErrorKind::OutcomeUnknown);
    }
    (3..6).for_each(|replica| cluster.resume(replica));
    let resumed = Instant::now();
    for key in keys {
        while let Err(error) = store.remove(key).await {
            assert!(resumed.elapsed() < PATIENCE, "{}", story(&error));
        }
    }
}

/// A slot on its way to another node takes nothing new, the barrier's key included: others are found.
#[tokio::test]
async fn replicas_are_waited_for_while_slots_move() {
    let (cluster, records, alice) = (RedisCluster::plain(), records(), Subject::new("alice"));
    let store = connect_with(&cluster, "?wait_replicas=1&wait_for=writes").await;
    for slot in 0..500 {
        cluster.begin_move(slot, 1);
    }
    for _ in 0..100 {
        let (key, record) = records.logged_in(&alice, b"");
        assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
        store.remove(key).await.unwrap();
    }
}

/// Returns when each replica has all that its primary has.
fn replicas_follow(cluster: &RedisCluster) {
    let offset = |node, name: &str| -> Option<u64> {
        let Reply::Bytes(info) = cluster.server(node).run("INFO replication") else { return None };
        let info = String::from_utf8_lossy(&info);
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
    };
    let began = Instant::now();
    for primary in 0..3 {
        let done = offset(primary, "master_repl_offset");
        while offset(primary + 3, "slave_repl_offset") < done {
            assert!(began.elapsed() < PATIENCE, "the replicas don't follow");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
