//! One connection: many calls at a time, answered in order.
//!
//! It never reconnects. When its driver has ended, or it was given up, it is over.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, Pipeline, ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult,
    Value,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::config::RedisConfig;
use super::pulse::Pulse;
use super::stream::Stream;
use super::tls::Tls;

/// An open connection, logged in, with its database selected. Dropped, it is closed, whatever is still to be answered.
pub(super) struct Link {
    connection: MultiplexedConnection,
    pulse: Arc<Pulse>,
    end: Arc<End>,
    /// Calls whose answers nobody waits for any more.
    abandoned: AtomicUsize,
    driver: JoinHandle<()>,
}

#[derive(Default)]
struct End {
    is_over: AtomicBool,
    waiting: Notify,
}

impl Link {
    pub(super) async fn open(config: &RedisConfig, tls: Option<&Tls>) -> RedisResult<Self> {
        Self::open_with(config, tls, &login(config), untimed()).await
    }

    /// Opens one that also listens on a channel: each message is told to `heard`, which then may ask what it is about.
    pub(super) async fn listen(
        config: &RedisConfig,
        tls: Option<&Tls>,
        channel: &str,
        heard: Arc<Notify>,
    ) -> RedisResult<Self> {
        let login = login(config).set_protocol(ProtocolVersion::RESP3);
        let tell = move |_| {
            heard.notify_one();
            Ok::<_, Infallible>(())
        };
        let link = Self::open_with(config, tls, &login, untimed().set_push_sender(tell)).await?;
        link.connection.clone().subscribe(channel).await?;
        Ok(link)
    }

    async fn open_with(
        config: &RedisConfig,
        tls: Option<&Tls>,
        login: &RedisConnectionInfo,
        options: AsyncConnectionConfig,
    ) -> RedisResult<Self> {
        let pulse = Arc::new(Pulse::new());
        let stream = Stream::open(config, tls, Arc::clone(&pulse)).await?;
        let (connection, driver) = MultiplexedConnection::new_with_config(login, stream, options).await?;
        let end = Arc::new(End::default());
        let driver = tokio::spawn({
            let end = Arc::clone(&end);
            async move {
                driver.await;
                end.come();
            }
        });
        Ok(Self { connection, pulse, end, abandoned: AtomicUsize::new(0), driver })
    }

    /// Sends one command.
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let waiting = Waiting::on(self);
        let outcome = self.connection.clone().send_packed_command(command).await;
        waiting.end(outcome)?.extract_error()
    }

    /// Sends one command for a slot that is on its way to this node: the word that lets it in goes in the same message, so that
    /// no other call's command comes between.
    pub(super) async fn send_asking(&self, command: &Cmd) -> RedisResult<Value> {
        let mut both = Pipeline::with_capacity(2);
        both.cmd("ASKING").add_command(command.clone());
        self.send_all(&both).await?.pop().unwrap_or_else(|| Err(unanswered()))
    }

    /// Sends several at once; each has an answer of its own.
    pub(super) async fn send_all(&self, commands: &Pipeline) -> RedisResult<Vec<RedisResult<Value>>> {
        let waiting = Waiting::on(self);
        let outcome = self.connection.clone().send_packed_commands(commands, 0, commands.len()).await;
        Ok(waiting.end(outcome)?.into_iter().map(Value::extract_error).collect())
    }

    /// Gives the connection up: it gets no more calls. Those under way may still be answered.
    pub(super) fn give_up(&self) {
        self.end.come();
    }

    pub(super) fn is_over(&self) -> bool {
        self.end.is_over.load(Ordering::Acquire)
    }

    /// Returns when it is over.
    pub(super) async fn over(&self) {
        let mut notified = std::pin::pin!(self.end.waiting.notified());
        notified.as_mut().enable();
        if !self.is_over() {
            notified.await;
        }
    }

    /// Somebody who waited since `since` doesn't any more. If nothing at all has arrived since then, the server hangs, or
    /// whatever is between: the next call is to have a new connection, and this one's queue an end.
    fn abandon(&self, since: Instant) {
        let is_silent = since.elapsed() >= SILENCE && self.pulse.last() < since;
        let count = self.abandoned.fetch_add(1, Ordering::Relaxed);
        if is_silent || count >= ABANDONED {
            self.give_up();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl End {
    fn come(&self) {
        self.is_over.store(true, Ordering::Release);
        self.waiting.notify_waiters();
    }
}

/// Notices when a call is dropped before it is answered: by its own deadline, or with the request that made it.
struct Waiting<'a> {
    link: &'a Link,
    since: Instant,
    is_answered: bool,
}

impl<'a> Waiting<'a> {
    fn on(link: &'a Link) -> Self {
        Self { link, since: Instant::now(), is_answered: false }
    }

    fn end<T>(mut self, outcome: RedisResult<T>) -> RedisResult<T> {
        self.is_answered = true;
        if outcome.as_ref().is_err_and(RedisError::is_io_error) {
            self.link.give_up();
        }
        outcome
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.link.abandon(self.since);
        }
    }
}

/// The store has time limits of its own.
fn untimed() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None)
}

fn login(config: &RedisConfig) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default()
        .set_db(config.database.into())
        .set_lib_name("stayput", env!("CARGO_PKG_VERSION"));
    if let Some(user) = &config.user {
        login = login.set_username(user);
    }
    if let Some(password) = &config.password {
        login = login.set_password(password);
    }
    login
}

fn unanswered() -> RedisError {
    std::io::Error::other("there is no answer to the last of several commands").into()
}

/// A caller that waited for less and gave up says nothing about the server.
const SILENCE: Duration = Duration::from_millis(100);

/// So many answers that nobody waits for may be due on one connection, slow as it is, before its memory counts.
const ABANDONED: usize = 4096;
