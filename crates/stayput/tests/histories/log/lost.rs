//! What a store forgot that it had acknowledged: nothing else may be missing.
//!
//! What was done just before may be gone; and for as long as copies live, what is gone may still be seen.

use std::time::Duration;

use super::{Entry, Log, Moment};

/// The store is what it was before, and what was done since is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The last step of which it has everything.
    pub(crate) from: u32,
    pub(crate) at: Moment,
}

impl Log {
    /// Whether the store may have forgotten what the request did.
    pub(super) fn may_be_lost(&self, request: &Entry) -> bool {
        let ends_after = |from| request.end.as_ref().is_none_or(|end| end.at.step > from);
        self.losses.iter().any(|loss| ends_after(loss.from) && request.sent.step <= loss.at.step)
    }

    /// Whether what the request was told may be of what the store forgot, from copies too.
    pub(super) fn may_be_of_lost(&self, request: &Entry) -> bool {
        let ends_after = |from| request.end.as_ref().is_none_or(|end| end.at.step > from);
        let is_early = |loss: &Loss| !self.is_settled(loss, request);
        self.losses.iter().any(|loss| ends_after(loss.from) && is_early(loss))
    }

    /// Whether both requests saw sessions of which the store forgot nothing in between.
    pub(super) fn are_of_one_line(&self, one: &Entry, other: &Entry) -> bool {
        let ends_by = |request: &Entry, step| request.ended_by(step);
        self.losses.iter().all(|loss| {
            ends_by(one, loss.from)
                || ends_by(other, loss.from)
                || ends_by(one, loss.at.step) && ends_by(other, loss.at.step)
                || self.is_settled(loss, one) && self.is_settled(loss, other)
        })
    }

    /// Whether the request came so late that no copy is left of what the store forgot.
    pub(super) fn is_settled(&self, loss: &Loss, request: &Entry) -> bool {
        let staleness = self.staleness(request.came_adrift()).unwrap_or(Duration::ZERO);
        request.sent.step > loss.at.step && request.sent.time >= loss.at.time.after(staleness)
    }

    /// Whether the request was sent when copies were left, perhaps, of what the store forgot.
    pub(super) fn may_see_lost(&self, request: &Entry) -> bool {
        let sees = |loss: &Loss| !request.ended_by(loss.at.step) && !self.is_settled(loss, request);
        self.losses.iter().any(sees)
    }

    /// Whether the store forgot something since the session was begun.
    pub(super) fn is_older_than_loss(&self, session: u32) -> bool {
        let begun = self.request(session).sent.step;
        self.losses.iter().any(|loss| begun <= loss.at.step)
    }
}
