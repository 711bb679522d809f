//! Who is listened to is whoever is master.

use std::time::{Duration, Instant};

use stayput_core::{PULSE_INTERVAL, PULSE_LIMIT, SessionStore};
use stayput_stores::RedisStore;
use stayput_testkit::servers::{RedisSentinels, RedisSentinelsOptions, RedisServer};
use tokio::time::sleep;

use super::listeners;
use super::reader::{PATIENCE, Reader, Writer};
use crate::sentinel::{claim, url};
use crate::support::records;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_the_new_masters_changes_are_told() {
    let (mut service, records) = (RedisSentinelsOptions::default().start(), records());
    let near = RedisStore::connect(&url(&service)).await.unwrap();
    let far = RedisStore::connect(&url(&service)).await.unwrap();
    let mut reader = Reader::of(&near);
    for planned in [true, false] {
        reader.until_pulse().await;
        let before = master(&service);
        let began = Instant::now();
        if planned {
            service.sentinels()[0].run(&format!("SENTINEL FAILOVER {}", RedisSentinels::SERVICE));
        } else {
            service.servers_mut()[before].kill();
        }
        let pulse = reader.until_lost().await;
        println!("listened to the new master after {:?}", began.elapsed());
        // A planned one takes its time.
        assert!(planned || pulse.is_none_or(|pulse| pulse - began < PULSE_INTERVAL));
        while far.marker().await.is_err() || (planned && master(&service) == before) {
            assert!(began.elapsed() < PATIENCE, "traffic never resumes");
            sleep(Duration::from_millis(5)).await;
        }
        // It may be lost more than once, before all have turned to the new one.
        let mut writer = loop {
            reader.until_pulse().await;
            let (key, record) = records.anonymous(b"");
            if far.create(key, record.clone()).await.is_ok() {
                break Writer::new(&far, &records).await;
            }
        };
        while reader.change().await != writer.key {}
        for _ in 0..20 {
            writer.swap(&far).await;
            assert_eq!(reader.change().await, writer.key);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_the_store_leaves_is_not_listened_to_any_more() {
    let (service, other) =
        (RedisSentinelsOptions::default().replicas(0).sentinels(1).start(), RedisServer::plain());
    let records = records();
    let store = RedisStore::connect(&url(&service)).await.unwrap();
    let mut reader = Reader::of(&store);
    reader.until_pulse().await;
    let began = Instant::now();
    while store.marker().await.unwrap().is_some() {
        claim(&service.servers()[0], &other, 5);
        assert!(began.elapsed() < PATIENCE, "the claim is not heard");
        sleep(Duration::from_millis(5)).await;
    }
    reader.until_lost().await;
    let writer = Writer::new(&store, &records).await;
    assert_eq!(reader.change().await, writer.key);
    let listened = [&service.servers()[0], &other].map(|server| listeners(server).len());
    assert_eq!(listened, [0, 1]);
}

/// It goes on telling, as late as its own master's changes reach it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_was_made_a_replica_gives_no_pulse() {
    let mut service = RedisSentinelsOptions::default().replicas(1).sentinels(1).start();
    let store = RedisStore::connect(&url(&service)).await.unwrap();
    let mut reader = Reader::of(&store);
    reader.until_pulse().await;
    // Nobody sets it right.
    service.sentinels_mut()[0].kill();
    let [first, second] = service.servers() else { panic!("two servers are expected") };
    second.run("REPLICAOF NO ONE");
    first.run(&format!("REPLICAOF 127.0.0.1 {}", second.port()));
    let began = Instant::now();
    let pulse = reader.last_pulse_within(2 * (PULSE_LIMIT + PULSE_INTERVAL)).await;
    assert!(pulse.is_none_or(|pulse| pulse - began < PULSE_INTERVAL), "{:?}", pulse.map(|it| it - began));
    first.run("REPLICAOF NO ONE");
    reader.until_lost().await;
    reader.until_pulse().await;
}

fn master(service: &RedisSentinels) -> usize {
    let name = RedisSentinels::SERVICE;
    let reply =
        format!("{:?}", service.sentinels()[0].run(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {name}")));
    let ports: Vec<_> = service.servers().iter().map(RedisServer::port).collect();
    let is_it = |port: &u16| reply.contains(&format!("{:?}", port.to_string().as_bytes()));
    ports.iter().position(is_it).unwrap_or_else(|| panic!("{reply}"))
}
