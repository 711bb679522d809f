//! Places where answers are left for who waits for them, used again and again: a call takes no allocation of its own to be answered.
//!
//! A place is never given to somebody else before both sides are done with it: who was to leave an answer there has, and who
//! waited for it has taken it, or gone.

use std::task::Waker;

/// Places for answers, as many as were ever in use at a time.
pub(super) struct Desk<T> {
    places: Vec<Slot<T>>,
    free: Vec<Place>,
}

/// Where an answer is left, and taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place(usize);

enum Slot<T> {
    Free,
    /// Somebody waits, and is to be woken if they have said how.
    Waiting(Option<Waker>),
    /// Nobody waits any more, but the answer is still to come.
    GivenUp,
    Left(T),
}

impl<T> Default for Desk<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Desk<T> {
    /// Has somebody wait for an answer, which is to be left once.
    pub(super) fn wait(&mut self, caller: Option<Waker>) -> Place {
        let slot = Slot::Waiting(caller);
        if let Some(place) = self.free.pop() {
            self.places[place.0] = slot;
            return place;
        }
        self.places.push(slot);
        Place(self.places.len() - 1)
    }

    /// Leaves the answer. Who waits for it is to be woken.
    pub(super) fn leave(&mut self, place: Place, answer: T) -> Option<Waker> {
        match std::mem::replace(&mut self.places[place.0], Slot::Left(answer)) {
            Slot::Waiting(caller) => caller,
            Slot::GivenUp => {
                self.clear(place);
                None
            }
            Slot::Free | Slot::Left(_) => unreachable!("an answer is left once"),
        }
    }

    /// Takes the answer if it is there. If it isn't, `caller` is woken when it is.
    pub(super) fn take(&mut self, place: Place, caller: &Waker) -> Option<T> {
        match &mut self.places[place.0] {
            Slot::Waiting(Some(known)) if known.will_wake(caller) => None,
            Slot::Waiting(known) => {
                *known = Some(caller.clone());
                None
            }
            _ => self.clear(place),
        }
    }

    /// Waits no more. What was left is given back, for the caller to drop.
    pub(super) fn give_up(&mut self, place: Place) -> Option<T> {
        match &mut self.places[place.0] {
            slot @ Slot::Waiting(_) => {
                *slot = Slot::GivenUp;
                None
            }
            _ => self.clear(place),
        }
    }

    /// Both sides are done with it.
    fn clear(&mut self, place: Place) -> Option<T> {
        let slot = std::mem::replace(&mut self.places[place.0], Slot::Free);
        self.free.push(place);
        // What one burst took is given back.
        if self.free.len() == self.places.len() && self.places.len() > KEPT {
            *self = Self::default();
        }
        match slot {
            Slot::Left(answer) => Some(answer),
            _ => None,
        }
    }
}

/// So many places are kept.
const KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_nobody_waits_for_goes_to_nobody() {
        let mut desk = Desk::default();
        let gone = desk.wait(None);
        desk.give_up(gone);
        // Its place is not free before its answer has come.
        let other = desk.wait(None);
        assert_ne!(gone, other);
        desk.leave(gone, 1);
        assert_eq!(desk.take(other, Waker::noop()), None);
        let next = desk.wait(None);
        assert_eq!(next, gone);
        assert_eq!(desk.take(next, Waker::noop()), None);
        desk.leave(other, 2);
        desk.leave(next, 3);
        assert_eq!((desk.take(other, Waker::noop()), desk.take(next, Waker::noop())), (Some(2), Some(3)));
    }

    #[test]
    fn an_answer_that_is_not_taken_is_given_back() {
        let mut desk = Desk::default();
        let place = desk.wait(None);
        desk.leave(place, "answer");
        assert_eq!(desk.give_up(place), Some("answer"));
        assert_eq!(desk.free, [place]);
    }

    #[test]
    fn what_a_burst_took_is_given_back() {
        let mut desk = Desk::default();
        let places: Vec<_> = (0..2 * KEPT).map(|_| desk.wait(None)).collect();
        for (number, place) in places.into_iter().enumerate() {
            desk.leave(place, number);
            assert_eq!(desk.take(place, Waker::noop()), Some(number));
        }
        assert!(desk.places.is_empty());
    }
}
