//! Who is master: what sentinels say, and what the server itself says to that.
//!
//! No server is used because it once was the master, or because somebody names it: only one that says itself that it is.

mod told;
mod url;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use redis::{RedisError, RedisResult, Value};
use stayput_core::StoreErrorKind;
use tokio::time::timeout;

use self::told::Told;
pub(super) use self::url::{Host, Service, parse};
use self::watch::Watch;
use super::config::{Address, RedisConfig};
use super::fault;
use super::link::Link;
use super::tls::Tls;

/// The sentinels of a service, and what is known by them.
pub(super) struct Sentinels {
    asker: Asker,
    /// As for any of the service's servers.
    config: RedisConfig,
    /// Who failed goes to the end, so that the one in front is the one that answered last.
    order: VecDeque<Host>,
    /// By whose word the connection of the moment was made.
    current: Told,
    watch: Watch,
}

impl Sentinels {
    /// Those of the configuration, if it names any.
    pub(super) fn of(config: &RedisConfig, tls: Option<&Tls>) -> Option<Self> {
        let Address::Service(service) = &config.address else { return None };
        let own = RedisConfig {
            user: service.user.clone(),
            password: service.password.clone(),
            database: 0,
            ..config.clone()
        };
        let limit = config.connect_timeout / STEPS;
        let asker = Asker { config: own, tls: tls.cloned(), service: service.name.clone(), limit };
        let order = VecDeque::from(service.sentinels.clone());
        let watch = Watch::start(asker.clone(), order.clone());
        Some(Self { asker, config: config.clone(), order, current: Told::nothing(), watch })
    }

    /// Asks one sentinel after the other, until one names a server that can be reached and is master.
    ///
    /// A sentinel may be behind the others: it names a server that is a replica by now, or gone.
    pub(super) async fn open_master(&mut self) -> RedisResult<Link> {
        // Who answers now has the latest news.
        self.watch.mark_seen();
        let (mut tried, mut worst) = (Vec::new(), None);
        for _ in 0..self.order.len() {
            match self.follow_first(&mut tried).await {
                Ok(Some(link)) => return Ok(link),
                Ok(None) => {}
                Err(error) => {
                    // What doesn't pass by itself says most; then what is wrong with a master; then what with sentinels.
                    let weight = (fault::of(&error).kind == StoreErrorKind::Refused, tried.len());
                    if worst.as_ref().is_none_or(|(before, _)| *before < weight) {
                        worst = Some((weight, error));
                    }
                }
            }
            self.order.rotate_left(1);
        }
        let none = || io::Error::other("there is no sentinel").into();
        Err(worst.map_or_else(none, |(_, error)| error))
    }

    /// Asks the one in front, and nothing more if it names who was tried already.
    async fn follow_first(&mut self, tried: &mut Vec<Host>) -> RedisResult<Option<Link>> {
        let told = self.asker.ask(&self.order[0]).await?;
        if tried.contains(&told.master) {
            return Ok(None);
        }
        tried.push(told.master.clone());
        let link = self.open(&told.master).await?;
        self.current = told;
        Ok(Some(link))
    }

    /// A connection to another master, when a sentinel tells of one while the last is still there.
    ///
    /// Only of a later failover than the one by which that became master: a sentinel that is behind the others, with a master
    /// that nobody has told yet that it isn't any more, must not get the store back.
    pub(super) async fn next_master(&mut self) -> Link {
        loop {
            if let Some(told) = self.watch.told().filter(|told| told.epoch > self.current.epoch) {
                if told.master == self.current.master {
                    self.current = told;
                } else if let Ok(link) = self.open(&told.master).await {
                    self.current = told;
                    return link;
                }
            }
            // One that couldn't be reached may be in a moment.
            let _ = timeout(AGAIN, self.watch.news()).await;
        }
    }

    /// Returns when a sentinel tells something else than before.
    pub(super) async fn news(&mut self) {
        self.watch.news().await;
    }

    async fn open(&self, master: &Host) -> RedisResult<Link> {
        let open = async {
            let link = Link::open(&self.config.at(master), self.asker.tls.as_ref()).await?;
            let role = link.send(&redis::cmd("ROLE")).await?;
            if is_master(&role) { Ok(link) } else { Err(io::Error::other(REPLICA).into()) }
        };
        let outcome = timeout(self.asker.limit, open).await.unwrap_or_else(|_| Err(late()));
        outcome.map_err(|error| of_whom(&format!("{master}, which its sentinels name as master"), error))
    }
}

/// Asks sentinels.
#[derive(Clone)]
struct Asker {
    /// With the sentinels' own login.
    config: RedisConfig,
    tls: Option<Tls>,
    service: String,
    /// How long one of them has to be reached and to answer.
    limit: Duration,
}

impl Asker {
    async fn ask(&self, sentinel: &Host) -> RedisResult<Told> {
        let ask = async {
            let link = Link::open(&self.config.at(sentinel), self.tls.as_ref()).await?;
            told::by(&link, &self.service).await
        };
        let outcome = timeout(self.limit, ask).await.unwrap_or_else(|_| Err(late()));
        outcome.map_err(|error| of_sentinel(sentinel, error))
    }
}

pub(super) fn is_master(role: &Value) -> bool {
    let Value::Array(parts) = role else { return false };
    matches!(parts.first(), Some(Value::BulkString(word)) if word == b"master")
}

/// An error with its place. What a server says stays as it is: its code has a meaning.
fn of_whom(whom: &str, error: RedisError) -> RedisError {
    if error.is_io_error() { io::Error::other(format!("{whom}: {error}")).into() } else { error }
}

/// What a sentinel says is not said of the URL's user and password. Of its text only the code is kept: one of long ago would
/// repeat the password in it.
fn of_sentinel(sentinel: &Host, error: RedisError) -> RedisError {
    if error.kind() == redis::ErrorKind::InvalidClientConfig || error.is_io_error() {
        return of_whom(&format!("sentinel {sentinel}"), error);
    }
    let detail = format!("{sentinel}: {}", error.code().unwrap_or("it can't be understood"));
    (redis::ErrorKind::InvalidClientConfig, REFUSED, detail).into()
}

fn late() -> RedisError {
    io::Error::new(io::ErrorKind::TimedOut, "it doesn't answer").into()
}

const REPLICA: &str = "it is a replica; a failover is under way";

const REFUSED: &str =
    "a sentinel refuses to be asked; name its user and password by ?sentinel_user= and ?sentinel_password=";

/// How many parties may hang before an attempt at a connection is given up.
const STEPS: u32 = 4;

/// After which a master that was told of, and couldn't be reached, is tried again.
const AGAIN: Duration = Duration::from_secs(1);
