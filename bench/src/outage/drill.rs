//! One drill: three servers of one layer, users, and a store that is taken from them once for each fault.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use stayput_testkit::servers::RedisServer;
use stayput_testkit::{FaultProxy, Weather};
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::report::Report;
use super::site::{self, Kind, SERVERS};
use super::users::{Load, User};
use super::{seconds, setting};

/// How the store is taken away.
#[derive(Clone, Copy)]
enum Fault {
    /// `SIGKILL`; later started again with what it had on disk.
    Killed,
    /// `SIGSTOP`, `SIGCONT`: connections are accepted, nothing is answered.
    Hung,
    /// The network takes all and brings nothing, both ways; what it took arrives later, as packets that are sent again do.
    Partitioned,
}

/// BENCH_USERS are the users, BENCH_BEFORE, BENCH_SECONDS and BENCH_AFTER the lengths of what comes before, during and after
/// each outage.
pub(super) async fn run(layer: &str, faults: &str) {
    let faults: Vec<_> = faults.split(',').map(Fault::parse).collect();
    let mut redis = block_in_place(site::redis);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, redis.port()));
    let proxy = FaultProxy::start(address).await.expect("a free port");
    let kind = Kind::new(layer, proxy.address());
    let mut servers = Vec::new();
    for _ in 0..SERVERS {
        servers.push(kind.start().await);
    }
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let mut users = Vec::new();
    for number in 0..setting("BENCH_USERS", 200) {
        users.push(User::log_in(number, &addresses).await);
    }

    let load = Load::of(&users, &servers);
    // Connections are made and copies are warm by then.
    sleep(seconds("BENCH_WARM", 2.0)).await;
    let mut report = Report::new(layer, Instant::now());
    sleep(seconds("BENCH_BEFORE", 10.0)).await;
    report.sizes.push(servers.iter().map(site::Server::size).collect());
    for fault in faults {
        let began = Instant::now();
        block_in_place(|| fault.begin(&mut redis, &proxy));
        sleep(seconds("BENCH_SECONDS", 20.0)).await;
        block_in_place(|| fault.end(&mut redis, &proxy));
        report.outages.push((began, Instant::now()));
        sleep(seconds("BENCH_AFTER", 10.0)).await;
        report.sizes.push(servers.iter().map(site::Server::size).collect());
    }
    report.ended = Instant::now();
    let records = load.end().await;

    // Some servers never come to themselves; what is in the store is known to a new one.
    let fresh = kind.start().await;
    for user in &users {
        let account = user.account.lock().expect("unpoisoned").clone();
        report.user(&account, user.count(fresh.address).await, user.deleted());
    }
    println!("{}", report.json(&records));
}

impl Fault {
    fn parse(name: &str) -> Self {
        match name {
            "killed" => Self::Killed,
            "hung" => Self::Hung,
            "partitioned" => Self::Partitioned,
            _ => panic!("no such fault"),
        }
    }

    fn begin(self, redis: &mut RedisServer, proxy: &FaultProxy) {
        match self {
            Self::Killed => redis.kill(),
            Self::Hung => redis.pause(),
            Self::Partitioned => proxy.set(Weather::Hang),
        }
    }

    /// Returns when the store can answer.
    fn end(self, redis: &mut RedisServer, proxy: &FaultProxy) {
        match self {
            Self::Killed => redis.restart(),
            Self::Hung => redis.resume(),
            Self::Partitioned => proxy.set(Weather::Fair),
        }
    }
}
