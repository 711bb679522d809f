//! What the contract says of a subject's sessions as a whole: how many there may be, and that all of them can be ended.
//!
//! Nothing here knows who a subject is: a store sees the hash of a name.

use std::num::NonZeroU32;

use super::TOMBSTONE_LIFETIME;
use crate::clock::Timestamp;
use crate::id::StorageKey;

/// A subject's counter of "end everything". The default means that nothing was ever ended, or that it was so long ago
/// that the store has forgotten it.
///
/// A login reads it when it begins and names it in its [`Admission`]: if all sessions were ended in between, the one
/// that it makes is of the kind that was meant to end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(u64);

impl Epoch {
    /// An epoch as a store kept it.
    pub const fn from_count(count: u64) -> Self {
        Self(count)
    }

    /// The epoch as a store keeps it.
    pub const fn count(self) -> u64 {
        self.0
    }

    /// The epoch that follows on this one at `now`.
    ///
    /// It is at least the time in milliseconds: a subject whose epoch was forgotten doesn't get an old one again.
    pub fn raised(self, now: Timestamp) -> Self {
        Self(self.0.saturating_add(1).max(now.as_millis()))
    }

    /// Until when a store remembers it: [`TOMBSTONE_LIFETIME`] after it was raised.
    ///
    /// That is reckoned from the epoch itself, so that the next one is higher even if the clock was set back.
    pub fn expires(self) -> Timestamp {
        Timestamp::from_millis(self.0).after(TOMBSTONE_LIFETIME)
    }
}

/// On what terms a session is counted in among its subject's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Admission {
    /// The subject's epoch when the login began.
    pub epoch: Epoch,
    /// How many sessions the subject may have; `None` for any number.
    pub limit: Option<SessionLimit>,
    /// The session that this one takes the place of, and that neither counts nor is ended.
    pub replaces: Option<StorageKey>,
}

/// How many sessions a subject may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionLimit {
    /// The most at a time.
    pub most: NonZeroU32,
    /// What happens to one more.
    pub overflow: Overflow,
}

/// What happens to a session above the limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Overflow {
    /// It is not admitted.
    Reject,
    /// It is admitted, and the ones that were admitted longest ago end for it.
    EndOldest,
}

/// Outcome of [`SessionStore::admit`](super::SessionStore::admit).
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Admitted {
    /// The session counts among its subject's.
    Admitted {
        /// The sessions that were ended for it, the longest admitted first.
        ended: Vec<StorageKey>,
    },
    /// The subject has as many sessions as it may have.
    Rejected,
    /// All of the subject's sessions were ended since the login began.
    Revoked,
    /// There is no live session of that subject under the key.
    Missing,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_epoch_is_higher_than_any_before_it_whatever_the_clock_does() {
        let now = Timestamp::from_millis(1_000_000);
        let first = Epoch::default().raised(now);
        assert_eq!(first.count(), 1_000_000);
        assert!(first.raised(now) > first);
        assert!(first.raised(Timestamp::default()) > first);
    }

    #[test]
    fn an_epoch_is_forgotten_only_when_the_time_has_passed_it() {
        let now = Timestamp::from_millis(1_000_000);
        // Raised so often in one millisecond that it is ahead of the clock.
        let ahead = (0..10).fold(Epoch::default(), |epoch, _| epoch.raised(now));
        assert!(ahead.expires() > now.after(TOMBSTONE_LIFETIME));
        let forgotten = ahead.expires().before(Duration::from_millis(1));
        assert!(Epoch::default().raised(forgotten) > ahead);
    }
}
