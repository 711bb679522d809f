//! Waiting for a session to end, in handlers that outlive their answer, such as event streams.
//!
//! Waiting is no activity: a session that nobody uses times out while somebody listens.

use std::time::Duration;

use stayput_core::{Operation, State as RecordState, StorageKey};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::{Error, Session, Sessions};

impl Session {
    /// Returns when the session that this request came with is over: logged out, ended from elsewhere, timed out, or
    /// given a new id by a login or elevation, after which the client has a new cookie to come back with. At once if
    /// there is none.
    ///
    /// What this process ends is known at once, what others end within five seconds. A store that fails ends nothing:
    /// it is asked again.
    ///
    /// # Errors
    ///
    /// Errors of the store while the session is first looked up.
    pub async fn ended(&self) -> Result<(), Error> {
        // First, so that no ending is missed in between.
        let mut endings = self.sessions().inner.endings.listen();
        self.load().await?;
        let Some(key) = self.current().map(|current| current.key) else { return Ok(()) };
        let inner = &self.sessions().inner;
        // One that was born while the store was out isn't in it before its client comes again.
        let drift = self.state().drift.clone().filter(|drift| drift.is_born);
        let comes_until = drift.map(|drift| drift.confirmed.after(inner.policy.max_age)).unwrap_or_default();
        let mut has_come = false;
        loop {
            let lives = self.sessions().lives(key).await;
            has_come |= lives == Some(true);
            if lives == Some(false) && (has_come || inner.clock.now() >= comes_until) {
                return Ok(());
            }
            // Whoever hears that it ended knows; else it is time to ask again.
            if tokio::time::timeout(ASK_AGAIN, heard(&mut endings, key)).await.is_ok() {
                return Ok(());
            }
        }
    }
}

impl Sessions {
    /// Whether the store has the session; `None` if it can't say.
    async fn lives(&self, key: StorageKey) -> Option<bool> {
        let loaded = self.call(Operation::Load, |store| store.load(key)).await;
        let record = loaded.inspect_err(Error::log).ok()?;
        Some(record.is_some_and(|record| {
            record.header.state == RecordState::Live && record.header.absolute > self.inner.clock.now()
        }))
    }
}

/// Returns when `key` is told to have ended. Who fell behind hears of it later, by asking the store.
async fn heard(endings: &mut Receiver<StorageKey>, key: StorageKey) {
    loop {
        match endings.recv().await {
            Ok(ended) if ended == key => return,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            // The sender lives as long as the sessions, which the waiting request holds.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

const ASK_AGAIN: Duration = Duration::from_secs(5);
