//! Limits and time-outs.
//!
//! None of them is a matter of taste only: each says what happens when it is reached.

use std::time::Duration;

use super::mistake::{ConfigMistake, SMALLEST_HEAD};

/// How much of anything is allowed. A head may also have at most 128 fields.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections of clients per worker; one more is answered 503. Default: 10,000.
    pub connections: usize,
    /// Bytes of a head, of requests (else 431) and of answers (else 502). Default: 96 KiB, so that a cookie of 64 KB
    /// reaches the application, which can say what is wrong with it.
    pub head_bytes: usize,
    /// Bytes of data in a request's body; more is answered 413. Default: `None`, no limit.
    pub body_bytes: Option<u64>,
    /// How many retries requests pay for: so many in a hundred; at most 100. Default: 20.
    pub retry_percent: u32,
    /// How many unused retries a worker saves up, which it has at its start, too; at most a million. Default: 1,000, enough for
    /// everything in flight when a busy server dies.
    pub retry_savings: u32,
    /// Idle connections kept per worker to each upstream. Default: 256.
    pub idle_connections: usize,
}

impl Limits {
    pub(super) fn mistakes(&self, mistakes: &mut Vec<ConfigMistake>) {
        if self.connections == 0 {
            mistakes.push(ConfigMistake::NoConnections);
        }
        if self.head_bytes < SMALLEST_HEAD {
            mistakes.push(ConfigMistake::HeadBytes(self.head_bytes));
        }
        if self.retry_percent > 100 {
            mistakes.push(ConfigMistake::RetryPercent(self.retry_percent));
        }
        if self.retry_savings > MOST_SAVINGS {
            mistakes.push(ConfigMistake::RetrySavings(self.retry_savings));
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            head_bytes: 96 * 1024,
            body_bytes: None,
            retry_percent: 20,
            retry_savings: 1000,
            idle_connections: 256,
        }
    }
}

/// More retries are no savings, and no budget.
pub(super) const MOST_SAVINGS: u32 = 1_000_000;

/// How long anything may take; at most a year each.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// The whole head of a request, from its first byte; 408. Also the wait for a new connection's first byte, after
    /// which it is closed silently. Default: 10 s.
    pub head: Duration,
    /// The wait for the next request on a connection, after which it is closed silently. Default: 75 s.
    pub keep_alive: Duration,
    /// The time in which a body, of request or answer, must make some progress. Default: 30 s.
    pub body: Duration,
    /// A connection to an upstream; then it counts as down. Default: 1 s.
    pub connect: Duration,
    /// The head of the answer, once the request is sent; 504. Default: 60 s.
    pub answer: Duration,
    /// How long an idle connection to an upstream is used again. Default: 15 s.
    pub upstream_idle: Duration,
    /// How long an upstream that could not be reached gets no requests; a tenth of it if it refused at once. Default: 1 s.
    pub down: Duration,
    /// How long a connection is read on after its last answer, so that the client sees that answer before it sees
    /// the connection break. Default: 5 s.
    pub linger: Duration,
}

impl Timeouts {
    pub(super) fn mistakes(&self, mistakes: &mut Vec<ConfigMistake>) {
        let Self { head, keep_alive, body, connect, answer, upstream_idle, down, linger } = *self;
        let all = [head, keep_alive, body, connect, answer, upstream_idle, down, linger];
        mistakes.extend(all.into_iter().filter(|its| *its > LONGEST).map(ConfigMistake::LongTimeout));
    }
}

/// A moment further away may be beyond the end of time.
pub(super) const LONGEST: Duration = Duration::from_hours(365 * 24);

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            body: Duration::from_secs(30),
            connect: Duration::from_secs(1),
            answer: Duration::from_mins(1),
            upstream_idle: Duration::from_secs(15),
            down: Duration::from_secs(1),
            linger: Duration::from_secs(5),
        }
    }
}
