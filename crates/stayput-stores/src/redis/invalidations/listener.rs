//! Listens to all servers at once, and begins again whenever something happens to one of them.
//!
//! It says that all is well only while it is, and never that it is again before every connection is in force.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use redis::{ErrorKind, RedisError, RedisResult};
use stayput_core::{Clock, PULSE_INTERVAL, PULSE_LIMIT, StoreErrorKind, SystemClock, Uptime};
use tokio::time::{Instant, sleep_until};

use super::ear::Ear;
use super::places::{Found, Places};
use super::queue::Queue;
use crate::redis::connector::Pause;
use crate::redis::fault;
use crate::redis::together::together;

pub(super) struct Listener {
    places: Places,
    queue: Arc<Queue>,
    ears: Vec<Ear>,
    has_warned: bool,
}

impl Listener {
    pub(super) fn new(places: Places, queue: Arc<Queue>) -> Self {
        Self { places, queue, ears: Vec::new(), has_warned: false }
    }

    /// Listens until the store is gone.
    pub(super) async fn keep_listening(mut self) {
        let mut pause = Pause::default();
        while !self.places.is_over() {
            let began = Instant::now();
            let error = match self.places.find() {
                Some(found) => self.listen(&found).await,
                None => trouble(UNKNOWN),
            };
            self.report(&error);
            self.queue.interrupt();
            if is_refusal(&error) {
                self.rest(RARELY).await;
                continue;
            }
            self.places.doubt();
            if began.elapsed() >= STEADY {
                pause = Pause::default();
            }
            self.rest(pause.next()).await;
        }
        self.queue.end();
    }

    /// Opens what is missing, says that all before is void, and gives pulses until something happens. That is the outcome.
    async fn listen(&mut self, found: &Found) -> RedisError {
        let begun = async {
            self.open(found).await?;
            self.confirm(found).await
        };
        if let Err(error) = begun.await {
            return error;
        }
        self.queue.begin();
        loop {
            if let Err(error) = self.wait(found).await {
                return error;
            }
            match self.confirm(found).await {
                Ok(asked) => self.queue.pulse(asked),
                Err(error) => return error,
            }
        }
    }

    async fn open(&mut self, found: &Found) -> RedisResult<()> {
        self.ears.retain(|ear| !ear.is_over() && found.has(ear.address()));
        let is_missing = |address| !self.ears.iter().any(|ear| ear.address() == address);
        let missing = found.servers.iter().filter(|server| is_missing(&server.address));
        let tls = self.places.tls();
        let opened =
            together(missing.map(|server| Ear::open(server, tls.as_ref(), Arc::clone(&self.queue)))).await;
        let mut outcome = Ok(());
        for ear in opened {
            match ear {
                Ok(ear) => self.ears.push(ear),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    /// Asks all servers; returns when all have answered, and says when they were asked.
    async fn confirm(&self, found: &Found) -> RedisResult<Uptime> {
        let (asked, question) = (SystemClock.uptime(), self.places.question());
        let answers = together(self.ears.iter().map(|ear| ear.ask(&question))).await;
        for (ear, answer) in self.ears.iter().zip(answers) {
            if !self.places.is_right(found, ear.address(), &answer?) {
                return Err(trouble(REPLACED));
            }
        }
        // The clock of tasks stands still while the machine sleeps.
        if SystemClock.uptime().since(asked) > PULSE_LIMIT {
            return Err(trouble(LATE));
        }
        if !self.places.is_still(found) {
            return Err(trouble(REPLACED));
        }
        Ok(asked)
    }

    /// Returns when it is time for the next pulse.
    async fn wait(&mut self, found: &Found) -> RedisResult<()> {
        let next = Instant::now() + PULSE_INTERVAL;
        loop {
            tokio::select! {
                () = sleep_until(next) => return Ok(()),
                () = any_over(&self.ears) => return Err(trouble(ENDED)),
                _ = self.places.changed() => {
                    if self.places.is_over() || !self.places.is_still(found) {
                        return Err(trouble(REPLACED));
                    }
                }
            }
        }
    }

    /// Rests, but not beyond the end of the store.
    async fn rest(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.places.is_over() {
            tokio::select! {
                () = sleep_until(until) => return,
                _ = self.places.changed() => {}
            }
        }
    }

    fn report(&mut self, error: &RedisError) {
        if is_refusal(error) {
            if !self.has_warned {
                tracing::warn!(%error, "Redis refuses to tell what changes; near caches have short leases");
            }
            self.has_warned = true;
        } else if self.queue.is_in_force() && !self.places.is_over() {
            tracing::info!(%error, "Redis' messages of changes are interrupted");
        } else {
            tracing::debug!(%error, "no messages of changes from Redis");
        }
    }
}

/// Returns when one of them is over.
async fn any_over(ears: &[Ear]) {
    let mut ends: Vec<_> = ears.iter().map(|ear| Box::pin(ear.over())).collect();
    poll_fn(|context| {
        let is_over = ends.iter_mut().any(|end| end.as_mut().poll(context).is_ready());
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Whether trying again soon is of no use: its user may not, or it is something that speaks an older protocol.
fn is_refusal(error: &RedisError) -> bool {
    error.kind() == ErrorKind::RESP3NotSupported || fault::of(error).kind == StoreErrorKind::Refused
}

fn trouble(what: &'static str) -> RedisError {
    io::Error::other(what).into()
}

const UNKNOWN: &str = "it is not known where the server is";
const REPLACED: &str = "other servers are in charge than when listening began";
const LATE: &str = "an answer was late";
const ENDED: &str = "a connection has ended";

/// What lasted so long was good: the next attempt needn't wait.
const STEADY: Duration = Duration::from_secs(1);

/// After which one that refused is asked again.
const RARELY: Duration = Duration::from_mins(1);
