//! Who is master: sentinels that hang, are gone, behind, or strict; masters that are none; and replicas that are waited for.

use std::time::{Duration, Instant};

use stayput_core::{Admission, Created, SessionStore, StoreError, StoreErrorKind, Subject};
use stayput_stores::{RedisConfig, RedisStore};
use stayput_testkit::servers::{RedisSentinels, RedisSentinelsOptions, RedisServer, RedisServerOptions};
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::support::{records, story};

/// What no wait of these tests may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn url(service: &RedisSentinels) -> String {
    format!("redis+sentinel://{}/{}", service.addresses(), RedisSentinels::SERVICE)
}

async fn connect(service: &RedisSentinels) -> RedisStore {
    RedisStore::connect(&url(service)).await.unwrap()
}

async fn refusal(url: &str) -> StoreError {
    RedisStore::connect(url).await.expect_err("the store can't be opened")
}

async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

/// Has the sentinels of a master believe that there was a failover, as they believe each other: nothing happens to the master, as
/// in a network that is cut between the two.
pub(crate) fn claim(listened_to: &RedisServer, master: &RedisServer, epoch: u32) {
    let (name, port) = (RedisSentinels::SERVICE, master.port());
    let me = format!("127.0.0.1,1,{},{epoch}", "f".repeat(40));
    listened_to.run(&format!("PUBLISH __sentinel__:hello {me},{name},127.0.0.1,{port},{epoch}"));
}

#[tokio::test]
async fn a_later_failover_is_followed_at_once_and_an_earlier_one_is_not() {
    let (service, mut other) =
        (RedisSentinelsOptions::default().replicas(0).sentinels(1).start(), RedisServer::plain());
    let store = connect(&service).await;
    let marker = store.marker().await.unwrap();
    assert!(marker.is_some());
    let took = until("the claim is heard", || {
        claim(&service.servers()[0], &other, 5);
        async { store.marker().await.unwrap().is_none() }
    })
    .await;
    println!("followed after {took:?}");
    // Nobody tells the sentinel how often there was a failover of what it knows nothing of.
    let (name, old) = (RedisSentinels::SERVICE, service.servers()[0].port());
    service.sentinels()[0].run(&format!("SENTINEL REMOVE {name}"));
    service.sentinels()[0].run(&format!("SENTINEL MONITOR {name} 127.0.0.1 {old} 1"));
    let until_then = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < until_then {
        assert_eq!(store.marker().await.unwrap(), None);
        sleep(Duration::from_millis(20)).await;
    }
    // But what is there is better than what is gone.
    other.kill();
    until("the only master is used", || async { store.marker().await.ok() == Some(marker) }).await;
}

#[tokio::test]
async fn a_replica_is_not_used_whoever_names_it() {
    let mut service = RedisSentinelsOptions::default().replicas(1).sentinels(1).start();
    let store = RedisStore::connect(&(url(&service) + "?wait_replicas=1&wait_for=writes")).await.unwrap();
    let records = records();
    let (key, record) = records.anonymous(b"");
    assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
    service.sentinels_mut()[0].kill();
    let (name, liar) =
        (RedisSentinels::SERVICE, RedisSentinelsOptions::default().replicas(0).sentinels(1).start());
    let url = url(&liar);
    let replica = service.servers()[1].port();
    liar.sentinels()[0].run(&format!("SENTINEL REMOVE {name}"));
    liar.sentinels()[0].run(&format!("SENTINEL MONITOR {name} 127.0.0.1 {replica} 2"));
    let error = refusal(&url).await;
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{}", story(&error));
    assert!(story(&error).contains("it is a replica"), "{}", story(&error));
    service.servers()[1].run("REPLICAOF NO ONE");
    let store = RedisStore::connect(&url).await.unwrap();
    assert!(store.load(key).await.unwrap().is_some());
    // Demoted, and its clients left alone: what is written is refused, and it is not asked again.
    let master = service.servers()[0].port();
    service.servers()[1].run(&format!("REPLICAOF 127.0.0.1 {master}"));
    let error = store.remove(key).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{}", story(&error));
    assert!(story(&error).contains("read-only"), "{}", story(&error));
    let error = store.load(key).await.unwrap_err();
    assert!(story(&error).contains("it is a replica"), "{}", story(&error));
    service.servers()[1].run("REPLICAOF NO ONE");
    until("it is master again", || async { store.remove(key).await.is_ok() }).await;
    assert_eq!(store.load(key).await.unwrap(), None);
}

#[tokio::test]
async fn sentinels_that_hang_or_are_gone_leave_the_word_to_the_next() {
    let mut service = RedisSentinelsOptions::default().replicas(0).start();
    service.sentinels()[0].pause();
    service.sentinels_mut()[1].kill();
    let began = Instant::now();
    let store = connect(&service).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    service.servers_mut()[0].restart();
    // Who answered last is asked first.
    let key = records().anonymous(b"").0;
    let took = until("traffic resumes", || async { store.load(key).await.is_ok() }).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    service.sentinels_mut()[2].kill();
    service.sentinels_mut()[0].kill();
    // Nobody is needed to say where the master is while it is there.
    assert!(store.load(key).await.is_ok());
    let error = refusal(&url(&service)).await;
    assert_eq!((error.kind(), error.is_retryable()), (StoreErrorKind::Unavailable, true));
    assert!(story(&error).contains("sentinel 127.0.0.1"), "{}", story(&error));
}

#[tokio::test]
async fn servers_and_sentinels_want_passwords_of_their_own_and_no_error_repeats_them() {
    let options = RedisSentinelsOptions::default().replicas(0).sentinels(1);
    let service = options.password("swordfish").sentinel_password("plaice").start();
    let (sentinels, name) = (service.addresses(), RedisSentinels::SERVICE);
    let good = format!("redis+sentinel://:swordfish@{sentinels}/{name}?sentinel_password=plaice");
    let store = RedisStore::connect(&good).await.unwrap();
    assert!(!format!("{store:?}").contains("swordfish"));
    for (url, way_out) in [
        (good.replace("plaice", "hunter2"), "?sentinel_password="),
        (good.replace("?sentinel_password=plaice", ""), "?sentinel_password="),
        (good.replace("swordfish", "hunter2"), "the password of its URL"),
        (good.replace(":swordfish@", ""), "wants a password in its URL"),
        (good.replace(&format!("/{name}"), "/carts"), "no service of that name"),
    ] {
        let error = refusal(&url).await;
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (StoreErrorKind::Refused, false),
            "{}",
            story(&error)
        );
        assert!(story(&error).contains(way_out), "{}", story(&error));
        let told = format!("{error:?}{}", story(&error));
        assert!(["hunter2", "swordfish", "plaice"].iter().all(|secret| !told.contains(secret)), "{told}");
    }
}

#[tokio::test]
async fn by_tls_neither_servers_nor_sentinels_are_trusted_without_their_authority() {
    let service = RedisSentinelsOptions::default().tls().replicas(1).sentinels(1).start();
    let plain = url(&service);
    let secure = plain.replace("redis+", "rediss+");
    let trusted = format!("{secure}?ca={}&wait_replicas=1", service.authority().unwrap().display());
    let (store, records) = (RedisStore::connect(&trusted).await.unwrap(), records());
    let (key, record) = records.logged_in(&Subject::new("alice"), b"");
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    assert_eq!(store.load(key).await.unwrap(), Some(record.into()));
    let stranger = RedisServerOptions::default().tls().start();
    let other = format!("{secure}?ca={}", stranger.authority().unwrap().display());
    let error = refusal(&other).await;
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error:?}");
    assert!(story(&error).contains("not trusted"), "{}", story(&error));
    assert!(RedisStore::connect(&plain).await.is_err());
}

#[tokio::test]
async fn a_store_ends_with_its_connections_and_its_tasks() {
    let service = RedisSentinelsOptions::default().replicas(1).sentinels(1).start();
    let tasks = Handle::current().metrics().num_alive_tasks();
    let store = RedisStore::connect(&(url(&service) + "?wait_replicas=1")).await.unwrap();
    assert!(Handle::current().metrics().num_alive_tasks() > tasks);
    drop(store);
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(Handle::current().metrics().num_alive_tasks(), tasks);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_replicas_do_not_have_is_in_doubt_and_costs_others_nothing() {
    let server = |arguments: &str| RedisServerOptions::default().arguments(arguments).start();
    let (master, records) = (server("--repl-diskless-sync-delay 0"), records());
    let replica = server(&format!("--replicaof 127.0.0.1 {}", master.port()));
    let config: RedisConfig = format!("redis://127.0.0.1:{}?wait_replicas=1", master.port()).parse().unwrap();
    let store = RedisStore::connect_with(config.timeout(Duration::from_secs(1))).await.unwrap();
    let (alice, mut keys) = (Subject::new("alice"), Vec::new());
    for _ in 0..50 {
        let (key, record) = records.logged_in(&alice, b"");
        until("there is a replica", || async { store.create(key, record.clone()).await.is_ok() }).await;
        keys.push(key);
    }
    replica.pause();
    let began = Instant::now();
    let removals = keys.iter().map(|key| store.remove(*key));
    let removals: Vec<_> = removals.map(|removal| async { (removal.await, began.elapsed()) }).collect();
    let others = async {
        while began.elapsed() < Duration::from_millis(400) {
            let (key, record) = records.anonymous(b"");
            let call = Instant::now();
            assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
            assert!(store.load(key).await.unwrap().is_some());
            assert!(call.elapsed() < Duration::from_millis(200), "{:?}", call.elapsed());
        }
    };
    let (outcomes, ()) = tokio::join!(join_all(removals), others);
    for (outcome, took) in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::OutcomeUnknown);
        assert!(story(&error).contains("0 of 1 replicas"), "{}", story(&error));
        assert!(took < Duration::from_millis(1600), "{took:?}");
    }
    // Done they are.
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
    replica.resume();
    until("the replica has it", || async { store.remove(keys[0]).await.is_ok() }).await;
    // Nobody stays logged in for want of memory.
    master.run("CONFIG SET maxmemory 1");
    store.remove(keys[1]).await.unwrap();
}

/// Everything at once, on the task of the test.
async fn join_all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, outcome) in futures.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(context) {
                *outcome = Some(value);
            }
        }
        if futures.iter().all(|(_, outcome)| outcome.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    futures.into_iter().map(|(_, outcome)| outcome.expect("all are done")).collect()
}
