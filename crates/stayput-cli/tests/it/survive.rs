//! Nobody is logged out and nothing acknowledged is lost when servers, or all of Stayput, are killed under load.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::json;
use stayput_testkit::Browser;
use tokio::task::JoinHandle;

use crate::up::{Up, send, wait_for_end_of};

const USERS: usize = 50;

/// A user with a browser, and what became of their requests.
#[derive(Clone)]
pub(crate) struct User {
    name: String,
    pub(crate) browser: Browser,
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Tally {
    acknowledged: AtomicU64,
    failed_posts: AtomicU64,
    failed_gets: AtomicU64,
    rounds: AtomicU64,
    /// What the first of those that failed said.
    failure: OnceLock<String>,
}

impl User {
    pub(crate) async fn log_in(up: &Up, number: usize) -> Self {
        let user = Self { name: format!("user-{number}"), browser: up.browser(), tally: Arc::default() };
        let reply = user.browser.post("/cart", &[("item", &user.name)]).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        let reply = user.browser.post("/login", &[("user", &user.name)]).await.unwrap();
        assert_eq!(reply.json()["user"], json!(user.name));
        user
    }

    /// The server that answers, after checking that this is still the user's session.
    async fn server(&self) -> String {
        let reply = self.browser.get("/me").await.unwrap();
        assert_eq!(reply.status, StatusCode::OK, "{}: {}", self.name, reply.text);
        let me = reply.json();
        assert_eq!((&me["user"], &me["cart"]), (&json!(self.name), &json!([self.name])));
        me["server"].as_str().unwrap().to_owned()
    }

    async fn counted(&self) -> u64 {
        self.browser.get("/me").await.unwrap().json()["visits"].as_u64().unwrap()
    }

    /// Reads and counts visits until told to stop.
    async fn use_the_shop(self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            match self.browser.get("/me").await {
                Ok(reply) if reply.status == StatusCode::OK => {}
                _ => drop(self.tally.failed_gets.fetch_add(1, Ordering::Relaxed)),
            }
            match self.browser.post("/visits", &[]).await {
                Ok(reply) if reply.status == StatusCode::OK => {
                    self.tally.acknowledged.fetch_add(1, Ordering::Relaxed)
                }
                failed => {
                    let _ = self.tally.failure.set(format!("{failed:?}"));
                    self.tally.failed_posts.fetch_add(1, Ordering::Relaxed)
                }
            };
            self.tally.rounds.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Panics if any of their requests failed, or was counted more or less than once.
    pub(crate) async fn lost_nothing(&self) {
        let counts = [&self.tally.failed_gets, &self.tally.failed_posts, &self.tally.acknowledged];
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        let said = self.tally.failure.get();
        assert_eq!(counts, [0, 0, self.counted().await], "{}: {said:?}", self.name);
        self.server().await;
    }

    fn rounds(&self) -> u64 {
        self.tally.rounds.load(Ordering::Relaxed)
    }
}

pub(crate) struct Load {
    users: Vec<User>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn of(users: &[User]) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let tasks = users.iter().map(|user| tokio::spawn(user.clone().use_the_shop(stop.clone()))).collect();
        Self { users: users.to_vec(), stop, tasks }
    }

    /// Returns when every user has gone through `more` further rounds.
    pub(crate) async fn runs_for(&self, more: u64) {
        let goals: Vec<_> = self.users.iter().map(|user| user.rounds() + more).collect();
        while self.users.iter().zip(&goals).any(|(user, goal)| user.rounds() < *goal) {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn ends(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

async fn fifty_users(up: &Up) -> Vec<User> {
    let mut users = Vec::new();
    for number in 0..USERS {
        users.push(User::log_in(up, number).await);
    }
    users
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_users_stay_logged_in_when_a_server_is_killed_under_load() {
    let (up, _dir, _) = Up::fresh();
    let users = fifty_users(&up).await;
    let mut before = Vec::new();
    for user in &users {
        let server = user.server().await;
        for _ in 0..3 {
            assert_eq!(user.server().await, server, "{} stays on one server", user.name);
        }
        before.push(server);
    }
    let mut shares: BTreeMap<&str, usize> = BTreeMap::new();
    for server in &before {
        *shares.entry(server).or_default() += 1;
    }
    let (least, most) = (shares.values().min().unwrap(), shares.values().max().unwrap());
    assert!(shares.len() == 3 && most < &(2 * least), "{shares:?}");

    let load = Load::of(&users);
    load.runs_for(5).await;
    let killed = up.servers().remove(0);
    send(killed.pid, Signal::KILL);
    load.runs_for(10).await;
    load.ends().await;

    let mut failed_posts = 0;
    for (user, before) in users.iter().zip(&before) {
        let tally = &user.tally;
        let (acknowledged, failed) =
            (tally.acknowledged.load(Ordering::Relaxed), tally.failed_posts.load(Ordering::Relaxed));
        let counted = user.counted().await;
        assert_eq!(tally.failed_gets.load(Ordering::Relaxed), 0, "{}", user.name);
        assert!(failed <= u64::from(*before == killed.name), "{}: {failed} failed posts", user.name);
        assert!(acknowledged <= counted && counted <= acknowledged + failed, "{}", user.name);
        failed_posts += failed;
        let now = user.server().await;
        if *before == killed.name {
            assert_ne!(now, killed.name, "{} has a new server", user.name);
        } else {
            assert_eq!(now, *before, "{} has nothing to do with it", user.name);
        }
    }
    println!("shares {shares:?}; {failed_posts} posts in flight at the kill got an error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_is_there_again_when_everything_was_killed_under_load() {
    let (up, dir, port) = Up::fresh();
    let users = fifty_users(&up).await;
    let load = Load::of(&users);
    load.runs_for(5).await;
    let servers = up.servers();
    up.kill();
    for server in &servers {
        wait_for_end_of(server.pid);
    }
    load.ends().await;

    let up = Up::start(dir.path(), port, &[]);
    for user in &users {
        let counted = user.counted().await;
        let acknowledged = user.tally.acknowledged.load(Ordering::Relaxed);
        let failed = user.tally.failed_posts.load(Ordering::Relaxed);
        assert!(
            acknowledged > 0 && acknowledged <= counted && counted <= acknowledged + failed,
            "{}",
            user.name
        );
        user.server().await;
    }
    drop(up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_parallel_visits_through_three_processes_none_is_lost() {
    let (up, _dir, _) = Up::fresh();
    let browser = up.browser();
    browser.post("/login", &[("user", "alice")]).await.unwrap();
    let servers = up.servers();
    assert_eq!(servers.len(), 3);
    let visits: Vec<_> = (0..200)
        .map(|n| {
            let tab = browser.at(&servers[n % 3].url);
            tokio::spawn(async move { tab.post("/visits", &[]).await.unwrap() })
        })
        .collect();
    let mut counts = Vec::new();
    for visit in visits {
        let reply = visit.await.unwrap();
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
        counts.push(reply.json()["visits"].as_u64().unwrap());
    }
    counts.sort_unstable();
    assert_eq!(counts, (1..=200).collect::<Vec<_>>(), "each saw its own");
    assert_eq!(browser.get("/me").await.unwrap().json()["visits"], 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_started_again() {
    let (up, _dir, _) = Up::fresh();
    let killed = up.servers().remove(1);
    send(killed.pid, Signal::KILL);
    let again = Browser::new(&killed.url);
    let reply = loop {
        match again.get("/server").await {
            Ok(reply) => break reply.json(),
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(reply["server"], json!(killed.name));
    assert_ne!(reply["pid"], json!(killed.pid));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_and_sigterm_end_everything_gracefully() {
    for signal in [Signal::INT, Signal::TERM] {
        let (up, dir, port) = Up::fresh();
        let users = vec![User::log_in(&up, 0).await, User::log_in(&up, 1).await];
        let load = Load::of(&users);
        load.runs_for(3).await;
        let servers = up.servers();
        let (status, _) = up.stop(signal);
        assert!(status.success(), "{status}");
        for server in servers {
            wait_for_end_of(server.pid);
        }
        load.ends().await;
        let _up = Up::start(dir.path(), port, &[]);
        for user in &users {
            assert!(user.counted().await >= user.tally.acknowledged.load(Ordering::Relaxed));
        }
    }
}
