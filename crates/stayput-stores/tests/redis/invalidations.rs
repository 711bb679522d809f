//! What stores tell of changes: everything that others do, in order, and that something may be missing when it may be.

mod cluster;
mod outage;
mod reader;
mod removal;
mod sentinel;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stayput_core::{
    Clock, Created, Invalidation, PULSE_INTERVAL, PULSE_LIMIT, Replaced, SessionStore, Subject,
};
use stayput_stores::{RedisConfig, RedisStore};
use stayput_testkit::Seed;
use stayput_testkit::servers::{RedisServer, RedisServerOptions, Reply};
use tokio::runtime::Handle;

use self::reader::{Reader, Writer};
use crate::support::{behind_proxy, connect, records, url};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_swap_is_told_once_and_in_order_whatever_else_goes_on() {
    let (server, records, mut rng) = (RedisServer::plain(), records(), Seed::announce().rng());
    let (near, far) = (connect(&server).await, Arc::new(connect(&server).await));
    let mut reader = Reader::of(&near);
    assert_eq!(reader.next().await, Invalidation::Lost);
    let mut writers = Vec::new();
    for _ in 0..8 {
        writers.push(Writer::new(&*far, &records).await);
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let noise: Vec<_> = (0..4)
        .map(|number| {
            let (store, records, is_over) = (Arc::clone(&far), records.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let subject = Subject::new(format!("subject {number}"));
                while !is_over.load(Ordering::Relaxed) {
                    let (key, record) = records.logged_in(&subject, b"");
                    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
                    let later = record.header.expires.after(Duration::from_mins(1));
                    let _ = store.touch(key, later).await.unwrap();
                    store.remove(key).await.unwrap();
                }
            })
        })
        .collect();
    let mut told = Vec::new();
    for _ in 0..500 {
        let writer = rng.choice(&mut writers).unwrap();
        writer.swap(&*far).await;
        told.push(writer.key);
    }
    is_over.store(true, Ordering::Relaxed);
    for noise in noise {
        noise.await.unwrap();
    }
    let (last, record) = records.anonymous(b"");
    assert_eq!(far.create(last, record).await.unwrap(), Created::Created);
    let mut heard = reader.changes_up_to(last).await;
    heard.retain(|key| writers.iter().any(|writer| writer.key == *key));
    // Each was created before.
    assert_eq!(heard.split_off(writers.len()), told);
}

#[tokio::test]
async fn what_changes_nothing_is_not_told_and_an_expiry_is() {
    let (server, records) = (RedisServer::plain(), records());
    let store = connect(&server).await;
    let mut reader = Reader::of(&store);
    assert_eq!(reader.next().await, Invalidation::Lost);
    let mut writer = Writer::new(&store, &records).await;
    let stale = writer.record.clone();
    writer.swap(&store).await;
    // A swap that comes too late, a touch that moves nothing, and a creation where something is.
    let next = records.next(&writer.key, &stale, b"");
    let conflict = store.replace(writer.key, next, stale.header.version()).await.unwrap();
    assert!(matches!(conflict, Replaced::Conflict(_)));
    let _ = store.touch(writer.key, stale.header.expires).await.unwrap();
    assert_eq!(store.create(writer.key, stale).await.unwrap(), Created::Exists);
    let (brief, mut record) = records.anonymous(b"");
    record.header.expires = records.clock().now().after(Duration::from_millis(300));
    assert_eq!(store.create(brief, record).await.unwrap(), Created::Created);
    let told = [reader.change().await, reader.change().await, reader.change().await, reader.change().await];
    assert_eq!(told, [writer.key, writer.key, brief, brief]);
}

#[tokio::test]
async fn pulses_come_regularly_to_each_of_several_streams() {
    let server = RedisServer::plain();
    let (one, other) = (connect(&server).await, connect(&server).await);
    for mut reader in [Reader::of(&one), Reader::of(&one), Reader::of(&other)] {
        assert_eq!(reader.next().await, Invalidation::Lost);
        let mut last = Instant::now();
        for _ in 0..5 {
            assert_eq!(reader.next().await, Invalidation::Pulse);
            let gap = last.elapsed();
            assert!(gap < PULSE_INTERVAL + PULSE_LIMIT, "{gap:?}");
            last = Instant::now();
        }
    }
}

#[tokio::test]
async fn other_prefixes_are_not_told() {
    let (server, records) = (RedisServer::plain(), records());
    let with = |prefix: &str| url(&server).parse::<RedisConfig>().unwrap().prefix(prefix);
    let store = RedisStore::connect_with(with("shop:")).await.unwrap();
    let longer = RedisStore::connect_with(with("shop:carts:")).await.unwrap();
    let other = RedisStore::connect_with(with("blog:")).await.unwrap();
    let all = RedisStore::connect_with(with("")).await.unwrap();
    let (mut reader, mut any) = (Reader::of(&store), Reader::of(&all));
    assert_eq!((reader.next().await, any.next().await), (Invalidation::Lost, Invalidation::Lost));
    for store in [&longer, &other, &store, &all] {
        Writer::new(store, &records).await.swap(store).await;
    }
    let own = Writer::new(&store, &records).await;
    let heard = reader.changes_up_to(own.key).await;
    assert_eq!(heard.len(), 2, "{heard:?}");
    let own = Writer::new(&all, &records).await;
    assert_eq!(any.changes_up_to(own.key).await.len(), 2);
}

#[tokio::test]
async fn a_server_that_was_flushed_says_so() {
    let (server, records) = (RedisServer::plain(), records());
    let store = connect(&server).await;
    let mut reader = Reader::of(&store);
    assert_eq!(reader.next().await, Invalidation::Lost);
    for flush in ["FLUSHALL", "FLUSHDB"] {
        server.run(flush);
        reader.until_lost().await;
        let mut writer = Writer::new(&store, &records).await;
        assert_eq!(reader.change().await, writer.key);
        writer.swap(&store).await;
        assert_eq!(reader.change().await, writer.key);
    }
}

/// The server tells of all keys in one message, which no reader can get in between.
#[tokio::test]
async fn a_reader_that_is_slow_is_told_that_it_missed_something() {
    let (server, records) = (RedisServer::plain(), records());
    let store = connect(&server).await;
    let mut reader = Reader::of(&store);
    assert_eq!(reader.next().await, Invalidation::Lost);
    server.eval(
        "for n = 1, 10000 do redis.call('SET', 'stayput:' .. string.format('%032d', n), '', 'PX', 60000) end",
    );
    let writer = Writer::new(&store, &records).await;
    assert_eq!(reader.next().await, Invalidation::Lost);
    let heard = reader.changes_up_to(writer.key).await;
    assert!((1..=4096).contains(&heard.len()), "{}", heard.len());
    assert_eq!(reader.next().await, Invalidation::Pulse);
}

#[tokio::test]
async fn a_stream_ends_with_its_reader_and_with_its_store() {
    let server = RedisServer::plain();
    let store = connect(&server).await;
    let tasks = Handle::current().metrics().num_alive_tasks();
    let mut readers = [Reader::of(&store), Reader::of(&store)];
    for reader in &mut readers {
        assert_eq!(reader.next().await, Invalidation::Lost);
    }
    assert!(Handle::current().metrics().num_alive_tasks() > tasks);
    let [mut kept, dropped] = readers;
    drop(dropped);
    let began = Instant::now();
    while listeners(&server).len() != 1 {
        assert!(began.elapsed() < reader::PATIENCE, "a connection stays open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(store);
    kept.until_end().await;
    assert_eq!(listeners(&server).len(), 0);
    drop(kept);
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test]
async fn who_may_not_listen_gets_a_stream_that_says_nothing() {
    let server = RedisServerOptions::default().start();
    server.run("ACL SETUSER default -client|tracking");
    let (store, proxy) = behind_proxy(&server, Duration::from_secs(1)).await;
    let mut reader = Reader::of(&*store);
    let nothing = tokio::time::timeout(PULSE_LIMIT + PULSE_INTERVAL, reader.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    assert_eq!(proxy.connections(), 2);
}

/// The ids of connections that the server tells of changes.
fn listeners(server: &RedisServer) -> Vec<String> {
    let Reply::Bytes(list) = server.run("CLIENT LIST") else { panic!("a list is expected") };
    let list = String::from_utf8(list).unwrap();
    let field = |line: &str, name: &str| {
        line.split(' ').find_map(|field| field.strip_prefix(name)).unwrap_or_default().to_owned()
    };
    let listening = list.lines().filter(|line| field(line, "flags=").contains('t'));
    listening.map(|line| field(line, "id=")).collect()
}
