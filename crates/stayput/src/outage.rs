//! Outages of the store: noticed by a circuit breaker, ended by a probe, and bridged as the policy says.
//!
//! Nobody is ever logged out by one: a request that can't be served is answered 503, and its cookies stay as they are.

mod breaker;
mod known_marker;

use std::sync::{Arc, Weak};
use std::time::Duration;

use stayput_core::{Marker, Operation, StoreError, StoreErrorKind};

use self::breaker::Turn;
pub(crate) use self::breaker::{Breaker, Pass};
pub(crate) use self::known_marker::KnownMarker;
use crate::events::EventKind;
use crate::sessions::Inner;
use crate::{Error, Sessions, meter};

impl Sessions {
    /// Whether the store is taken for out, so that it is asked for nothing but whether it is back. For health checks: a
    /// server in this state still serves what it can.
    pub fn store_is_out(&self) -> bool {
        self.inner.breaker.is_out()
    }

    /// Notes what became of a call that was sent.
    pub(crate) fn note_outcome(&self, pass: Pass<'_>, failed: Option<StoreErrorKind>) {
        match pass.end(failed) {
            None => {}
            Some(Turn::Suspect) => drop(tokio::spawn(examine(Arc::downgrade(&self.inner)))),
            Some(Turn::Out) => self.wait_for_store(),
            Some(Turn::Back) => {
                meter::store_out(self.inner.store.name(), false);
                self.emit(EventKind::StoreBack, None, None, None);
            }
        }
    }

    /// Takes note of the store's marker; says so if it is another store than before, or a wiped one.
    pub(crate) fn see_marker(&self, marker: Option<Marker>) {
        if self.inner.marker.see(marker) {
            if let Some(near) = &self.inner.near {
                near.forget_all();
            }
            self.emit(EventKind::StoreWiped, None, None, None);
        }
    }

    /// Says that the store is out, and has it asked whether it is back.
    fn wait_for_store(&self) {
        meter::store_out(self.inner.store.name(), true);
        self.emit(EventKind::StoreOut, None, None, None);
        tokio::spawn(probe(Arc::downgrade(&self.inner)));
    }

    /// The error of a call that isn't sent.
    pub(crate) fn out(&self, operation: Operation) -> StoreError {
        let error = StoreError::new(StoreErrorKind::Unavailable, self.inner.store.name(), operation);
        error.with_source("it is out, and asked for nothing until it answers a probe")
    }
}

/// Whether an error says that the store is out, and not only short of room.
pub(crate) fn is_outage(error: &Error) -> bool {
    matches!(error, Error::Store(error) if breaker::is_outage(error.kind()))
}

/// Learns the store's marker, and replays what the process before this one left, if there is a runtime to do it in.
pub(crate) fn start(inner: &Arc<Inner>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if inner.store.is_remote() {
        runtime.spawn(learn(Arc::downgrade(inner)));
    }
    Sessions { inner: Arc::clone(inner) }.start_replay();
}

/// Asks the store for its marker until it answers.
async fn learn(inner: Weak<Inner>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(inner) = inner.upgrade() else { return };
        if ask(&inner).await == Probe::Answered {
            return;
        }
        drop(inner);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Asks a store for which a call failed whether it is there at all: where few users come, they are not to find that out one
/// after another, each by waiting.
async fn examine(inner: Weak<Inner>) {
    let Some(inner) = inner.upgrade() else { return };
    let is_answered = ask(&inner).await != Probe::Unanswered;
    if inner.breaker.examined(is_answered) {
        Sessions { inner }.wait_for_store();
    }
}

/// Asks the store whether it is back until it is: users' calls are not what finds that out.
async fn probe(inner: Weak<Inner>) {
    let mut pause = FIRST_PAUSE;
    loop {
        // Servers that noticed together don't all ask together.
        let mut chance = [0];
        let Some(random) = inner.upgrade().map(|inner| Arc::clone(&inner.random)) else { return };
        random.fill(&mut chance);
        tokio::time::sleep(pause.mul_f64(0.5 + f64::from(chance[0]) / 256.0)).await;
        let Some(inner) = inner.upgrade() else { return };
        if ask(&inner).await == Probe::Answered {
            inner.breaker.returned(inner.clock.uptime());
            inner.breaker.probed();
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What came of asking the store whether it is there.
#[derive(PartialEq, Eq)]
enum Probe {
    Answered,
    Busy,
    Unanswered,
}

async fn ask(inner: &Arc<Inner>) -> Probe {
    match tokio::time::timeout(inner.policy.store_timeout, inner.store.marker()).await {
        Ok(Ok(marker)) => {
            Sessions { inner: Arc::clone(inner) }.see_marker(marker);
            Probe::Answered
        }
        Ok(Err(error)) if error.kind() == StoreErrorKind::Overloaded => Probe::Busy,
        Ok(Err(error)) if breaker::is_outage(error.kind()) => Probe::Unanswered,
        Ok(Err(_)) => Probe::Answered,
        Err(_) => Probe::Unanswered,
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
