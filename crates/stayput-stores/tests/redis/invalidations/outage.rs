//! Connections that are cut, and servers that hang or die: no pulse says more than is true, and a loss is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stayput_core::{PULSE_INTERVAL, PULSE_LIMIT, SessionStore};
use stayput_testkit::servers::RedisServer;
use stayput_testkit::{Seed, Weather};

use super::listeners;
use super::reader::{PATIENCE, Reader, Writer};
use crate::support::{behind_proxy, connect, records};

/// What a busy machine may add.
const SLACK: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_cut_all_that_happens_after_the_loss_is_told() {
    let (server, records, mut rng) = (RedisServer::plain(), records(), Seed::announce().rng());
    let (near, far) = (connect(&server).await, Arc::new(connect(&server).await));
    // Its creation is not to be told.
    let mut writer = Writer::new(&*far, &records).await;
    let mut reader = Reader::of(&near);
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
    for _ in 0..20 {
        reader.until_lost().await;
        let swaps = rng.usize(1..50);
        for _ in 0..swaps {
            writer.swap(&*far).await;
        }
        let last = Writer::new(&*far, &records).await;
        let told = reader.changes_up_to(last.key).await;
        assert_eq!(told.iter().filter(|key| **key == writer.key).count(), swaps);
        let killed = listeners(&server);
        assert_eq!(killed.len(), 1);
        server.run(&format!("CLIENT KILL ID {}", killed[0]));
    }
    is_over.store(true, Ordering::Relaxed);
    load.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_gives_no_pulse_and_is_told_as_a_loss() {
    let (server, records) = (RedisServer::plain(), records());
    let store = connect(&server).await;
    let mut reader = Reader::of(&store);
    let mut writer = Writer::new(&store, &records).await;
    reader.until_pulse().await;
    server.pause();
    let paused = Instant::now();
    let last = reader.last_pulse_within(2 * (PULSE_LIMIT + PULSE_INTERVAL)).await;
    assert!(last.is_none_or(|pulse| pulse - paused < SLACK), "{:?}", last.map(|pulse| pulse - paused));
    server.resume();
    let resumed = Instant::now();
    // No pulse comes before it.
    assert_eq!(reader.until_lost().await, None);
    println!("listened to again {:?} after it resumed", resumed.elapsed());
    until_swapped(&store, &mut writer).await;
    while reader.change().await != writer.key {}
    reader.until_pulse().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_is_told_as_a_loss_when_it_is_back() {
    let (mut server, records) = (RedisServer::plain(), records());
    let store = connect(&server).await;
    let mut reader = Reader::of(&store);
    reader.until_pulse().await;
    server.kill();
    assert_eq!(reader.last_pulse_within(PULSE_LIMIT + PULSE_INTERVAL).await, None);
    server.restart();
    assert_eq!(reader.until_lost().await, None);
    let began = Instant::now();
    while store.marker().await.is_err() {
        assert!(began.elapsed() < PATIENCE, "traffic never resumes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let writer = Writer::new(&store, &records).await;
    assert_eq!(reader.change().await, writer.key);
    reader.until_pulse().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_hangs_in_either_direction_gives_no_pulse() {
    let (server, records) = (RedisServer::plain(), records());
    let far = connect(&server).await;
    let (near, proxy) = behind_proxy(&server, Duration::from_millis(500)).await;
    let mut reader = Reader::of(&*near);
    let mut writer = Writer::new(&far, &records).await;
    for weather in [Weather::Mute, Weather::Hang, Weather::Reset, Weather::HalfClose] {
        reader.until_pulse().await;
        let (changed, before) = (Instant::now(), proxy.connections());
        proxy.set(weather.clone());
        // Nobody there is told of it.
        writer.swap(&far).await;
        let last = reader.last_pulse_within(PULSE_LIMIT + PULSE_INTERVAL + PULSE_LIMIT).await;
        assert!(last.is_none_or(|pulse| pulse - changed < SLACK), "{weather:?}");
        assert!(proxy.connections() - before < 60, "{weather:?}: {}", proxy.connections() - before);
        proxy.set(Weather::Fair);
        assert_eq!(reader.until_lost().await, None, "{weather:?}");
        writer.swap(&far).await;
        assert_eq!(reader.change().await, writer.key);
    }
}

async fn until_swapped(store: &dyn SessionStore, writer: &mut Writer) {
    let began = Instant::now();
    while store.load(writer.key).await.is_err() {
        assert!(began.elapsed() < PATIENCE, "traffic never resumes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    writer.swap(store).await;
}
