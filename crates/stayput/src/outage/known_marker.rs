//! The store's marker as this server last saw it, by which a wiped store is recognised.

use std::sync::{Mutex, PoisonError};

use stayput_core::Marker;

/// `None` until the store was asked, and if it has none.
#[derive(Debug, Default)]
pub(crate) struct KnownMarker(Mutex<Option<Marker>>);

impl KnownMarker {
    pub(crate) fn get(&self) -> Option<Marker> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of the marker that the store has. Says whether it had another one before.
    pub(super) fn see(&self, marker: Option<Marker>) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *known, marker);
        before.is_some() && before != marker
    }
}
