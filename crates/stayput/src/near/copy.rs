//! What the near cache holds under a key.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use quick_cache::Weighter;
use stayput_core::{Policy, Record, StorageKey, Timestamp, Uptime};

use super::seen::SeenVersion;
use crate::session::Current;

/// A record as it was read or written, and the session that was found in it.
pub(crate) struct Copy {
    pub(crate) record: Arc<Record>,
    /// Opened by whoever needed it first.
    pub(crate) opened: OnceLock<Arc<Current>>,
    /// When the store was asked for it, or told. Its lease runs from then on.
    pub(super) sent: Uptime,
    /// What the client had seen for which the store was asked.
    pub(super) asked_for: Option<SeenVersion>,
    /// A write of it failed, or was given up, or messages may be missing: what there is by now has to be seen before the copy is
    /// used. While the store is out it is the best there is, and nobody was told otherwise.
    pub(super) is_doubted: AtomicBool,
    /// Until when it needs no upkeep, as milliseconds, once somebody asked.
    rests_until: AtomicU64,
}

impl Copy {
    pub(super) fn new(record: Arc<Record>, sent: Uptime, asked_for: Option<SeenVersion>) -> Self {
        let (opened, is_doubted) = (OnceLock::new(), AtomicBool::new(false));
        Self { record, opened, sent, asked_for, is_doubted, rests_until: AtomicU64::new(0) }
    }

    pub(crate) fn version(&self) -> SeenVersion {
        SeenVersion::of(&self.record.header)
    }

    /// [`Policy::rests_until`], of the one policy that there is.
    #[inline]
    pub(crate) fn rests_until(&self, policy: &Policy) -> Timestamp {
        let known = self.rests_until.load(Ordering::Relaxed);
        if known > 0 {
            return Timestamp::from_millis(known);
        }
        let until = policy.rests_until(&self.record.header);
        self.rests_until.store(until.as_millis(), Ordering::Relaxed);
        until
    }
}

#[derive(Clone)]
pub(super) enum Held {
    Copy(Arc<Copy>),
    /// The session was ended by this process: a read that began before brings nothing back, nor does a store that forgot.
    Gone {
        until: Uptime,
    },
}

/// Bytes that an entry takes, with its share of the cache's own.
#[derive(Clone)]
pub(super) struct Weigher;

impl Weighter<StorageKey, Held> for Weigher {
    fn weight(&self, _: &StorageKey, held: &Held) -> u64 {
        match held {
            // The record, and its data once more when it is opened.
            Held::Copy(copy) => COPY + 2 * copy.record.size() as u64,
            Held::Gone { .. } => GONE,
        }
    }
}

/// What a copy takes beside its record's bytes: both structures with their counters, and the allocations around them.
const COPY: u64 = 640;

const GONE: u64 = 128;
