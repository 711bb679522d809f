//! The requests of one worker that wait for an answer, and who tells them to look whether their upstream still deserves it.
//!
//! No request has a timer for that, nor is it entered anywhere: each connection has a seat, in which it notes that it waits,
//! and the worker walks past all seats once a second.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::Instant;

/// All seats of a worker.
#[derive(Default)]
pub(crate) struct Waiting {
    seats: RefCell<Vec<Weak<Seat>>>,
    /// The generation of the site at the last walk, and how many falls its upstreams had had.
    falls: Cell<(u64, u64)>,
}

/// Where one connection notes what it waits for.
#[derive(Default)]
pub(crate) struct Seat {
    waker: RefCell<Option<Waker>>,
    /// From when on it waits too long; `None` while it doesn't wait.
    overdue_at: Cell<Option<Instant>>,
    is_overdue: Cell<bool>,
    is_called: Cell<bool>,
}

impl Waiting {
    pub(crate) fn seat(&self) -> Rc<Seat> {
        let seat = Rc::new(Seat::default());
        self.seats.borrow_mut().push(Rc::downgrade(&seat));
        seat
    }

    /// Calls those who have begun to wait too long, and if there are new `falls` all who wait. Within a generation of the site
    /// that number only grows; another one counts other upstreams, so that the same number would say nothing.
    pub(crate) fn walk(&self, falls: (u64, u64), now: Instant) {
        let is_new = self.falls.replace(falls) != falls;
        self.seats.borrow_mut().retain(|seat| {
            let seat = seat.upgrade();
            seat.inspect(|seat| seat.pass(is_new, now)).is_some()
        });
    }
}

impl Seat {
    /// From now on it waits, too long from `overdue_at` on.
    pub(crate) fn wait(&self, overdue_at: Instant) {
        self.is_overdue.set(false);
        self.overdue_at.set(Some(overdue_at));
    }

    /// It doesn't wait any more.
    pub(crate) fn rest(&self) {
        self.overdue_at.set(None);
        self.is_called.set(false);
    }

    /// Notes whom to wake.
    pub(crate) fn listen(&self, waker: &Waker) {
        match &mut *self.waker.borrow_mut() {
            Some(own) => own.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
    }

    /// Whether it was called since it last asked.
    pub(crate) fn is_called(&self) -> bool {
        self.is_called.get() && self.is_called.replace(false)
    }

    /// Whether it waits too long.
    pub(crate) fn is_overdue(&self) -> bool {
        self.is_overdue.get()
    }

    fn pass(&self, is_new: bool, now: Instant) {
        let Some(overdue_at) = self.overdue_at.get() else { return };
        let turns_overdue = now >= overdue_at && !self.is_overdue.replace(now >= overdue_at);
        if is_new || turns_overdue {
            self.is_called.set(true);
            if let Some(waker) = &*self.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_waits_is_called_once_when_that_is_too_long_and_whenever_somebody_falls() {
        let (waiting, now) = (Waiting::default(), Instant::now());
        let [waits, rests] = [waiting.seat(), waiting.seat()];
        waits.wait(now + Duration::from_secs(10));
        let calls = |falls, seconds| {
            waiting.walk((1, falls), now + Duration::from_secs(seconds));
            (waits.is_called(), waits.is_overdue(), rests.is_called())
        };
        waiting.walk((1, 0), now);
        waits.is_called();
        assert_eq!(calls(0, 9), (false, false, false));
        assert_eq!(calls(1, 9), (true, false, false));
        assert_eq!(calls(1, 10), (true, true, false));
        assert_eq!(calls(1, 11), (false, true, false));
        waits.rest();
        assert!(!calls(2, 12).0);
        waits.wait(now + Duration::from_secs(20));
        assert_eq!(calls(2, 13), (false, false, false));
    }

    #[test]
    fn a_fall_is_heard_of_though_a_reload_takes_as_many_away() {
        let (waiting, now) = (Waiting::default(), Instant::now());
        let seat = waiting.seat();
        waiting.walk((1, 5), now);
        seat.wait(now + Duration::from_secs(10));
        waiting.walk((1, 5), now);
        assert!(!seat.is_called());
        waiting.walk((2, 5), now);
        assert!(seat.is_called());
    }

    #[test]
    fn seats_of_connections_that_are_gone_are_forgotten() {
        let waiting = Waiting::default();
        drop(waiting.seat());
        let _kept = waiting.seat();
        waiting.walk((1, 0), Instant::now());
        assert_eq!(waiting.seats.borrow().len(), 1);
    }
}
