//! A server that hangs, dies, or whose answers are lost: calls end in time, nothing piles up, and traffic resumes by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stayput_core::{
    Admission, Created, Epoch, Replaced, SessionStore, StorageKey, StoreErrorKind, StoreFuture, Subject,
};
use stayput_stores::{RedisConfig, RedisStore};
use stayput_testkit::servers::{RedisCluster, RedisServer, RedisServerOptions};
use stayput_testkit::{FaultProxy, Weather};
use tokio::runtime::Handle;

use crate::support::{behind_proxies, behind_proxy, connect, records, story, url};

const TIMEOUT: Duration = Duration::from_millis(200);

/// What a busy machine may add to a time limit.
const SLACK: Duration = Duration::from_secs(5);

async fn impatient(server: &RedisServer) -> Arc<RedisStore> {
    let config: RedisConfig = url(server).parse().unwrap();
    let config = config.timeout(TIMEOUT).connect_timeout(Duration::from_secs(2));
    Arc::new(RedisStore::connect_with(config).await.unwrap())
}

/// How long it takes until a load succeeds.
async fn resumes(store: &RedisStore, key: StorageKey) -> Duration {
    let began = Instant::now();
    while store.load(key).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "traffic never resumes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_server_costs_a_call_its_time_limit_and_leaves_nothing_behind() {
    let (server, records) = (RedisServer::plain(), records());
    let store = impatient(&server).await;
    let (key, record) = records.anonymous(b"");
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    let tasks = Handle::current().metrics().num_alive_tasks();
    server.pause();
    let paused = Instant::now();
    let mut calls = 0;
    while paused.elapsed() < Duration::from_secs(3) {
        let next = records.next(&key, &record, b"next");
        let began = Instant::now();
        let (load, replace) =
            tokio::join!(store.load(key), store.replace(key, next, record.header.version()));
        assert!(began.elapsed() < TIMEOUT + SLACK, "{:?}", began.elapsed());
        assert_eq!(load.unwrap_err().kind(), StoreErrorKind::Unavailable);
        let kind = replace.unwrap_err().kind();
        // Only the first one was sent.
        let expected = if calls == 0 { StoreErrorKind::OutcomeUnknown } else { StoreErrorKind::Unavailable };
        assert_eq!(kind, expected);
        calls += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.resume();
    let took = resumes(&store, key).await;
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
    // The one that was sent may have happened, and no other.
    assert!(store.load(key).await.unwrap().unwrap().header.version().count <= 2);
    assert!(Handle::current().metrics().num_alive_tasks() <= tasks + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_unavailable_until_it_is_back_with_what_it_acknowledged() {
    let mut server = RedisServerOptions::default().arguments("--appendonly yes --appendfsync always").start();
    let (store, records) = (impatient(&server).await, records());
    let (key, record) = records.anonymous(b"cart");
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    server.kill();
    assert_eq!(store.load(key).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    let (absent, new) = records.anonymous(b"");
    for _ in 0..20 {
        let began = Instant::now();
        // From now on nothing is sent, so that nothing can have happened.
        let error = store.create(absent, new.clone()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{}", story(&error));
        assert!(began.elapsed() < TIMEOUT + SLACK);
    }
    server.restart();
    let took = resumes(&store, key).await;
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
    assert_eq!(store.load(key).await.unwrap(), Some(record.into()));
    assert_eq!(store.create(absent, new).await.unwrap(), Created::Created);
}

#[tokio::test]
async fn a_lost_answer_is_an_unknown_outcome_and_the_write_is_not_made_twice() {
    let (server, records) = (RedisServer::plain(), records());
    let (store, proxy) = behind_proxy(&server, TIMEOUT).await;
    let (key, record) = records.anonymous(b"1");
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    // The scripts are known, so that one message makes the write.
    let second = records.next(&key, &record, b"2");
    let first = store.replace(key, second.clone(), record.header.version()).await.unwrap();
    assert_eq!(first, Replaced::Replaced);
    let third = records.next(&key, &second, b"3");
    proxy.set(Weather::Mute);
    let error = store.replace(key, third.clone(), second.header.version()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::OutcomeUnknown, "{}", story(&error));
    assert!(story(&error).contains("no answer within"), "{}", story(&error));
    proxy.set(Weather::Fair);
    resumes(&store, key).await;
    let current = store.load(key).await.unwrap().unwrap();
    assert!(current.header.includes(third.header.version().tag));
    let again = store.replace(key, third.clone(), second.header.version()).await.unwrap();
    assert_eq!(again, Replaced::Conflict(Arc::new(third)));
}

#[tokio::test]
async fn a_reply_cut_in_the_middle_is_an_unknown_outcome() {
    let (server, records) = (RedisServer::plain(), records());
    let (store, proxy) = behind_proxy(&server, TIMEOUT).await;
    let (key, record) = records.anonymous(b"1");
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    proxy.set(Weather::CutAfter(3));
    let error = store.load(key).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{}", story(&error));
    proxy.set(Weather::Fair);
    resumes(&store, key).await;
    proxy.set(Weather::CutAfter(1));
    let (other, new) = records.anonymous(b"");
    let error = store.create(other, new.clone()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::OutcomeUnknown, "{}", story(&error));
    proxy.set(Weather::Fair);
    resumes(&store, key).await;
    assert_eq!(store.load(other).await.unwrap(), Some(new.into()));
}

#[tokio::test]
async fn a_network_that_hangs_is_left_for_another_connection_but_not_for_many() {
    let (server, records) = (RedisServer::plain(), records());
    let (store, proxy) = behind_proxy(&server, TIMEOUT).await;
    let (key, _) = records.anonymous(b"");
    assert_eq!(store.load(key).await.unwrap(), None);
    proxy.set(Weather::Hang);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        let error = store.load(key).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!((2..=12).contains(&proxy.connections()), "{}", proxy.connections());
    proxy.set(Weather::Fair);
    let took = resumes(&store, key).await;
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
}

/// Callers have no timers of their own for a store that says this of itself.
#[tokio::test]
async fn every_call_of_a_network_that_hangs_ends_within_the_time_that_the_store_says() {
    let server = RedisServer::plain();
    let (store, proxy) = behind_proxy(&server, TIMEOUT).await;
    assert_eq!(store.time_limit(), Some(TIMEOUT));
    every_call_ends(&*store, &[proxy]).await;
    let cluster = RedisCluster::plain();
    let (store, proxies) = behind_proxies(&cluster, TIMEOUT).await;
    every_call_ends(&*store, &proxies).await;
}

async fn every_call_ends(store: &dyn SessionStore, proxies: &[FaultProxy]) {
    let records = records();
    let subject = Subject::new("ada");
    let (key, record) = records.logged_in(&subject, b"");
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    for proxy in proxies {
        proxy.set(Weather::Hang);
    }
    let (other, new) = records.logged_in(&subject, b"");
    let next = records.next(&key, &record, b"next");
    let (version, subject) = (record.header.version(), subject.key());
    let admission = Admission { epoch: Epoch::default(), limit: None, replaces: None };
    ends(store.load(key)).await;
    ends(store.create(other, new)).await;
    ends(store.replace(key, next, version)).await;
    ends(store.touch(key, record.header.absolute)).await;
    ends(store.remove(key)).await;
    ends(store.admit(subject, key, admission)).await;
    ends(store.subject_sessions(subject)).await;
    ends(store.end_subject(subject, None)).await;
    ends(store.subject_epoch(subject)).await;
    ends(store.marker()).await;
}

/// By itself, and with an error.
async fn ends<T>(call: StoreFuture<'_, T>) {
    let outcome = tokio::time::timeout(TIMEOUT + SLACK, call).await.expect("the store ends its calls");
    assert!(outcome.is_err());
}

#[tokio::test]
async fn a_caller_that_gives_up_early_does_not_cost_others_their_connection() {
    let (server, records) = (RedisServer::plain(), records());
    let (store, proxy) = behind_proxy(&server, Duration::from_secs(5)).await;
    let (key, _) = records.anonymous(b"");
    let delay = Duration::from_millis(20);
    proxy.set(Weather::Slow(delay..delay));
    for _ in 0..20 {
        assert!(tokio::time::timeout(Duration::from_millis(5), store.load(key)).await.is_err());
    }
    assert_eq!(store.load(key).await.unwrap(), None);
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn a_store_ends_with_its_connection_and_its_task() {
    let server = RedisServer::plain();
    let tasks = Handle::current().metrics().num_alive_tasks();
    let store = connect(&server).await;
    assert!(Handle::current().metrics().num_alive_tasks() > tasks);
    drop(store);
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(Handle::current().metrics().num_alive_tasks(), tasks);
}

#[tokio::test]
async fn a_wiped_server_is_recognised() {
    let mut server = RedisServer::plain();
    let store = connect(&server).await;
    let marker = store.marker().await.unwrap();
    assert!(marker.is_some());
    assert_eq!(connect(&server).await.marker().await.unwrap(), marker);
    server.run("FLUSHALL");
    assert_eq!(store.marker().await.unwrap(), None);
    let next = connect(&server).await.marker().await.unwrap();
    assert!(next.is_some() && next != marker);
    assert_eq!(store.marker().await.unwrap(), next);
    // It keeps nothing on disk.
    server.restart();
    resumes(&store, records().anonymous(b"").0).await;
    assert_eq!(store.marker().await.unwrap(), None);
}
