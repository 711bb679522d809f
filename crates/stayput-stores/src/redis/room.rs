//! How many calls may be under way at a time.
//!
//! Nobody waits for room: who finds none is told so.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Room for some number of calls.
pub(super) struct Room {
    free: AtomicUsize,
}

/// One call's share of the room, until it is dropped.
pub(super) struct Seat<'a>(&'a Room);

impl Room {
    pub(super) fn for_calls(most: usize) -> Self {
        Self { free: AtomicUsize::new(most) }
    }

    /// Lets a call in, if there is room.
    pub(super) fn enter(&self) -> Option<Seat<'_>> {
        let less = |free: usize| free.checked_sub(1);
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok().map(|_| Seat(self))
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_again_when_a_call_is_over() {
        let room = Room::for_calls(2);
        let (first, second) = (room.enter(), room.enter());
        assert!(first.is_some() && second.is_some() && room.enter().is_none());
        drop(first);
        assert!(room.enter().is_some());
        let third = room.enter();
        assert!(third.is_some() && room.enter().is_none());
    }
}
