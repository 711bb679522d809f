//! The contract between sessions and whatever keeps them.
//!
//! A store moves records; it never opens, extends or invents one. Its methods say exactly what happens to a missing,
//! an expired and a removed record, because that is where session stores have differed and lost data.

mod future;
mod invalidation;
mod marker;
mod subjects;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::StorageKey;
use crate::record::{Record, Version};
use crate::subject::SubjectKey;

pub use future::StoreFuture;
pub use invalidation::{Invalidation, Invalidations, PULSE_INTERVAL, PULSE_LIMIT};
pub use marker::Marker;
pub use subjects::{Admission, Admitted, Epoch, Overflow, SessionLimit};

/// How long a removed record's key stays unusable, so that a slower request can't bring the session back.
pub const TOMBSTONE_LIFETIME: Duration = Duration::from_hours(1);

/// How long after its deadline a record may be swept. It is dead for every reader from the deadline on.
pub const SWEEP_DELAY: Duration = Duration::from_mins(1);

/// Keeps records under storage keys, and knows which of them are a subject's.
///
/// For every method:
/// * **Atomicity**: it happens wholly or not at all, and in one order for all clients of the store.
/// * **Expiry**: a record whose `expires` has come by the store's clock is *missing*, whether or not it was swept.
/// * **Cancellation**: dropping the future leaves the effect done or not done, never half done.
/// * **Durability**: when it returns, the effect survives the death of the calling process if the store outlives it.
///
/// The conformance kit in `stayput-testkit` checks all of this.
pub trait SessionStore: Send + Sync + fmt::Debug + 'static {
    /// What kind of store this is, for errors and measurements: `SQLite`, `memory`.
    fn name(&self) -> &'static str;

    /// Puts `record` under a key that holds nothing live.
    ///
    /// [`Created::Exists`] if a live record or a tombstone is there; it is left as it is. Retry safe only by looking
    /// for the record's write tag after an unknown outcome.
    ///
    /// A record with a subject is among [`subject_sessions`](Self::subject_sessions) from before anybody can load it
    /// until it is gone.
    fn create(&self, key: StorageKey, record: Record) -> StoreFuture<'_, Created>;

    /// The record under `key`; `None` if missing, removed or expired. Retry safe.
    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Arc<Record>>>;

    /// Puts `record` in place of the one whose version is `expected`: compare-and-swap of counter and write tag.
    ///
    /// Never resurrects: a missing, removed or expired record is [`Replaced::Missing`]. A record that moved on comes
    /// back in [`Replaced::Conflict`], so that the caller needs no second round trip. Retry safe only by looking for
    /// the record's write tag after an unknown outcome.
    ///
    /// The idle deadline moves forward only, as by [`touch`](Self::touch): of the stored one and the record's it becomes the
    /// later, or the record's absolute deadline if that comes first. A writer that read the record before a touch thus
    /// takes nothing back.
    ///
    /// The caller sees to it that a live record keeps its subject, that a remainder stays one, that a session began when it
    /// began, and that its absolute deadline comes no later than it was. A store may refuse what doesn't.
    fn replace(&self, key: StorageKey, record: Record, expected: Version) -> StoreFuture<'_, Replaced>;

    /// Moves the idle deadline forward to `expires`, or to the record's absolute deadline if that comes first. Never
    /// moves it back, never resurrects, and leaves the version as it is. Retry safe.
    fn touch(&self, key: StorageKey, expires: Timestamp) -> StoreFuture<'_, Touched>;

    /// Removes the record, present or not, and leaves a tombstone for [`TOMBSTONE_LIFETIME`]. It is gone for every
    /// reader of the store when this returns. Retry safe.
    fn remove(&self, key: StorageKey) -> StoreFuture<'_, ()>;

    /// Counts the session under `key` in among the subject's, and keeps their limit. Called after
    /// [`create`](Self::create), before the client gets to know the session.
    ///
    /// What comes first of these is the outcome; only an admission changes anything:
    /// * [`Admitted::Revoked`] if the subject's epoch isn't the admission's any more, whatever is under the key.
    /// * [`Admitted::Missing`] if there is no live session of the subject: missing, expired, removed, a remainder, or
    ///   another's.
    /// * [`Admitted::Admitted`] if it was admitted before. Nobody is ended for it again, nor named again.
    /// * With fewer others than the limit, or without one, it is admitted. Else [`Admitted::Rejected`]; or, by
    ///   [`Overflow::EndOldest`], the ones admitted longest ago are removed as by [`remove`](Self::remove), gone for
    ///   every reader when this returns, until there is room.
    ///
    /// Others are the subject's admitted sessions that are live, but for the one that this one replaces: no remainder,
    /// no expired one, and none that is yet to be admitted, such as that of a login under way elsewhere. Of any number
    /// of parallel admissions no more than the limit are left. Retry safe.
    fn admit(&self, subject: SubjectKey, key: StorageKey, admission: Admission) -> StoreFuture<'_, Admitted>;

    /// The subject's sessions, the oldest by [`Header::created`](crate::Header::created) first: admitted or not,
    /// remainders too.
    ///
    /// It may name some that are gone already, and never leaves one out. Their number has no bound but the limit that
    /// sessions were admitted under. Retry safe.
    fn subject_sessions(&self, subject: SubjectKey) -> StoreFuture<'_, Vec<StorageKey>>;

    /// Ends all of the subject's sessions but `except`, remainders too, and says how many that were live and no
    /// remainders. `None`, and nothing changed, if `except` is not a live session of the subject (but a remainder, perhaps):
    /// who was ended or superseded meanwhile ends nobody else.
    ///
    /// First the subject's epoch is raised, so that a login that began before is not admitted any more; then the
    /// records are removed as by [`remove`](Self::remove). They are gone for every reader when this returns. A record
    /// that is created later was not meant, and is for [`admit`](Self::admit) to refuse. Retry safe: that raises the
    /// epoch again, and counts only what was left.
    fn end_subject(&self, subject: SubjectKey, except: Option<StorageKey>) -> StoreFuture<'_, Option<usize>>;

    /// How often the subject's sessions were all ended, as an epoch that never comes again.
    ///
    /// [`Epoch::default`] if they never were, or if the last time was [`TOMBSTONE_LIFETIME`] ago ([`Epoch::expires`]):
    /// a login that takes longer than that from here to [`admit`](Self::admit) could miss it, so callers bound theirs
    /// far below. A login that falls on the very end of that time is refused for nothing. Retry safe.
    fn subject_epoch(&self, subject: SubjectKey) -> StoreFuture<'_, Epoch>;

    /// Deletes at most `limit` records, tombstones and epochs that expired more than [`SWEEP_DELAY`] ago, without
    /// locking out traffic, and says how many. Fewer than `limit` means that none are left; a store whose server deletes
    /// by itself has none. Retry safe.
    fn sweep(&self, limit: usize) -> StoreFuture<'_, usize>;

    /// What tells this store's contents from those of any other. Who finds it missing or changed knows that the store was
    /// wiped, or is another one; a wiped store gets a new one when it is next opened. `None` too if the store has no marker
    /// to offer. Retry safe.
    fn marker(&self) -> StoreFuture<'_, Option<Marker>> {
        StoreFuture::ready(Ok(None))
    }

    /// What anybody changes in the store from now on, as far as it can tell; `None` if it can't. To be called inside a
    /// tokio runtime if the store needs one. Each call is a stream of its own.
    ///
    /// Whoever reads it slowly loses messages, and is told so by [`Invalidation::Lost`]: what waits for it is bounded.
    fn invalidations(&self) -> Option<Invalidations> {
        None
    }

    /// Whether [`remove`](Self::remove) leaves a tombstone that [`create`](Self::create) refuses to write over. Where it can't,
    /// nobody can log in while the store is out: nothing would keep such a session from being made again after its end.
    fn keeps_tombstones(&self) -> bool {
        true
    }

    /// Within what time each of its calls ends by itself, whatever its server does or doesn't do. Where this isn't promised,
    /// callers have a timer for each call.
    fn time_limit(&self) -> Option<Duration> {
        None
    }

    /// Whether a call of it goes to another process, so that copies near to the application are worth keeping.
    fn is_remote(&self) -> bool {
        false
    }
}

/// Outcome of [`SessionStore::create`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Created {
    /// The record is stored.
    Created,
    /// The key is taken by a live record or a tombstone.
    Exists,
}

/// Outcome of [`SessionStore::replace`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Replaced {
    /// The record is stored.
    Replaced,
    /// Another write came first; this is the record now.
    Conflict(Arc<Record>),
    /// There is no live record.
    Missing,
}

/// Outcome of [`SessionStore::touch`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Touched {
    /// The deadline is now at least the one asked for, or the absolute one.
    Touched,
    /// There is no live record.
    Missing,
}

/// A store's operations, to say in errors and measurements which one it was.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// Opening or connecting.
    Connect,
    /// [`SessionStore::create`]
    Create,
    /// [`SessionStore::load`]
    Load,
    /// [`SessionStore::replace`]
    Replace,
    /// [`SessionStore::touch`]
    Touch,
    /// [`SessionStore::remove`]
    Remove,
    /// [`SessionStore::admit`]
    Admit,
    /// [`SessionStore::subject_sessions`]
    SubjectSessions,
    /// [`SessionStore::end_subject`]
    EndSubject,
    /// [`SessionStore::subject_epoch`]
    SubjectEpoch,
    /// [`SessionStore::sweep`]
    Sweep,
    /// [`SessionStore::marker`]
    Marker,
}

impl Operation {
    /// Its name, for errors and measurements.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Create => "create",
            Self::Load => "load",
            Self::Replace => "replace",
            Self::Touch => "touch",
            Self::Remove => "remove",
            Self::Admit => "admit",
            Self::SubjectSessions => "list sessions",
            Self::EndSubject => "end subject",
            Self::SubjectEpoch => "epoch",
            Self::Sweep => "sweep",
            Self::Marker => "marker",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
