//! Keeps a connection open: one task that makes a new one when the last is over.
//!
//! It gives up nothing and queues nothing: while the server is away, calls fail at once.

use std::sync::Arc;
use std::time::Duration;

use redis::{RedisError, RedisResult};
use stayput_core::{Random, SystemRandom};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::config::{Address, RedisConfig};
use super::link::Link;
use super::sentinel::Sentinels;
use super::tls::Tls;

/// Where a call finds the connection of the moment.
pub(super) struct Connector {
    following: Following,
    task: JoinHandle<()>,
}

/// What others need who make connections of their own to the same server. It keeps no connection up.
#[derive(Clone)]
pub(super) struct Following {
    pub(super) config: Arc<RedisConfig>,
    pub(super) tls: Option<Tls>,
    state: watch::Receiver<State>,
}

#[derive(Clone)]
enum State {
    Up(Arc<Link>),
    /// The last connection is over, and no attempt at a new one has failed yet.
    Connecting,
    /// The last attempt failed.
    Down(RedisError),
}

impl Connector {
    /// Makes the first connection.
    pub(super) async fn start(config: RedisConfig) -> RedisResult<Self> {
        let tls = config.tls.as_ref().map(Tls::new).transpose()?;
        let sentinels = Sentinels::of(&config, tls.as_ref());
        let mut dial = Dial { config: config.clone(), tls: tls.clone(), sentinels };
        let first = Arc::new(dial.attempt().await?);
        let (sender, state) = watch::channel(State::Up(Arc::clone(&first)));
        let task = tokio::spawn(dial.keep_up(first, sender));
        Ok(Self { following: Following { config: Arc::new(config), tls, state }, task })
    }

    /// Begins to make one, without waiting for it.
    pub(super) fn begin(config: RedisConfig, tls: Option<Tls>) -> Self {
        // A node of a cluster, which no sentinel watches.
        let mut dial = Dial { config: config.clone(), tls: tls.clone(), sentinels: None };
        let (sender, state) = watch::channel(State::Connecting);
        let task = tokio::spawn(async move {
            let first = dial.redial(&sender, &mut Pause::default()).await;
            sender.send_replace(State::Up(Arc::clone(&first)));
            dial.keep_up(first, sender).await;
        });
        Self { following: Following { config: Arc::new(config), tls, state }, task }
    }

    pub(super) fn follow(&self) -> Following {
        self.following.clone()
    }

    /// Whether there is one, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.following.state.borrow(), State::Up(link) if !link.is_over())
    }

    /// The connection, if there is one, as far as is known.
    pub(super) fn link_now(&self) -> Option<Arc<Link>> {
        match &*self.following.state.borrow() {
            State::Up(link) if !link.is_over() => Some(Arc::clone(link)),
            _ => None,
        }
    }

    /// The connection, or why there is none. Waits only for the first attempt after one was lost.
    pub(super) async fn link(&self) -> RedisResult<Arc<Link>> {
        let mut state = self.following.state.clone();
        loop {
            match &*state.borrow_and_update() {
                State::Up(link) if !link.is_over() => return Ok(Arc::clone(link)),
                State::Down(error) => return Err(error.clone()),
                State::Up(_) | State::Connecting => {}
            }
            if state.changed().await.is_err() {
                return Err(ended());
            }
        }
    }
}

impl Following {
    /// The server of the moment: the one of the configuration, or whom the last connection led to. `None` if the sentinels'
    /// word on it is still to come.
    pub(super) fn server(&self) -> Option<RedisConfig> {
        match (&self.config.address, &*self.state.borrow()) {
            (Address::Service(_), State::Up(link)) => {
                Some(RedisConfig { address: link.address.clone(), ..(*self.config).clone() })
            }
            (Address::Service(_), _) => None,
            _ => Some((*self.config).clone()),
        }
    }

    /// Returns when there is something else to be seen; `false` if there never will be, since the connector is gone.
    pub(super) async fn changed(&mut self) -> bool {
        self.state.changed().await.is_ok()
    }

    pub(super) fn is_over(&self) -> bool {
        self.state.has_changed().is_err()
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How to make a connection.
struct Dial {
    config: RedisConfig,
    tls: Option<Tls>,
    /// Those who say where the server is, if anybody has to.
    sentinels: Option<Sentinels>,
}

impl Dial {
    async fn attempt(&mut self) -> RedisResult<Link> {
        let open = async {
            match &mut self.sentinels {
                Some(sentinels) => sentinels.open_master().await,
                None => Link::open(&self.config, self.tls.as_ref()).await,
            }
        };
        timeout(self.config.connect_timeout, open).await.unwrap_or_else(|_| Err(silent()))
    }

    /// A connection to another server, when there is one to turn to.
    async fn next_server(&mut self) -> Link {
        match &mut self.sentinels {
            Some(sentinels) => sentinels.next_master().await,
            None => std::future::pending().await,
        }
    }

    /// Waits before the next attempt, unless there are news of where the server is.
    async fn rest(&mut self, pause: Duration) {
        match &mut self.sentinels {
            Some(sentinels) => {
                let _ = timeout(pause, sentinels.news()).await;
            }
            None => sleep(pause).await,
        }
    }

    async fn keep_up(mut self, mut link: Arc<Link>, state: watch::Sender<State>) {
        let mut pause = Pause::default();
        loop {
            let since = Instant::now();
            let next = tokio::select! {
                () = link.over() => None,
                next = self.next_server() => Some(Arc::new(next)),
            };
            if let Some(next) = next {
                tracing::info!(server = %self.config, "Redis has another master");
                state.send_replace(State::Up(Arc::clone(&next)));
                link.give_up();
                link = next;
                continue;
            }
            state.send_replace(State::Connecting);
            // Calls that are still under way keep it.
            drop(link);
            if since.elapsed() < STEADY {
                sleep(pause.next()).await;
            } else {
                pause = Pause::default();
            }
            tracing::warn!(server = %self.config, "the connection to Redis is lost");
            link = self.redial(&state, &mut pause).await;
            tracing::info!(server = %self.config, "connected to Redis again");
            state.send_replace(State::Up(Arc::clone(&link)));
        }
    }

    async fn redial(&mut self, state: &watch::Sender<State>, pause: &mut Pause) -> Arc<Link> {
        loop {
            match self.attempt().await {
                Ok(link) => return Arc::new(link),
                Err(error) => {
                    tracing::debug!(server = %self.config, %error, "no connection to Redis");
                    state.send_replace(State::Down(error));
                }
            }
            self.rest(pause.next()).await;
        }
    }
}

/// How long to wait before the next attempt: twice as long each time, up to half a second, and never the same for two servers.
pub(super) struct Pause {
    failures: u32,
    longest: Duration,
}

impl Default for Pause {
    fn default() -> Self {
        Self::up_to(LONGEST)
    }
}

impl Pause {
    pub(super) fn up_to(longest: Duration) -> Self {
        Self { failures: 0, longest }
    }

    pub(super) fn next(&mut self) -> Duration {
        let longest = self.longest.min(SHORTEST * 2u32.saturating_pow(self.failures));
        self.failures += 1;
        let mut byte = [0];
        SystemRandom.fill(&mut byte);
        longest * (128 + u32::from(byte[0]) / 2) / 256
    }
}

pub(super) fn silent() -> RedisError {
    let cause = "the server accepts connections and doesn't answer";
    std::io::Error::new(std::io::ErrorKind::TimedOut, cause).into()
}

fn ended() -> RedisError {
    std::io::Error::other("the store's runtime has ended").into()
}

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);

/// A connection that lasted so long was a good one: the next attempt needn't wait.
const STEADY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_second_and_are_not_all_the_same() {
        let pauses = || {
            let mut pause = Pause::default();
            (0..20).map(|_| pause.next()).collect::<Vec<_>>()
        };
        let (one, other) = (pauses(), pauses());
        assert!(one[0] <= SHORTEST && one[0] >= SHORTEST / 2);
        assert!(one[10..].iter().all(|pause| (LONGEST / 2..=LONGEST).contains(pause)), "{one:?}");
        assert_ne!(one, other);
    }
}
