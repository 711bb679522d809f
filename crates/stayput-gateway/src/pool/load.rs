//! What a pool's servers have to do together, who of them is there for it, and who is taken out.
//!
//! Locked when a verdict changes or a server goes up or down, never for a request that is answered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::floor::{Standing, missable};
use crate::upstream::Upstream;

/// What the mean load is made of. Aligned so that it never shares a cache line with anything else that is written.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Load {
    pub(super) in_flight: AtomicU64,
    /// Of all upstreams that are up and in.
    pub(super) weight: AtomicU64,
    /// All upstreams' falls: when that changes, who waits looks again.
    falls: AtomicU64,
    /// Whether all that could serve are accused, so that all are used.
    are_verdicts_ignored: AtomicBool,
    /// Whether anything is held against anybody.
    has_accused: AtomicBool,
    members: Mutex<Members>,
}

/// Those that are in the pool now.
#[derive(Default)]
struct Members {
    pool: Arc<str>,
    upstreams: Vec<Arc<Upstream>>,
    floor: u8,
}

impl Load {
    pub(super) fn take_over(&self, pool: Arc<str>, upstreams: Vec<Arc<Upstream>>, floor: u8, now: Instant) {
        *self.members() = Members { pool, upstreams, floor };
        self.judge(now);
    }

    /// Decides anew who is in, as far as verdicts go, and sums the weights up; differences would go wrong where two
    /// come at the same time.
    pub(crate) fn judge(&self, now: Instant) {
        let members = self.members();
        let standings: Vec<_> = members.upstreams.iter().map(|its| standing(its)).collect();
        let out = missable(&standings, members.floor);
        self.has_accused.store(standings.iter().any(|its| its.accused_since.is_some()), Relaxed);
        self.believe(out.is_some(), &members.pool);
        for (index, upstream) in members.upstreams.iter().enumerate() {
            if out.as_ref().is_some_and(|out| out[index]) {
                upstream.take_out();
            } else {
                upstream.let_in(standings[index].accused_since.is_none(), now);
            }
        }
        self.falls.store(members.upstreams.iter().map(|upstream| upstream.falls()).sum(), Relaxed);
        let there = members.upstreams.iter().filter(|upstream| !upstream.is_down() && !upstream.is_out());
        self.weight.store(there.map(|upstream| u64::from(upstream.weight())).sum(), Relaxed);
    }

    /// As [`Load::judge`], where something has changed that nobody tells of: draining ends and begins, weights change.
    pub(crate) fn judge_again(&self, now: Instant) {
        if self.has_accused.load(Relaxed) {
            self.judge(now);
        }
    }

    pub(super) fn falls(&self) -> u64 {
        self.falls.load(Relaxed)
    }

    pub(super) fn are_verdicts_ignored(&self) -> bool {
        self.are_verdicts_ignored.load(Relaxed)
    }

    fn believe(&self, are_believed: bool, pool: &str) {
        let were_believed = !self.are_verdicts_ignored.swap(!are_believed, Relaxed);
        if were_believed && !are_believed {
            tracing::warn!(pool, "all servers of the pool fail; they are used as if none did");
        } else if are_believed && !were_believed {
            tracing::info!(pool, "a server of the pool works again; those that fail are taken out");
        }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn standing(upstream: &Upstream) -> Standing {
    Standing {
        weight: upstream.weight().into(),
        is_usable: !upstream.is_down() && !upstream.is_draining(),
        accused_since: upstream.accused_since(),
        is_out: upstream.is_out(),
    }
}
