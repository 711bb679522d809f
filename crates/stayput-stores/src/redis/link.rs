//! One connection: many calls at a time, answered in order.
//!
//! It never reconnects. When its driver has ended, or it was given up, it is over.

mod desk;
mod driver;
mod login;
mod queue;
mod replies;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use redis::{Cmd, PushInfo, RedisError, RedisResult, Value};
use tokio::runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use self::driver::{Driver, Heard};
pub(super) use self::queue::Late;
use self::queue::{Answer, Asked, Queue};
use super::config::{Address, RedisConfig};
use super::message::Message;
use super::pulse::Pulse;
use super::stream::Stream;
use super::tls::Tls;

/// An open connection, logged in, with its database selected. Dropped, it is closed, whatever is still to be answered.
pub(super) struct Link {
    /// Where it leads.
    pub(super) address: Address,
    queue: Arc<Queue>,
    pulse: Arc<Pulse>,
    end: Arc<End>,
    /// How many answers may be due before who gives up waiting ends the connection.
    most: usize,
    /// Where its driver runs.
    runtime: runtime::Id,
    driver: JoinHandle<()>,
}

#[derive(Default)]
struct End {
    is_over: AtomicBool,
    waiting: Notify,
}

impl Link {
    pub(super) async fn open(config: &RedisConfig, tls: Option<&Tls>) -> RedisResult<Self> {
        let link = Self::begin(config, tls, None).await?;
        link.log_in(config, false).await?;
        Ok(link)
    }

    /// Opens one that also listens on a channel: each message is told to `heard`, which then may ask what it is about.
    pub(super) async fn listen(
        config: &RedisConfig,
        tls: Option<&Tls>,
        channel: &str,
        heard: Arc<Notify>,
    ) -> RedisResult<Self> {
        let link = Self::hear(config, tls, move |_| heard.notify_one()).await?;
        link.subscribe(channel).await?;
        Ok(link)
    }

    /// Opens one on which the server may speak without being asked. What it says goes to `heard`, in order with its answers;
    /// all of them wait for that meanwhile.
    pub(super) async fn hear(
        config: &RedisConfig,
        tls: Option<&Tls>,
        heard: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> RedisResult<Self> {
        let link = Self::begin(config, tls, Some(Box::new(heard))).await?;
        link.log_in(config, true).await?;
        Ok(link)
    }

    async fn begin(config: &RedisConfig, tls: Option<&Tls>, heard: Option<Heard>) -> RedisResult<Self> {
        let pulse = Arc::new(Pulse::new());
        let stream = Stream::open(config, tls, Arc::clone(&pulse)).await?;
        let most = config.in_flight.saturating_add(ABANDONED);
        Ok(Self::over_stream(config.address.clone(), stream, pulse, most, heard))
    }

    fn over_stream(
        address: Address,
        stream: Stream,
        pulse: Arc<Pulse>,
        most: usize,
        heard: Option<Heard>,
    ) -> Self {
        let (queue, end) = (Arc::new(Queue::default()), Arc::new(End::default()));
        let driver = Driver::new(stream, Arc::clone(&queue), Arc::clone(&end), heard);
        let runtime = runtime::Handle::current();
        let driver = runtime.spawn(driver);
        Self { address, queue, pulse, end, most, runtime: runtime.id(), driver }
    }

    /// Sends one command. It waits without a limit.
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        self.ask(Message::Command(command), None, Instant::now())
            .await
            .unwrap_or_else(|Late| unreachable!("there is no deadline"))
    }

    /// Sends one command for a call that has waited `since` then, and waits for its answer until the deadline.
    pub(super) async fn send_by(&self, message: Message<'_>, deadline: Instant, since: Instant) -> Answer {
        if !self.runs_here() {
            // The driver, which sees to deadlines, may be in a runtime that nobody runs.
            let answer = Box::pin(timeout_at(deadline, self.ask(message, Some(deadline), since)));
            return answer.await.unwrap_or(Err(Late));
        }
        self.ask(message, Some(deadline), since).await
    }

    async fn ask(&self, message: Message<'_>, deadline: Option<Instant>, since: Instant) -> Answer {
        let waiting = Waiting { link: self, since, is_answered: false };
        let mut asked = None;
        let answer = poll_fn(|context| self.poll_answer(&mut asked, message, deadline, context)).await?;
        Ok(waiting.end(answer))
    }

    /// Leaves a command when first polled, and then waits for its answer.
    fn poll_answer<'a>(
        &'a self,
        asked: &mut Option<Asked<'a>>,
        message: Message<'_>,
        deadline: Option<Instant>,
        context: &mut Context<'_>,
    ) -> Poll<Answer> {
        match asked {
            Some(asked) => Pin::new(asked).poll(context),
            None => match self.queue.push(message, deadline, context.waker().clone()) {
                Ok(left) => {
                    *asked = Some(left);
                    Poll::Pending
                }
                Err(error) => Poll::Ready(Ok(Err(error))),
            },
        }
    }

    /// Whether its driver runs where this is called from. Nobody can wait for a time who is in no runtime.
    fn runs_here(&self) -> bool {
        runtime::Handle::try_current().map_or(true, |here| here.id() == self.runtime)
    }

    /// Sends one command for a slot that is on its way to this node: the word that lets it in goes in the same message, so that
    /// no other call's command comes between.
    pub(super) async fn send_asking(&self, message: Message<'_>) -> RedisResult<Value> {
        let asking = redis::cmd("ASKING");
        self.send_all([Message::Command(&asking), message]).await?.pop().unwrap_or_else(|| Err(unanswered()))
    }

    /// Sends several at once; each has an answer of its own.
    pub(super) async fn send_all<'a>(
        &self,
        messages: impl IntoIterator<Item = Message<'a>>,
    ) -> RedisResult<Vec<RedisResult<Value>>> {
        let waiting = Waiting { link: self, since: Instant::now(), is_answered: false };
        let answers = match self.queue.push_all(messages) {
            Ok(answers) => answers,
            Err(error) => return waiting.end(Err(error)),
        };
        let mut values = Vec::with_capacity(answers.len());
        for answer in answers {
            values.push(answer.await.unwrap_or_else(|Late| Err(unanswered())));
        }
        // Of a connection that ended, no answer counts.
        let broken = values.iter().find_map(|value| value.as_ref().err().filter(|error| error.is_io_error()));
        let outcome = broken.cloned().map_or(Ok(()), Err);
        waiting.end(outcome).map(|()| values)
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
        if is_silent || self.queue.is_longer_than(self.most) {
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

impl Waiting<'_> {
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

fn unanswered() -> RedisError {
    std::io::Error::other("there is no answer to one of several commands").into()
}

/// A caller that waited for less and gave up says nothing about the server.
const SILENCE: Duration = Duration::from_millis(100);

/// So many answers that nobody waits for may be due on one connection, slow as it is, before its memory counts. Those that are
/// waited for are bounded elsewhere.
const ABANDONED: usize = 4096;

#[cfg(test)]
mod tests;
