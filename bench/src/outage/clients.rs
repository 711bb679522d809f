//! A browser as far as the drill needs it: a cookie jar, some connections, and no endless patience.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::http::{Answer, Connection};

/// How long a user waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// As many as browsers have to one host.
const CONNECTIONS: usize = 6;

#[derive(Default)]
pub(super) struct Client {
    jar: Mutex<BTreeMap<String, String>>,
    idle: Mutex<HashMap<SocketAddr, Connection>>,
    busy: AtomicUsize,
    /// The names of cookies that answers deleted.
    deleted: Mutex<Vec<String>>,
}

/// What became of a request.
pub(super) enum Outcome {
    Answer(Answer),
    /// There was no complete answer in time.
    TooLate,
    /// The connection failed.
    Broken,
    /// It was never sent: all connections wait for answers.
    Stalled,
}

impl Client {
    pub(super) async fn send(&self, server: SocketAddr, method: &str, path: &str) -> Outcome {
        if self.busy.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            self.busy.fetch_sub(1, Ordering::Relaxed);
            return Outcome::Stalled;
        }
        let outcome = timeout(PATIENCE, self.ask(server, method, path)).await;
        self.busy.fetch_sub(1, Ordering::Relaxed);
        match outcome {
            Ok(Ok(answer)) => Outcome::Answer(answer),
            Ok(Err(_)) => Outcome::Broken,
            Err(_) => Outcome::TooLate,
        }
    }

    /// The names of the cookies that were deleted since this was last asked.
    pub(super) fn deleted(&self) -> Vec<String> {
        std::mem::take(&mut self.deleted.lock().expect("unpoisoned"))
    }

    async fn ask(&self, server: SocketAddr, method: &str, path: &str) -> std::io::Result<Answer> {
        let idle = self.idle.lock().expect("unpoisoned").remove(&server);
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(server).await?,
        };
        let cookies = self.cookies();
        let answer = connection.ask(method, path, &cookies).await?;
        // One is kept for each server: what a crowd in an outage needed is not what servers are measured with afterwards.
        if !answer.is_last {
            self.idle.lock().expect("unpoisoned").insert(server, connection);
        }
        answer.cookies.iter().for_each(|cookie| self.keep(cookie));
        Ok(answer)
    }

    /// What it would send.
    pub(super) fn cookies(&self) -> String {
        let jar = self.jar.lock().expect("unpoisoned");
        jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn keep(&self, cookie: &str) {
        let mut parts = cookie.split(';').map(str::trim);
        let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).expect("a cookie is a pair");
        let mut jar = self.jar.lock().expect("unpoisoned");
        if value.is_empty() || parts.any(ends_it) {
            jar.remove(name);
            self.deleted.lock().expect("unpoisoned").push(name.to_owned());
        } else {
            jar.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// Whether an attribute has the browser forget the cookie.
fn ends_it(attribute: &str) -> bool {
    let attribute = attribute.to_ascii_lowercase();
    let age = attribute.strip_prefix("max-age=").and_then(|age| age.parse::<i64>().ok());
    age.is_some_and(|age| age <= 0) || (attribute.starts_with("expires=") && attribute.contains(" 1970 "))
}
