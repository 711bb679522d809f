//! A cluster: changes on all its primaries are told, and whatever changes about the primaries is told as a loss.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stayput_core::{Invalidation, PULSE_INTERVAL, PULSE_LIMIT, SessionStore};
use stayput_stores::{RedisConfig, RedisStore};
use stayput_testkit::Records;
use stayput_testkit::servers::{RedisCluster, RedisClusterOptions, Reply, slot};
use tokio::time::sleep;

use super::listeners;
use super::reader::{PATIENCE, Reader, Writer};
use crate::cluster::slot_of;
use crate::support::records;

const SHARES: [RangeInclusive<u16>; 3] = [0..=5460, 5461..=10921, 10922..=16383];

async fn connect(cluster: &RedisCluster, prefix: &str) -> Arc<RedisStore> {
    let config: RedisConfig = format!("redis+cluster://{}", cluster.seeds()).parse().unwrap();
    let config = config.prefix(prefix).timeout(Duration::from_secs(5));
    Arc::new(RedisStore::connect_with(config).await.unwrap())
}

async fn writer_in(share: usize, store: &RedisStore, records: &Records) -> Writer {
    Writer::that(store, records, |key| SHARES[share].contains(&slot_of(key))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_swap_on_any_primary_is_told_once_and_no_replica_is_listened_to() {
    let (cluster, records) = (RedisCluster::plain(), records());
    let (near, far) = (connect(&cluster, "stayput:").await, connect(&cluster, "stayput:").await);
    let mut reader = Reader::of(&*near);
    assert_eq!(reader.next().await, Invalidation::Lost);
    for share in 0..SHARES.len() {
        let mut writer = writer_in(share, &far, &records).await;
        for _ in 0..40 {
            writer.swap(&*far).await;
        }
        let last = writer_in(share, &far, &records).await;
        assert_eq!(reader.changes_up_to(last.key).await, [writer.key; 41]);
    }
    let listened: Vec<_> = (0..cluster.len()).map(|node| listeners(cluster.server(node)).len()).collect();
    assert_eq!(listened, [1, 1, 1, 0, 0, 0]);
    cluster.server(1).run("FLUSHALL");
    reader.until_lost().await;
    reader.until_pulse().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_primary_died_its_successors_changes_are_told() {
    let (mut cluster, records) = (RedisCluster::plain(), records());
    let (near, far) = (connect(&cluster, "stayput:").await, connect(&cluster, "stayput:").await);
    let mut reader = Reader::of(&*near);
    reader.until_pulse().await;
    let dead = cluster.primary(0).unwrap();
    let killed = Instant::now();
    cluster.kill(dead);
    let pulse = reader.until_lost().await;
    println!("listened to all primaries again after {:?}", killed.elapsed());
    assert!(pulse.is_none_or(|pulse| pulse - killed < PULSE_INTERVAL), "a pulse without one of them");
    let (key, _) = std::iter::repeat_with(|| records.anonymous(b""))
        .find(|(key, _)| SHARES[0].contains(&slot_of(key)))
        .unwrap();
    while far.load(key).await.is_err() {
        assert!(killed.elapsed() < PATIENCE, "traffic never resumes");
        sleep(Duration::from_millis(5)).await;
    }
    until_told(&mut reader, &far, &records).await;
    assert_eq!(listeners(cluster.server(dead + 3)).len(), 1);
    // As a replica it is none to be listened to.
    cluster.restart(dead);
    cluster.settle();
    reader.until_pulse().await;
    assert_eq!(listeners(cluster.server(dead)).len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_hangs_stops_the_pulses_of_all() {
    let (mut cluster, records) = (RedisClusterOptions::default().without_replicas().start(), records());
    let store = connect(&cluster, "stayput:").await;
    let mut reader = Reader::of(&*store);
    reader.until_pulse().await;
    let paused = Instant::now();
    cluster.pause(2);
    let last = reader.last_pulse_within(PULSE_LIMIT + PULSE_INTERVAL + PULSE_LIMIT).await;
    assert!(last.is_none_or(|pulse| pulse - paused < PULSE_INTERVAL), "a pulse without one of them");
    // The others go on telling.
    cluster.resume(2);
    assert_eq!(reader.until_lost().await, None);
    until_told(&mut reader, &store, &records).await;
}

/// With a hash tag in the prefix all keys are in one slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_slot_moved_under_load_its_changes_are_told_by_its_new_node() {
    let (cluster, records) = (RedisCluster::plain(), records());
    let (near, far) = (connect(&cluster, "{shop}:").await, connect(&cluster, "{shop}:").await);
    let mut reader = Reader::of(&*near);
    let is_over = Arc::new(AtomicBool::new(false));
    let load = {
        let (far, records, is_over) = (Arc::clone(&far), records.clone(), Arc::clone(&is_over));
        tokio::spawn(async move {
            let mut writer = Writer::new(&*far, &records).await;
            while !is_over.load(Ordering::Relaxed) {
                writer.swap(&*far).await;
            }
        })
    };
    let mut writer = Writer::new(&*far, &records).await;
    reader.until_lost().await;
    for _ in 0..5 {
        let to = (cluster.primary(slot(b"shop")).unwrap() + 1) % 3;
        let moved = Instant::now();
        cluster.move_slots([slot(b"shop")], to);
        // Nobody here has any call that would show it, but for the question itself.
        reader.until_lost().await;
        println!("noticed after {:?}", moved.elapsed());
        assert!(moved.elapsed() < PATIENCE / 6);
        // Before all know, it may be lost more than once.
        reader.until_pulse().await;
        for _ in 0..20 {
            writer.swap(&*far).await;
        }
        let last = Writer::new(&*far, &records).await;
        let told = reader.changes_up_to(last.key).await;
        assert_eq!(told.iter().filter(|key| **key == writer.key).count(), 20);
    }
    is_over.store(true, Ordering::Relaxed);
    load.await.unwrap();
}

/// It has no slot of its own, and what it changes can be read there all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_that_a_slot_is_moving_to_is_listened_to_or_there_is_no_pulse() {
    let (cluster, records) = (RedisCluster::plain(), records());
    let (near, far) = (connect(&cluster, "{shop}:").await, connect(&cluster, "{shop}:").await);
    let mut writer = Writer::new(&*far, &records).await;
    let empty = 5;
    empty_primary(&cluster, empty);
    let mut reader = Reader::of(&*near);
    reader.until_pulse().await;
    cluster.begin_move(slot(b"shop"), empty);
    while cluster.move_keys(slot(b"shop"), empty, 100) > 0 {}
    let (mut told, mut lost) = (0, 0);
    for _ in 0..30 {
        // From now on it has a copy.
        assert!(near.load(writer.key).await.unwrap().is_some());
        writer.swap(&*far).await;
        let mut pulses = 0;
        loop {
            match reader.next().await {
                Invalidation::Changed(key) if key == writer.key => {
                    told += 1;
                    break;
                }
                Invalidation::Changed(_) => {}
                Invalidation::Lost => {
                    lost += 1;
                    break;
                }
                // Of those some may have been asked for before the swap.
                Invalidation::Pulse => pulses += 1,
            }
            assert!(pulses <= 4, "a change is kept quiet");
        }
    }
    println!("told {told} times, and lost {lost} times");
    assert!(told > 0);
    assert_eq!(listeners(cluster.server(empty)).len(), 1);
}

/// Makes a replica a primary without slots.
fn empty_primary(cluster: &RedisCluster, node: usize) {
    let text = |node: usize, question: &str| match cluster.server(node).run(question) {
        Reply::Bytes(text) => String::from_utf8(text).unwrap(),
        other => panic!("{other:?}"),
    };
    let view = |node| text(node, "CLUSTER NODES");
    let first = view(0);
    let me = first.lines().find(|line| line.contains("myself")).unwrap();
    let (address, bus) = me.split(' ').nth(1).unwrap().split_once('@').unwrap();
    let port = address.rsplit_once(':').unwrap().1;
    cluster.server(node).run("CLUSTER RESET SOFT");
    cluster.server(node).run(&format!("CLUSTER MEET 127.0.0.1 {port} {}", bus.split(',').next().unwrap()));
    let its_port = format!(":{}@", cluster.server(node).port());
    let is_primary = |line: &str| line.contains(&its_port) && line.contains("master");
    let began = Instant::now();
    let is_known = |other| view(other).lines().any(is_primary);
    while !text(node, "CLUSTER INFO").contains("cluster_state:ok") || !(0..3).all(is_known) {
        assert!(began.elapsed() < PATIENCE, "{}", view(node));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Changes in every share are told. More losses may come before that, until all nodes agree.
async fn until_told(reader: &mut Reader, store: &RedisStore, records: &Records) {
    reader.until_pulse().await;
    for share in 0..SHARES.len() {
        let mut writer = writer_in(share, store, records).await;
        writer.swap(store).await;
        assert_eq!([reader.change().await, reader.change().await], [writer.key; 2]);
    }
}
