//! The store dies, hangs or is cut off under real servers: nobody is logged out, everybody goes on reading, nothing acknowledged is
//! lost, and no answer deletes a cookie. `bench/outage.py` has many users, long outages, and other session layers beside it.

mod many;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;
use stayput_testkit::servers::{RedisServer, RedisServerOptions};
use stayput_testkit::{Browser, FaultProxy, Reply, Weather};
use tempfile::TempDir;

use crate::up::{Up, free_port};

const USERS: usize = 20;

/// How long the store is away.
const OUTAGE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_dead_everybody_stays_logged_in_and_reads() {
    everybody_stays_logged_in_and_reads(Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_hangs_everybody_stays_logged_in_and_reads() {
    everybody_stays_logged_in_and_reads(Fault::Hung).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_cut_off_everybody_stays_logged_in_and_reads() {
    everybody_stays_logged_in_and_reads(Fault::Partitioned).await;
}

/// How the store is taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// `SIGKILL`; started again with what it had on disk.
    Killed,
    /// `SIGSTOP`: it accepts connections and answers nothing.
    Hung,
    /// The network takes what is sent and doesn't bring it, until it is mended.
    Partitioned,
}

/// Sample servers behind the gateway, and a Redis server behind a proxy.
struct Site {
    redis: RedisServer,
    proxy: FaultProxy,
    up: Up,
    _dir: TempDir,
}

impl Site {
    async fn start() -> Self {
        let redis = RedisServerOptions::default().arguments("--appendonly yes --appendfsync always").start();
        let proxy = FaultProxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, redis.port()))).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let url = format!("redis://{}", proxy.address());
        let up = Up::start(dir.path(), free_port(), &["--store", &url]);
        Self { redis, proxy, up, _dir: dir }
    }

    fn take_away(&mut self, fault: Fault) {
        match fault {
            Fault::Killed => self.redis.kill(),
            Fault::Hung => self.redis.pause(),
            Fault::Partitioned => self.proxy.set(Weather::Hang),
        }
    }

    fn give_back(&mut self, fault: Fault) {
        match fault {
            Fault::Killed => self.redis.restart(),
            Fault::Hung => self.redis.resume(),
            Fault::Partitioned => self.proxy.set(Weather::Fair),
        }
    }

    /// Users who are logged in, have counted one visit, and are known to the server they are on.
    async fn users(&self) -> Vec<User> {
        let mut users = Vec::new();
        for number in 0..USERS {
            let user = User { browser: self.up.browser(), name: format!("user-{number}") };
            user.browser.post("/login", &[("user", &user.name)]).await.unwrap();
            assert_eq!(user.visit().await.status, StatusCode::OK);
            user.reads(1).await;
            users.push(user);
        }
        // A server that begins only now to be told of changes has let go of what it knew before.
        for user in &users {
            user.reads(1).await;
        }
        users
    }
}

struct User {
    browser: Browser,
    name: String,
}

impl User {
    /// Reads, which must not fail, and find the user logged in with so many visits.
    async fn reads(&self, visits: u64) {
        let reply = self.browser.get("/me").await.unwrap();
        assert_eq!(reply.status, StatusCode::OK, "{}: {}", self.name, reply.text);
        let me = reply.json();
        assert_eq!((&me["user"], &me["visits"]), (&json!(self.name), &json!(visits)));
        self.keeps_cookies(&reply);
    }

    /// Counts a visit, if the store lets it.
    async fn visit(&self) -> Reply {
        let reply = self.browser.post("/visits", &[]).await.unwrap();
        self.keeps_cookies(&reply);
        reply
    }

    /// Counts a visit as soon as the store lets it, and gives the count.
    async fn visits_again(&self) -> u64 {
        let began = Instant::now();
        loop {
            let reply = self.visit().await;
            if reply.status == StatusCode::OK {
                return reply.json()["visits"].as_u64().unwrap();
            }
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}: {}", self.name, reply.text);
            assert!(began.elapsed() < Duration::from_secs(30), "{} can't write again", self.name);
        }
    }

    fn keeps_cookies(&self, reply: &Reply) {
        let deleted = reply.cookies.iter().find(|cookie| is_deletion(cookie));
        assert_eq!(deleted, None, "{}: an answer of {}", self.name, reply.status);
    }
}

/// Whether a `Set-Cookie` has the browser forget a cookie.
fn is_deletion(cookie: &str) -> bool {
    let cookie = cookie.to_ascii_lowercase();
    let (pair, attributes) = cookie.split_once(';').unwrap_or((&cookie, ""));
    pair.ends_with('=') || attributes.contains("max-age=0") || attributes.contains(" 1970 ")
}

async fn everybody_stays_logged_in_and_reads(fault: Fault) {
    let mut site = Site::start().await;
    let users = site.users().await;
    site.take_away(fault);
    let (began, mut rounds, mut longest) = (Instant::now(), 0, Duration::ZERO);
    while began.elapsed() < OUTAGE || rounds < 3 {
        for user in &users {
            let asked = Instant::now();
            user.reads(1).await;
            let reply = user.visit().await;
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}: {}", user.name, reply.text);
            if rounds > 0 {
                longest = longest.max(asked.elapsed());
            }
        }
        rounds += 1;
    }
    // Nobody waits for a store that is known to be out: after the first round, in which some have to find out.
    assert!(longest < Duration::from_millis(900), "{longest:?}");
    site.give_back(fault);
    let back = Instant::now();
    for user in &users {
        let visits = user.visits_again().await;
        // What was refused because it was in doubt may have been counted.
        assert!((2..=2 + rounds).contains(&visits), "{}: {visits}", user.name);
        user.reads(visits).await;
    }
    println!("{fault:?}: {rounds} rounds of {USERS} users, all back after {:?}", back.elapsed());
}
