//! The store's marker as this server last saw it, by which a wiped store is recognised.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stayput_core::{Marker, Timestamp};

/// `None` until the store was asked, and if it has none.
#[derive(Debug, Default)]
pub(crate) struct KnownMarker {
    marker: Mutex<Option<Marker>>,
    /// Since when it is that one, in milliseconds: to be asked by every request.
    since: AtomicU64,
}

impl KnownMarker {
    pub(crate) fn get(&self) -> Option<Marker> {
        *self.marker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this server has known it for less than that: what bears another one may still be good.
    pub(crate) fn is_new(&self, now: Timestamp, within: Duration) -> bool {
        now < Timestamp::from_millis(self.since.load(Ordering::Acquire)).after(within)
    }

    /// Takes note of the marker that the store has `now`. Says whether it had another one before.
    pub(super) fn see(&self, marker: Option<Marker>, now: Timestamp) -> bool {
        let mut known = self.marker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *known, marker);
        if before != marker {
            self.since.store(now.as_millis(), Ordering::Release);
        }
        before.is_some() && before != marker
    }
}
