//! Users who are logged in and go on clicking, whatever happens: a request each 100 to 200 ms, a fifth of them writes, at a server
//! chosen anew each time (or always the same, if BENCH_STICKY is 1). They don't slow down with the servers.
//!
//! A user has one write under way at a time: parallel updates, which some layers lose, are not what the drill is about.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep_until;

use super::clients::{Client, Outcome};
use super::setting;
use super::site::{SERVERS, Server};

pub(super) struct User {
    name: String,
    client: Client,
    home: usize,
    is_writing: AtomicBool,
    pub(super) account: Mutex<Account>,
}

/// What the user knows of their counter and login.
#[derive(Clone, Default)]
pub(super) struct Account {
    pub(super) acknowledged: u64,
    /// Writes without an answer, or with an error for one: they may have happened.
    pub(super) in_doubt: u64,
    /// The highest count that was acknowledged.
    seen: u64,
    /// Reads that were sent after a count had been acknowledged, and told a lower one.
    pub(super) went_back: u64,
    pub(super) was_anonymous: bool,
}

/// A request, for the statistics.
#[derive(Clone, Copy)]
pub(super) struct Record {
    pub(super) sent: Instant,
    pub(super) ended: Instant,
    /// How late the drill itself was.
    pub(super) late: Duration,
    pub(super) is_write: bool,
    pub(super) result: Outcomes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcomes {
    Done,
    Anonymous,
    /// An answer of 500 or above.
    Refused,
    TooLate,
    Broken,
    Stalled,
}

impl User {
    pub(super) async fn log_in(number: usize, servers: &[SocketAddr]) -> Arc<Self> {
        let (name, home) = (format!("user-{number}"), number % SERVERS);
        let user = Self {
            name,
            client: Client::default(),
            home,
            is_writing: AtomicBool::default(),
            account: Mutex::default(),
        };
        let path = format!("/login/{}", user.name);
        let Outcome::Answer(answer) = user.client.send(servers[home], "GET", &path).await else {
            panic!("a login fails")
        };
        assert_eq!(answer.status, 200, "a login fails");
        user.client.deleted();
        Arc::new(user)
    }

    /// The user's counter as `server` has it; `None` if it has the user logged out.
    pub(super) async fn count(&self, server: SocketAddr) -> Option<u64> {
        match self.client.send(server, "GET", "/read").await {
            Outcome::Answer(answer) if answer.status == 200 => Some(self.parse(&answer.body)),
            Outcome::Answer(answer) if answer.status == 401 => None,
            _ => panic!("a new server can't read"),
        }
    }

    /// The cookies that were deleted since the login.
    pub(super) fn deleted(&self) -> Vec<String> {
        self.client.deleted()
    }

    async fn click(&self, servers: &[SocketAddr], is_sticky: bool, due: Instant) -> Record {
        let is_write = fastrand::u8(..5) == 0 && !self.is_writing.swap(true, Ordering::Relaxed);
        let server = servers[if is_sticky { self.home } else { fastrand::usize(..servers.len()) }];
        let (method, path) = if is_write { ("POST", "/write") } else { ("GET", "/read") };
        let floor = self.account.lock().expect("unpoisoned").seen;
        let sent = Instant::now();
        let outcome = self.client.send(server, method, path).await;
        let ended = Instant::now();
        let result = self.note(is_write, floor, &outcome);
        if is_write {
            self.is_writing.store(false, Ordering::Relaxed);
        }
        Record { sent, ended, late: sent.saturating_duration_since(due), is_write, result }
    }

    fn note(&self, is_write: bool, floor: u64, outcome: &Outcome) -> Outcomes {
        let mut account = self.account.lock().expect("unpoisoned");
        let result = match outcome {
            Outcome::Answer(answer) if answer.status == 200 => {
                let count = self.parse(&answer.body);
                if is_write {
                    account.acknowledged += 1;
                    account.seen = account.seen.max(count);
                }
                account.went_back += u64::from(count < floor);
                return Outcomes::Done;
            }
            Outcome::Answer(answer) if answer.status == 401 => {
                account.was_anonymous = true;
                return Outcomes::Anonymous;
            }
            Outcome::Answer(answer) => {
                assert!(answer.status >= 500, "the application doesn't answer {}", answer.status);
                Outcomes::Refused
            }
            Outcome::TooLate => Outcomes::TooLate,
            Outcome::Broken => Outcomes::Broken,
            Outcome::Stalled => return Outcomes::Stalled,
        };
        account.in_doubt += u64::from(is_write);
        result
    }

    /// The count in an answer, which must be this user's.
    fn parse(&self, body: &str) -> u64 {
        let (name, count) = body.split_once(' ').expect("a name and a count");
        assert_eq!(name, self.name, "somebody else's session");
        count.parse().expect("a count")
    }
}

/// All users' requests, until it is ended.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Vec<Record>>>,
}

impl Load {
    pub(super) fn of(users: &[Arc<User>], servers: &[Server]) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let servers: Arc<[_]> = servers.iter().map(|server| server.address).collect();
        let start = |user: &Arc<User>| tokio::spawn(go_on(user.clone(), servers.clone(), stop.clone()));
        Self { tasks: users.iter().map(start).collect(), stop }
    }

    /// What became of all requests, in the end also of those under way.
    pub(super) async fn end(self) -> Vec<Record> {
        self.stop.store(true, Ordering::Relaxed);
        let mut records = Vec::new();
        for task in self.tasks {
            records.extend(task.await.expect("users don't panic"));
        }
        records
    }
}

async fn go_on(user: Arc<User>, servers: Arc<[SocketAddr]>, stop: Arc<AtomicBool>) -> Vec<Record> {
    let is_sticky = setting("BENCH_STICKY", 0) == 1;
    let (mut clicks, mut records) = (JoinSet::new(), Vec::new());
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        due += Duration::from_micros(fastrand::u64(100_000..200_000));
        sleep_until(due.into()).await;
        let (user, servers) = (user.clone(), servers.clone());
        clicks.spawn(async move { user.click(&servers, is_sticky, due).await });
        while let Some(click) = clicks.try_join_next() {
            records.push(click.expect("users don't panic"));
        }
    }
    records.extend(clicks.join_all().await);
    records
}
