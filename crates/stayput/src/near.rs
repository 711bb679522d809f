//! The near cache: copies of records in this process, in front of a store in another one.
//!
//! A copy is never the truth. It may be used while its lease runs and as long as it is at least what its client has seen, and
//! nobody ever waits for it. What the store itself is asked for, it is asked for: [`SessionStore::load`] goes past the copies.

mod copy;
mod follow;
mod motion;
mod read;
mod seen;
mod store;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;
use stayput_core::{Clock, Generation, SessionStore, State, StorageKey, SubjectKey, Timestamp, Uptime};

pub(crate) use self::copy::Copy;
use self::copy::{Held, Weigher};
use self::motion::Motions;
pub(crate) use self::seen::{Seen, SeenVersion, key_tag};
use crate::session::{Current, is_unfinished};

/// How much the near cache may hold, and for how long its copies are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearCache {
    /// The most memory that it may take, in bytes, to within a tenth; 64 MiB unless set.
    pub bytes: u64,
    /// How long a copy may be used without asking the store again while the store tells of changes: a session that is ended
    /// elsewhere is refused within this time, and usually within milliseconds. 30 s unless set.
    pub lease: Duration,
    /// The same while the store does not tell of changes, or can't. 2 s unless set.
    pub short_lease: Duration,
}

impl Default for NearCache {
    fn default() -> Self {
        Self { bytes: 64 << 20, lease: Duration::from_secs(30), short_lease: Duration::from_secs(2) }
    }
}

/// A store with copies in front of it.
pub(crate) struct Near {
    store: Arc<dyn SessionStore>,
    clock: Arc<dyn Clock>,
    config: NearCache,
    copies: Cache<StorageKey, Held, Weigher>,
    motions: Motions,
    /// How often the store may have failed to tell of something. Whatever was read before the last time is not kept.
    losses: AtomicU64,
    /// Until when what the store tells can be relied on, as milliseconds of uptime.
    is_told_until: AtomicU64,
}

/// What the near cache knows of a session.
pub(crate) enum Known {
    /// A copy that may be used.
    Copy(Arc<Copy>),
    /// This process ended it.
    Gone,
}

impl Near {
    /// Puts a near cache in front of `store`, and follows what that tells if there is a runtime to do it in.
    pub(crate) fn start(store: Arc<dyn SessionStore>, clock: Arc<dyn Clock>, config: NearCache) -> Arc<Self> {
        let items = usize::try_from(config.bytes / USUAL_COPY).unwrap_or(usize::MAX).max(1);
        let near = Arc::new(Self {
            store,
            clock,
            copies: Cache::with_weighter(items, config.bytes, Weigher),
            config,
            motions: Motions::default(),
            losses: AtomicU64::new(0),
            is_told_until: AtomicU64::new(0),
        });
        follow::start(&near);
        near
    }

    /// What may be said of the session under `key` without asking the store, to a client that has `seen` it and asks `at` that
    /// time.
    #[inline]
    pub(crate) fn known(&self, key: &StorageKey, seen: Seen, at: Timestamp) -> Option<Known> {
        let held = self.copies.get(key)?;
        let now = self.clock.uptime();
        match held {
            Held::Copy(copy) => {
                let is_good = now < copy.sent.after(self.lease(now))
                    && !copy.is_doubted.load(Ordering::Acquire)
                    && !copy.record.header.is_expired(at)
                    && self.satisfies(&copy, seen, now);
                is_good.then_some(Known::Copy(copy))
            }
            Held::Gone { until } => (now < until).then_some(Known::Gone),
        }
    }

    /// The copy for a client that has seen its session at version `seen`, while the store is out: of a session that the store
    /// confirmed no longer than `max_age` ago.
    pub(crate) fn adrift(&self, key: &StorageKey, seen: Seen, max_age: Duration) -> Option<Arc<Copy>> {
        let Held::Copy(copy) = self.copies.get(key)? else { return None };
        let is_good = self.clock.uptime() < copy.sent.after(max_age)
            && !copy.record.header.is_expired(self.clock.now())
            && seen.is_in(&copy.record.header);
        is_good.then_some(copy)
    }

    /// Whether a cookie of `generation` is known to be worth nothing any more: this process saw its session end, be left behind
    /// by a login, or renewed too long ago. That stays true however old a copy is.
    pub(crate) fn is_over(&self, key: &StorageKey, generation: Generation, grace: Duration) -> bool {
        match self.copies.peek(key) {
            None => false,
            Some(Held::Gone { .. }) => true,
            Some(Held::Copy(copy)) => {
                let header = &copy.record.header;
                // A newer cookie than the copy's says nothing against it.
                let is_old = generation.0 < header.generation.0;
                header.state == State::Remainder
                    || is_old && !header.accepts(generation, self.clock.now(), grace)
            }
        }
    }

    /// Whether this process ended the session so lately that not even a store which says otherwise is believed: it has forgotten
    /// that, as one that failed over may.
    pub(crate) fn is_gone(&self, key: &StorageKey) -> bool {
        matches!(self.copies.peek(key), Some(Held::Gone { until }) if self.clock.uptime() < until)
    }

    /// When the store confirmed a copy, by the clock that shows `now`.
    pub(crate) fn confirmed(&self, copy: &Copy, now: Timestamp) -> Timestamp {
        now.before(self.clock.uptime().since(copy.sent))
    }

    /// Holds the session for ended, as its user ended it here while the store is out.
    pub(crate) fn end(&self, key: StorageKey) {
        self.bury(key);
    }

    /// Keeps the opened session beside its record, if that is still the one that is held.
    pub(crate) fn keep_opened(&self, session: &Arc<Current>) {
        if let Some(Held::Copy(copy)) = self.copies.peek(&session.key)
            && copy.record.header.version() == session.header.version()
            && session.data.as_bytes().len() <= copy.record.size()
        {
            // Somebody else's is as good.
            let _ = copy.opened.set(Arc::clone(session));
        }
    }

    /// A copy of what a client has seen, or of something newer. A client that claims to have seen more than there is doesn't
    /// get the store asked for each of its requests: the answer to its last claim counts for one short lease.
    fn satisfies(&self, copy: &Copy, seen: Seen, now: Uptime) -> bool {
        let was_asked_for =
            |version| copy.asked_for >= Some(version) && now < copy.sent.after(self.config.short_lease);
        seen.is_in(&copy.record.header)
            || seen.generation_is_in(&copy.record.header) && seen.version.is_some_and(was_asked_for)
    }

    fn lease(&self, now: Uptime) -> Duration {
        if self.is_told(now) { self.config.lease } else { self.config.short_lease }
    }

    /// Whether the store tells of changes, and nothing of what it told can be missing.
    fn is_told(&self, now: Uptime) -> bool {
        now.as_millis() < self.is_told_until.load(Ordering::Acquire)
    }

    /// Holds a copy, unless a newer one is held. The caller has the lock of its key. Of a session that isn't finished none is held: who
    /// read it once that is done would be told that there is no session.
    fn hold(&self, key: StorageKey, copy: &Arc<Copy>) {
        if is_unfinished(&copy.record.header) {
            return;
        }
        let is_better = match self.copies.peek(&key) {
            None => true,
            // What is doubted may be of a state that the store has forgotten since.
            Some(Held::Copy(held)) => {
                held.version() <= copy.version() || held.is_doubted.load(Ordering::Acquire)
            }
            Some(Held::Gone { until }) => until <= self.clock.uptime(),
        };
        if is_better {
            self.copies.insert(key, Held::Copy(Arc::clone(copy)));
        }
    }

    /// Notes that this process ended the session. The caller has the lock of its key.
    fn hold_gone(&self, key: StorageKey) {
        let until = self.clock.uptime().after(self.config.lease);
        self.copies.insert(key, Held::Gone { until });
    }

    /// Has the store asked before the copy is used again. The caller has the lock of its key.
    fn doubt_copy(&self, key: &StorageKey) {
        if let Some(Held::Copy(copy)) = self.copies.peek(key) {
            copy.is_doubted.store(true, Ordering::Release);
        }
    }

    /// Holds no copy any more that is older than `version`. The caller has the lock of its key.
    fn drop_older(&self, key: &StorageKey, version: SeenVersion) {
        if let Some(Held::Copy(held)) = self.copies.peek(key)
            && held.version() < version
        {
            self.copies.remove(key);
        }
    }

    /// Holds no copy any more of the subject's sessions, but of `except`.
    fn drop_copies_of(&self, subject: SubjectKey, except: Option<StorageKey>) {
        self.copies.retain(|key, held| match held {
            Held::Copy(copy) => copy.record.header.subject != Some(subject) || Some(*key) == except,
            Held::Gone { .. } => true,
        });
    }

    /// Holds no copy any more. The caller has the lock of its key.
    fn drop_copy(&self, key: &StorageKey) {
        if let Some(Held::Copy(_)) = self.copies.peek(key) {
            self.copies.remove(key);
        }
    }

    fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Near").field("store", &self.store).finish_non_exhaustive()
    }
}

/// What a small session takes here, in bytes.
const USUAL_COPY: u64 = 1024;

#[cfg(test)]
mod tests;
