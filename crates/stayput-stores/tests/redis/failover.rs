//! A master that dies, hangs, or is told to step down while many write: what the sentinels' failover costs, and what it doesn't.

pub(crate) mod load;

use std::sync::Arc;
use std::time::{Duration, Instant};

use stayput_core::{SessionStore, StorageKey, StoreErrorKind};
use stayput_stores::{RedisConfig, RedisStore};
use stayput_testkit::servers::{RedisSentinels, RedisSentinelsOptions, RedisServer, Reply};
use tokio::runtime::Handle;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

use self::load::{Load, Lost};
use crate::gauge::{Gauge, Reading};
use crate::sentinel::url;
use crate::support::{records, story};

const TIMEOUT: Duration = Duration::from_millis(500);

/// What a busy machine may add to a time limit.
const SLACK: Duration = Duration::from_millis(1500);

/// Within which sentinels fail over, after as many elections as it takes.
const PATIENCE: Duration = Duration::from_secs(40);

async fn start() -> RedisSentinels {
    spawn_blocking(|| RedisSentinelsOptions::default().start()).await.unwrap()
}

async fn connect(service: &RedisSentinels, options: &str) -> Arc<RedisStore> {
    let config: RedisConfig = format!("{}{options}", url(service)).parse().unwrap();
    let config = config.timeout(TIMEOUT).connect_timeout(Duration::from_secs(2));
    Arc::new(RedisStore::connect_with(config).await.unwrap())
}

/// Signed: a store may follow before the last sentinel has said so.
fn millis(from: Instant, to: Instant) -> i128 {
    let after = to.saturating_duration_since(from).as_millis();
    let before = from.saturating_duration_since(to).as_millis();
    i128::try_from(after).unwrap() - i128::try_from(before).unwrap()
}

/// Traffic resumes within two seconds of the servers' own failover, or as much later as a sleeper on this machine was woken.
fn is_soon(millis: i128, gauge: &Gauge) {
    let Reading { lateness, memory } = gauge.take();
    println!(
        "resumed after {millis} ms; this machine is late by up to {lateness:?}, this process has {memory} KiB"
    );
    assert!(millis < (Duration::from_secs(2) + lateness).as_millis().try_into().unwrap(), "{millis} ms");
}

/// What the replicas have of the master when it dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Replication {
    /// All but the last moment.
    Running,
    /// Nothing of the last half second.
    Behind,
}

/// Kills the master under load, and says what is lost of what was acknowledged.
async fn lost_with_the_master(replication: Replication, options: &str) -> Lost {
    let mut service = start().await;
    let load = Load::start(connect(&service, options).await, || service.settle()).await;
    let switches = service.switches();
    load.runs_for(Duration::from_millis(500)).await;
    if replication == Replication::Behind {
        service.servers()[1..].iter().for_each(RedisServer::pause);
        service.servers()[0].run("CLIENT KILL TYPE replica");
        load.runs_for(Duration::from_millis(500)).await;
    }
    let gauge = Gauge::start();
    service.servers_mut()[0].kill();
    let killed = Instant::now();
    service.servers()[1..].iter().for_each(RedisServer::resume);
    let switch = spawn_blocking(move || switches.next(PATIENCE)).await.unwrap().expect("a failover");
    let (read, write) = load.resumes(killed).await;
    println!(
        "{replication:?}, {options:?}: failover {} ms after the kill; after that, reads resumed in {} ms, writes in {} ms",
        millis(killed, switch.at),
        millis(switch.at, read),
        millis(switch.at, write),
    );
    is_soon(millis(switch.at, read).max(millis(switch.at, write)), &gauge);
    load.runs_for(Duration::from_millis(500)).await;
    let lost = load.end().await;
    println!("{replication:?}, {options:?}: {lost:?}");
    assert!(lost.longest_call < TIMEOUT + SLACK, "{:?}", lost.longest_call);
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_logs_nobody_out_and_traffic_resumes_by_itself() {
    // What it loses depends on the moment.
    lost_with_the_master(Replication::Running, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_replicas_do_not_have_is_lost_with_the_master() {
    let lost = lost_with_the_master(Replication::Behind, "").await;
    // As the documentation says; and the next two tests show something only if this is so.
    assert!(lost.logins > 0 && lost.rotations > 0 && lost.logouts > 0 && lost.visits > 0 && lost.updates > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_wait_replicas_no_login_no_rotation_and_no_logout_is_lost() {
    let lost = lost_with_the_master(Replication::Behind, "?wait_replicas=1").await;
    assert_eq!((lost.logins, lost.rotations, lost.logouts), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_wait_for_writes_nothing_is_lost() {
    let lost = lost_with_the_master(Replication::Behind, "?wait_replicas=1&wait_for=writes").await;
    assert_eq!((lost.logins, lost.rotations, lost.logouts, lost.visits, lost.updates), (0, 0, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_told_to_step_down_is_followed_at_once() {
    let service = start().await;
    let load = Load::start(connect(&service, "").await, || service.settle()).await;
    let (switches, gauge) = (service.switches(), Gauge::start());
    let told = Instant::now();
    let sentinel = &service.sentinels()[0];
    let reply = sentinel.run(&format!("SENTINEL FAILOVER {}", RedisSentinels::SERVICE));
    assert_eq!(reply, Reply::Status("OK".into()));
    let switch = spawn_blocking(move || switches.next(PATIENCE)).await.unwrap().expect("a failover");
    let (read, write) = load.resumes(switch.at).await;
    let (read, write) = (millis(switch.at, read), millis(switch.at, write));
    println!("failover after {} ms; then reads in {read} ms, writes in {write} ms", millis(told, switch.at));
    is_soon(read.max(write), &gauge);
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_master_costs_calls_their_time_limit_and_is_not_used_when_it_comes_back() {
    const MOST: usize = 64;
    let service = start().await;
    let config: RedisConfig = url(&service).parse().unwrap();
    let config = config.timeout(TIMEOUT).in_flight(MOST);
    let store = Arc::new(RedisStore::connect_with(config).await.unwrap());
    let (switches, records) = (service.switches(), records());
    let tasks = Handle::current().metrics().num_alive_tasks();
    service.servers()[0].pause();
    let (paused, key) = (Instant::now(), records.anonymous(b"").0);
    let mut calls = JoinSet::new();
    for _ in 0..4 * MOST {
        let store = Arc::clone(&store);
        calls.spawn(async move { (store.load(key).await.map_err(|error| error.kind()), paused.elapsed()) });
    }
    let (mut late, mut refused) = (0, 0);
    while let Some(call) = calls.join_next().await {
        let (outcome, took) = call.unwrap();
        assert!(took < TIMEOUT + SLACK, "{took:?}");
        match outcome.unwrap_err() {
            StoreErrorKind::Overloaded => refused += 1,
            kind => {
                assert_eq!(kind, StoreErrorKind::Unavailable);
                late += 1;
            }
        }
    }
    println!("{late} calls waited, {refused} were refused at once");
    assert!(late <= MOST && refused >= 3 * MOST);
    let switch = spawn_blocking(move || switches.next(PATIENCE)).await.unwrap().expect("a failover");
    let load = Load::start(Arc::clone(&store), || {}).await;
    let (read, write) = load.resumes(paused).await;
    println!("resumed {} and {} ms after the failover", millis(switch.at, read), millis(switch.at, write));
    // It holds itself to be the master still, until a sentinel tells it.
    let resumed = Instant::now();
    service.servers()[0].resume();
    while role(&service.servers()[0]) != "slave" {
        assert!(resumed.elapsed() < PATIENCE, "the old master is left as it is");
        sleep(Duration::from_millis(20)).await;
    }
    load.runs_for(Duration::from_millis(500)).await;
    let lost = load.end().await;
    assert_eq!((lost.logins, lost.logouts, lost.visits, lost.updates), (0, 0, 0, 0));
    let new = service.servers().iter().find(|server| server.port() == switch.master).unwrap();
    assert_eq!(role(new), "master");
    assert!(Handle::current().metrics().num_alive_tasks() <= tasks + 2);
}

fn role(server: &RedisServer) -> String {
    match server.run("ROLE") {
        Reply::Array(parts) => match &parts[0] {
            Reply::Bytes(role) => String::from_utf8_lossy(role).into_owned(),
            _ => String::new(),
        },
        _ => String::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nobody_is_master_calls_fail_at_once_and_say_why() {
    let mut service = start().await;
    let store = connect(&service, "").await;
    // One of three is too few to agree on another.
    service.sentinels_mut()[1..].iter_mut().for_each(RedisServer::kill);
    service.servers_mut()[0].kill();
    let key = records().anonymous(b"").0;
    fails_at_once(&store, key, "which its sentinels name as master").await;
    service.sentinels_mut()[0].kill();
    fails_at_once(&store, key, "sentinel 127.0.0.1").await;
}

async fn fails_at_once(store: &RedisStore, key: StorageKey, why: &str) {
    let since = Instant::now();
    for told in 0.. {
        let began = Instant::now();
        let error = store.load(key).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
        if told >= 100 && story(&error).contains(why) {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{}", story(&error));
        sleep(Duration::from_millis(1)).await;
    }
}
