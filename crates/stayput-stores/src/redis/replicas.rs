//! Waiting for replicas: one `WAIT` at a time confirms whatever was done on its connection before it.
//!
//! `WAIT` stops its connection, and only what was written on the same one counts. So what waits has a connection of its own,
//! which loads never share; and however many wait, the server is asked once for all that have come meanwhile. No wait is
//! longer than its limit, so that a replica that hangs doesn't make a queue. In a cluster each primary has one of these.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{RedisError, RedisResult, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::config::RedisConfig;
use super::connector::Connector;
use super::link::Link;
use super::message::Message;
use super::script::{BARRIER, Run, is_forgotten};
use super::tls::Tls;

/// The connection for what replicas must have.
pub(super) struct Replicas {
    pub(super) connector: Connector,
    /// How many of them must have it.
    pub(super) wanted: u32,
    asked: mpsc::Sender<Request>,
    task: JoinHandle<()>,
}

struct Request {
    link: Arc<Link>,
    /// What the barrier writes.
    key: Vec<u8>,
    answer: oneshot::Sender<RedisResult<u32>>,
}

impl Replicas {
    pub(super) async fn connect(config: &RedisConfig) -> RedisResult<Self> {
        Ok(Self::over(Connector::start(config.clone()).await?, config))
    }

    /// Those of a cluster's node. Begins to connect, without waiting for it.
    pub(super) fn begin(config: &RedisConfig, tls: Option<Tls>) -> Self {
        Self::over(Connector::begin(config.clone(), tls), config)
    }

    fn over(connector: Connector, config: &RedisConfig) -> Self {
        // No more calls than that can be under way.
        let (asked, requests) = mpsc::channel(config.in_flight.max(1));
        let barrier = Barrier { wanted: config.wait_replicas, limit: config.timeout / 4 };
        let task = tokio::spawn(barrier.answer(requests));
        Self { connector, wanted: config.wait_replicas, asked, task }
    }

    /// How many replicas have what was done on this connection: as many as wanted, unless that takes too long. Something is
    /// written under `key` for that.
    pub(super) async fn confirm(&self, link: Arc<Link>, key: Vec<u8>) -> RedisResult<u32> {
        let (answer, answered) = oneshot::channel();
        self.asked.send(Request { link, key, answer }).await.map_err(|_| ended())?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What asks the server.
struct Barrier {
    wanted: u32,
    limit: Duration,
}

impl Barrier {
    async fn answer(self, mut requests: mpsc::Receiver<Request>) {
        let mut waiting = Vec::new();
        while requests.recv_many(&mut waiting, usize::MAX).await > 0 {
            // Whose deadline has passed doesn't wait any more.
            waiting.retain(|request: &Request| !request.answer.is_closed());
            while let Some(first) = waiting.first_mut() {
                let (link, key) = (Arc::clone(&first.link), std::mem::take(&mut first.key));
                let outcome = self.confirm(&link, &key).await;
                for request in waiting.extract_if(.., |request| Arc::ptr_eq(&request.link, &link)) {
                    let _ = request.answer.send(outcome.clone());
                }
            }
        }
    }

    /// A server may count only what a connection itself wrote; and who finds something done already has to know that it is
    /// safe, too. So something is written that comes after everything else.
    async fn confirm(&self, link: &Link, key: &[u8]) -> RedisResult<u32> {
        let by_hash = self.within(self.wait(link, key, true)).await;
        if by_hash.as_ref().is_err_and(is_forgotten) {
            return self.within(self.wait(link, key, false)).await;
        }
        by_hash
    }

    /// The server keeps to the limit; twice as much is for one that keeps to nothing.
    async fn within(&self, found: impl Future<Output = RedisResult<u32>>) -> RedisResult<u32> {
        timeout(self.limit * 2, found).await.unwrap_or(Ok(0))
    }

    async fn wait(&self, link: &Link, key: &[u8], is_known: bool) -> RedisResult<u32> {
        let keys = [key];
        let run = Run { script: &BARRIER, keys: &keys, arguments: &[] };
        let mut wait = redis::cmd("WAIT");
        wait.arg(self.wanted).arg(self.limit.as_millis().max(1).to_string());
        let barrier = if is_known { Message::Run(run) } else { Message::Tell(run) };
        let mut answers = link.send_all([barrier, Message::Command(&wait)]).await?.into_iter();
        answers.next().unwrap_or(Ok(Value::Nil))?;
        match answers.next().unwrap_or(Ok(Value::Nil))? {
            Value::Int(found) => Ok(found.try_into().unwrap_or(0)),
            _ => Ok(0),
        }
    }
}

/// Fewer replicas than wanted had it in time.
#[derive(Debug)]
pub(super) struct TooFew {
    pub(super) found: u32,
    pub(super) wanted: u32,
}

impl fmt::Display for TooFew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, wanted } = self;
        write!(
            f,
            "it is done, but {found} of {wanted} replicas had it in time (wait_replicas), and a failover now may undo it; see that they run"
        )
    }
}

impl std::error::Error for TooFew {}

fn ended() -> RedisError {
    std::io::Error::other("the store's runtime has ended").into()
}
