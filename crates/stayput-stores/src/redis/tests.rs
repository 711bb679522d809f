//! The contract over Redis, directly, through a slow network and over a cluster, and what a crash in the middle of a call leaves.

use std::time::Duration;

use stayput_core::{Clock, Created, Overflow, SessionLimit, Subject, TOMBSTONE_LIFETIME};
use stayput_testkit::conformance::StoreUnderTest;
use stayput_testkit::servers::{RedisServer, RedisServerOptions, Reply};
use stayput_testkit::{ManualClock, Records};

use super::index::Member;
use super::subjects::admission::Facts;
use super::*;

mod index;

stayput_testkit::store_conformance!(|clock: Arc<ManualClock>| async move {
    let (store, server) = store_by(clock).await;
    StoreUnderTest::from((Arc::new(store) as Arc<dyn SessionStore>, server)).deletes_by_itself()
});

mod through_a_slow_network {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use stayput_testkit::{FaultProxy, Weather};

    stayput_testkit::store_conformance!(|clock: Arc<ManualClock>| async move {
        let server = RedisServerOptions::default().clock(clock).start();
        let proxy = FaultProxy::start((Ipv4Addr::LOCALHOST, server.port()).into()).await.unwrap();
        let config: RedisConfig = format!("redis://{}", proxy.address()).parse().unwrap();
        let store = RedisStore::connect_with(config.timeout(Duration::from_mins(1))).await.unwrap();
        // One piece in 26 is late by a millisecond or two.
        proxy.set(Weather::Slow(Duration::ZERO..Duration::from_micros(1_040)));
        StoreUnderTest::from((Arc::new(store) as Arc<dyn SessionStore>, (server, proxy))).deletes_by_itself()
    });

    use super::*;
}

mod under_sentinel {
    use stayput_testkit::servers::{RedisSentinels, RedisSentinelsOptions};

    stayput_testkit::store_conformance!(|clock: Arc<ManualClock>| async move {
        // None of these promises is about a failover, and fewer servers are sooner there.
        let service = RedisSentinelsOptions::default().replicas(0).sentinels(1).clock(clock).start();
        let url = format!("redis+sentinel://{}/{}", service.addresses(), RedisSentinels::SERVICE);
        let config: RedisConfig = url.parse().unwrap();
        let store = RedisStore::connect_with(config.timeout(Duration::from_secs(20))).await.unwrap();
        StoreUnderTest::from((Arc::new(store) as Arc<dyn SessionStore>, service)).deletes_by_itself()
    });

    use super::*;
}

mod with_every_write_on_a_replica {
    use stayput_testkit::servers::{RedisSentinels, RedisSentinelsOptions};

    stayput_testkit::store_conformance!(|clock: Arc<ManualClock>| async move {
        let service = RedisSentinelsOptions::default().replicas(1).sentinels(1).clock(clock).start();
        let (sentinels, name) = (service.addresses(), RedisSentinels::SERVICE);
        let url = format!("redis+sentinel://{sentinels}/{name}?wait_replicas=1&wait_for=writes");
        let config: RedisConfig = url.parse().unwrap();
        let store = RedisStore::connect_with(config.timeout(Duration::from_secs(20))).await.unwrap();
        StoreUnderTest::from((Arc::new(store) as Arc<dyn SessionStore>, service)).deletes_by_itself()
    });

    use super::*;
}

mod over_a_cluster {
    use stayput_testkit::servers::RedisClusterOptions;

    stayput_testkit::store_conformance!(|clock: Arc<ManualClock>| async move {
        let cluster = RedisClusterOptions::default().clock(clock).start();
        let config: RedisConfig = format!("redis+cluster://{}", cluster.seeds()).parse().unwrap();
        let store = RedisStore::connect_with(config.timeout(Duration::from_secs(20))).await.unwrap();
        StoreUnderTest::from((Arc::new(store) as Arc<dyn SessionStore>, cluster)).deletes_by_itself()
    });

    use super::*;
}

mod under_sentinel_through_slow_proxies {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use stayput_testkit::servers::{RedisSentinels, RedisSentinelsOptions};
    use stayput_testkit::{FaultProxy, Weather};

    stayput_testkit::store_conformance!(|clock: Arc<ManualClock>| async move {
        let service = RedisSentinelsOptions::default().replicas(0).sentinels(1).clock(clock).start();
        let (sentinel, name) = (&service.sentinels()[0], RedisSentinels::SERVICE);
        let mut proxies = Vec::new();
        for server in [sentinel, &service.servers()[0]] {
            proxies.push(FaultProxy::start((Ipv4Addr::LOCALHOST, server.port()).into()).await.unwrap());
        }
        // The sentinel knows the master by its proxy's address, and tells everybody so.
        sentinel.run(&format!("SENTINEL REMOVE {name}"));
        sentinel.run(&format!("SENTINEL MONITOR {name} 127.0.0.1 {} 1", proxies[1].address().port()));
        let url = format!("redis+sentinel://{}/{name}", proxies[0].address());
        let config: RedisConfig = url.parse().unwrap();
        let store = RedisStore::connect_with(config.timeout(Duration::from_mins(1))).await.unwrap();
        for proxy in &proxies {
            proxy.set(Weather::Slow(Duration::ZERO..Duration::from_micros(1_040)));
        }
        let place = (service, proxies);
        StoreUnderTest::from((Arc::new(store) as Arc<dyn SessionStore>, place)).deletes_by_itself()
    });

    use super::*;
}

mod over_a_cluster_through_slow_proxies {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use stayput_testkit::servers::RedisClusterOptions;
    use stayput_testkit::{FaultProxy, Weather};

    stayput_testkit::store_conformance!(|clock: Arc<ManualClock>| async move {
        let cluster = RedisClusterOptions::default().clock(clock).start();
        let mut proxies = Vec::new();
        for node in 0..cluster.len() {
            let server = (Ipv4Addr::LOCALHOST, cluster.server(node).port()).into();
            proxies.push(FaultProxy::start(server).await.unwrap());
        }
        // The nodes name each other by their proxies' ports.
        cluster.announce(&proxies.iter().map(|proxy| proxy.address().port()).collect::<Vec<_>>());
        let config: RedisConfig = format!("redis+cluster://{}", proxies[0].address()).parse().unwrap();
        let store = RedisStore::connect_with(config.timeout(Duration::from_mins(1))).await.unwrap();
        for proxy in &proxies {
            // One piece in a hundred is late by a millisecond or two; there are many.
            proxy.set(Weather::Slow(Duration::ZERO..Duration::from_micros(1_010)));
        }
        let place = (cluster, proxies);
        StoreUnderTest::from((Arc::new(store) as Arc<dyn SessionStore>, place)).deletes_by_itself()
    });

    use super::*;
}

async fn store_by(clock: Arc<ManualClock>) -> (RedisStore, RedisServer) {
    let server = RedisServerOptions::default().clock(clock).start();
    let store = RedisStore::connect(&format!("redis://127.0.0.1:{}", server.port())).await.unwrap();
    (store, server)
}

async fn logged_in(store: &RedisStore, records: &Records, subject: &Subject) -> (StorageKey, Record) {
    let (key, record) = records.logged_in(subject, b"");
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    (key, record)
}

fn alone() -> Admission {
    let limit = SessionLimit { most: 1.try_into().unwrap(), overflow: Overflow::EndOldest };
    Admission { limit: Some(limit), ..Admission::default() }
}

fn member(key: &StorageKey, record: &Record) -> Member {
    Member::new(key, record.header.created, record.header.absolute)
}

fn facts(key: &StorageKey, record: &Record) -> Facts {
    Facts {
        member: member(key, record),
        ends: record.header.absolute,
        known: Vec::new(),
        until: record.header.absolute,
    }
}

/// As an admission of the second session does whose process dies before it removes the first one, which has to go.
async fn decide_and_die(store: &RedisStore, subject: SubjectKey, sessions: [&(StorageKey, Record); 2]) {
    let mut call = store.client.begin(Operation::Admit).unwrap();
    let names = store.keys.subject(&subject);
    let [old, new] = sessions.map(|(key, record)| facts(key, record));
    let known = [old.member.as_bytes(), b"l"].concat();
    let decision = store.decide(&mut call, &names, alone(), &Facts { known, ..new }).await.unwrap();
    assert_eq!((decision.outcome.as_slice(), decision.ended), (b"admitted".as_slice(), 1));
}

#[tokio::test]
async fn what_an_admission_left_undone_is_done_by_whoever_comes_next() {
    let (records, alice) = (Records::seeded(), Subject::new("alice"));
    let (store, _server) = store_by(records.clock()).await;
    for who in ["admits again", "admits another", "lists", "ends"] {
        let first = logged_in(&store, &records, &alice).await;
        let old = first.0;
        assert_eq!(
            store.admit(alice.key(), old, admission(&store, &alice).await).await.unwrap(),
            Admitted::Admitted { ended: vec![] }
        );
        let second = logged_in(&store, &records, &alice).await;
        let new = second.0;
        decide_and_die(&store, alice.key(), [&first, &second]).await;
        assert!(store.load(old).await.unwrap().is_some());
        match who {
            "admits again" => {
                let again = store.admit(alice.key(), new, admission(&store, &alice).await).await.unwrap();
                assert_eq!(again, Admitted::Admitted { ended: vec![] });
            }
            "admits another" => {
                let (other, _) = logged_in(&store, &records, &alice).await;
                let admitted = store.admit(alice.key(), other, admission(&store, &alice).await).await;
                assert_eq!(admitted.unwrap(), Admitted::Admitted { ended: vec![new] });
            }
            "lists" => assert_eq!(store.subject_sessions(alice.key()).await.unwrap(), [new]),
            _ => assert_eq!(store.end_subject(alice.key(), Some(new)).await.unwrap(), Some(1)),
        }
        assert_eq!(store.load(old).await.unwrap(), None, "{who}");
        store.end_subject(alice.key(), None).await.unwrap();
        // Epochs of the past are none of the next round's.
        records.clock().advance(TOMBSTONE_LIFETIME);
    }
}

#[tokio::test]
async fn who_is_about_to_be_ended_has_nobody_else_ended() {
    let (records, alice) = (Records::seeded(), Subject::new("alice"));
    let (store, _server) = store_by(records.clock()).await;
    let old = logged_in(&store, &records, &alice).await;
    let _: Admitted = store.admit(alice.key(), old.0, alone()).await.unwrap();
    let new = logged_in(&store, &records, &alice).await;
    decide_and_die(&store, alice.key(), [&old, &new]).await;
    assert_eq!(store.end_subject(alice.key(), Some(old.0)).await.unwrap(), None);
    assert_eq!(store.admit(alice.key(), old.0, alone()).await.unwrap(), Admitted::Missing);
    assert!(store.load(new.0).await.unwrap().is_some());
}

#[tokio::test]
async fn an_admission_that_was_long_under_way_ends_nobody() {
    let (records, alice) = (Records::seeded(), Subject::new("alice"));
    let (store, _server) = store_by(records.clock()).await;
    let (gone, record) = logged_in(&store, &records, &alice).await;
    let late = Facts { until: records.clock().now(), ..facts(&gone, &record) };
    store.remove(gone).await.unwrap();
    let (live, _) = logged_in(&store, &records, &alice).await;
    let _: Admitted = store.admit(alice.key(), live, alone()).await.unwrap();
    records.clock().advance(Duration::from_millis(1));
    let mut call = store.client.begin(Operation::Admit).unwrap();
    let names = store.keys.subject(&alice.key());
    let decision = store.decide(&mut call, &names, alone(), &late).await.unwrap();
    assert_eq!((decision.outcome.as_slice(), decision.ended), (b"again".as_slice(), 0));
    assert_eq!(store.subject_sessions(alice.key()).await.unwrap(), [live]);
}

#[tokio::test]
async fn an_end_that_comes_between_looking_and_deciding_revokes() {
    let (records, alice) = (Records::seeded(), Subject::new("alice"));
    let (store, _server) = store_by(records.clock()).await;
    let (key, record) = logged_in(&store, &records, &alice).await;
    // The admission has seen the epoch and the session when everything is ended.
    store.end_subject(alice.key(), None).await.unwrap();
    let mut call = store.client.begin(Operation::Admit).unwrap();
    let names = store.keys.subject(&alice.key());
    let decision = store.decide(&mut call, &names, alone(), &facts(&key, &record)).await.unwrap();
    assert_eq!((decision.outcome.as_slice(), decision.ended), (b"revoked".as_slice(), 0));
}

#[tokio::test]
async fn everything_goes_by_itself() {
    let (records, alice) = (Records::seeded(), Subject::new("alice"));
    let (store, server) = store_by(records.clock()).await;
    let mut last = records.clock().now();
    for round in 0..200 {
        let (key, record) = logged_in(&store, &records, &alice).await;
        let _: Admitted = store.admit(alice.key(), key, alone()).await.unwrap();
        match round % 3 {
            0 => store.remove(key).await.unwrap(),
            1 => records.clock().set(record.header.expires),
            _ => {}
        }
        last = record.header.absolute;
    }
    store.end_subject(alice.key(), None).await.unwrap();
    records.clock().set(last.after(TOMBSTONE_LIFETIME));
    assert_eq!(server.run("KEYS *"), Reply::Array(vec![Reply::Bytes(b"stayput:marker".into())]));
}

async fn admission(store: &RedisStore, subject: &Subject) -> Admission {
    Admission { epoch: store.subject_epoch(subject.key()).await.unwrap(), ..alone() }
}
