//! Sessions that this process ended, for handlers that outlive their request's answer and wait for it.

use stayput_core::StorageKey;
use tokio::sync::broadcast;

/// Tells waiting handlers of ended sessions. Those of other processes they find out by asking the store.
#[derive(Debug)]
pub(crate) struct Endings(broadcast::Sender<StorageKey>);

impl Default for Endings {
    fn default() -> Self {
        // Who is further behind asks the store instead.
        Self(broadcast::Sender::new(256))
    }
}

impl Endings {
    pub(crate) fn tell(&self, key: StorageKey) {
        // Nobody waits: most of the time.
        let _ = self.0.send(key);
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<StorageKey> {
        self.0.subscribe()
    }
}
