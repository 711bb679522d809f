//! The store dies or hangs under real servers: nobody is logged out, everybody goes on reading, nothing acknowledged is lost.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;
use stayput_testkit::Browser;
use stayput_testkit::servers::RedisServerOptions;

use crate::up::{Up, free_port};

const USERS: usize = 20;

/// How long the store is away.
const OUTAGE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_hangs_or_is_dead_everybody_stays_logged_in_and_reads() {
    for hangs in [true, false] {
        let arguments = "--appendonly yes --appendfsync always";
        let mut redis = RedisServerOptions::default().arguments(arguments).start();
        let dir = tempfile::tempdir().unwrap();
        let url = format!("redis://127.0.0.1:{}", redis.port());
        let up = Up::start(dir.path(), free_port(), &["--store", &url]);
        let mut users = Vec::new();
        for number in 0..USERS {
            let (browser, name) = (up.browser(), format!("user-{number}"));
            browser.post("/login", &[("user", &name)]).await.unwrap();
            assert_eq!(browser.post("/visits", &[]).await.unwrap().status, StatusCode::OK);
            users.push((browser, name));
        }
        for (browser, name) in &users {
            assert!(reads(browser, name, 1).await, "before");
        }

        if hangs {
            redis.pause();
        } else {
            redis.kill();
        }
        let (began, mut rounds, mut refused) = (Instant::now(), 0, 0);
        while began.elapsed() < OUTAGE || rounds < 3 {
            for (browser, name) in &users {
                assert!(reads(browser, name, 1).await, "{name}, {rounds} rounds into the outage");
                let reply = browser.post("/visits", &[]).await.unwrap();
                assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}", reply.text);
                refused += 1;
            }
            rounds += 1;
        }
        if hangs {
            redis.resume();
        } else {
            redis.restart();
        }
        let back = Instant::now();
        for (browser, name) in &users {
            let mut reply = browser.post("/visits", &[]).await.unwrap();
            while reply.status != StatusCode::OK {
                assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{name}: {}", reply.text);
                assert!(back.elapsed() < Duration::from_secs(30), "{name} can't write again");
                reply = browser.post("/visits", &[]).await.unwrap();
            }
            // What was refused because it was in doubt may have been counted.
            let visits = reply.json()["visits"].as_u64().unwrap();
            assert!((2..=2 + rounds).contains(&visits), "{name}: {visits}");
            assert!(reads(browser, name, visits).await, "afterwards");
        }
        println!(
            "hangs: {hangs}; {rounds} rounds, {refused} writes refused, all back after {:?}",
            back.elapsed()
        );
    }
}

/// Whether the user is logged in and sees so many visits.
async fn reads(browser: &Browser, name: &str, visits: u64) -> bool {
    let reply = browser.get("/me").await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{name}: {}", reply.text);
    let me = reply.json();
    (&me["user"], &me["visits"]) == (&json!(name), &json!(visits))
}
