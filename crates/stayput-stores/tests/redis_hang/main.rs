//! A server that hangs for twenty seconds under load (`SIGSTOP`): calls end at their deadline, no more than may be are under
//! way, memory stays, and traffic resumes by itself; no write is made twice.
//!
//! It is a program of its own, so that the memory it measures is nobody else's.
#![cfg(feature = "redis")]

mod gauge;
mod load;

use std::sync::Arc;
use std::time::{Duration, Instant};

use stayput_core::{Clock, SessionStore, SystemClock};
use stayput_stores::{RedisConfig, RedisStore};
use stayput_testkit::Records;
use stayput_testkit::servers::{RedisServer, Reply};
use tokio::time::sleep;

use self::gauge::Gauge;
use self::load::Load;

/// How long the server hangs.
const HANG: Duration = Duration::from_secs(20);

/// How long a call may take.
const LIMIT: Duration = Duration::from_millis(250);

/// What one that ends at its limit may take on top, on a machine that does nothing else.
const PUNCTUAL: Duration = Duration::from_millis(100);

/// How many calls may be under way.
const MOST: usize = 64;

/// Within which traffic is to resume.
const SOON: Duration = Duration::from_secs(1);

/// For how long nothing changes before something is measured.
const STEADY: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_for_20_s_costs_calls_their_time_limit_and_nothing_else() {
    let (server, records) = (RedisServer::plain(), Records::seeded());
    records.clock().set(SystemClock.now());
    let config: RedisConfig = format!("redis://127.0.0.1:{}", server.port()).parse().unwrap();
    let config = config.timeout(LIMIT).in_flight(MOST);
    let store = Arc::new(RedisStore::connect_with(config).await.unwrap());
    let gauge = Gauge::start();
    let load = Load::start(&store, &records).await;
    // As much at once as there will be, so that memory for it is there.
    load.burst(400).await;
    sleep(STEADY).await;
    let (before, warm) = (gauge.take(), load.tally());
    assert_eq!(warm.failed, 0, "{warm:?}");
    let connections = number(&server, "total_connections_received");

    server.pause();
    load.writers_wait().await;
    load.burst(400).await;
    sleep(HANG).await;
    let (during, hung) = (gauge.take(), load.tally());
    let resumed = Instant::now();
    server.resume();
    let (read, write) = load.resumes(resumed).await;
    sleep(STEADY).await;
    let (after, fine) = (gauge.take(), load.tally());
    let connections = number(&server, "total_connections_received") - connections;
    let (read, write) = (read.duration_since(resumed), write.duration_since(resumed));
    println!("before {before:?}: {warm:?}\nhung   {during:?}: {hung:?}\nafter  {after:?}: {fine:?}");
    println!("first read after {read:?}, first write after {write:?}, {connections} connections were made");

    let punctual = LIMIT + PUNCTUAL + 2 * during.lateness;
    assert!(hung.longest < punctual, "{:?} of {punctual:?}", hung.longest);
    assert!(hung.failed > 1_000 && hung.refused > 0 && hung.succeeded < 100, "{hung:?}");
    assert!(hung.most <= MOST && fine.most <= MOST, "{} {}", hung.most, fine.most);
    // Of that tenth, code that only failures run takes a part when it is first read.
    let most = before.memory + before.memory / 10;
    assert!(during.memory <= most && after.memory <= most, "{before:?} {during:?} {after:?}");
    assert!(connections <= 20, "{connections}");
    assert!(read.max(write) < SOON + after.lateness, "{read:?} {write:?}");
    assert!(fine.succeeded > 10 * fine.failed, "{fine:?}");
    were_made_once(load, &store, &records).await;
}

/// Each write is there once: those that were acknowledged, and of those in doubt the ones that are said to be there.
async fn were_made_once(load: Load, store: &RedisStore, records: &Records) {
    let (outcomes, doubts) = load.end().await;
    for (key, made) in &outcomes {
        let record = store.load(*key).await.unwrap().unwrap();
        assert_eq!(load::counts(records, key, &record), *made);
        assert_eq!(record.header.version().count, 1 + made.iter().sum::<u64>());
    }
    let made: u64 = outcomes.iter().flat_map(|(_, made)| made).sum();
    println!("{made} writes, of which {} were in doubt, {} of these were made", doubts.all, doubts.made);
    assert!(doubts.all > 0 && doubts.made <= doubts.all);
}

fn number(server: &RedisServer, name: &str) -> u64 {
    let Reply::Bytes(info) = server.run("INFO stats") else { panic!("a text is expected") };
    let info = String::from_utf8_lossy(&info);
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok());
    value.expect("the server counts its connections")
}
