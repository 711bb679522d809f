//! What an upstream has done: counters, and how they are shown.
//!
//! They only ever grow, and nothing is decided by them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::Upstream;
use crate::config::UpstreamAddress;

/// How often something happened here. In this order, since the first one is for every request.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Counts {
    pub(crate) requests: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) pins: AtomicU64,
    pub(crate) remaps: AtomicU64,
    pub(crate) yields: AtomicU64,
    pub(crate) spills: AtomicU64,
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// What an upstream has done and how it is, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is true or false whatever the others are")]
pub struct UpstreamStatus {
    /// The pool that it belongs to.
    pub pool: Arc<str>,
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Where it listens, as the configuration has it.
    pub address: UpstreamAddress,
    /// The addresses that are known for that now, in the order in which they are tried. None: its name can't be resolved.
    pub addresses: Arc<[SocketAddr]>,
    /// Its share of the load, beside the others' weights.
    pub weight: u16,
    /// Requests sent to it, repeated ones included.
    pub requests: u64,
    /// Requests that failed here and were tried again, here or elsewhere.
    pub retries: u64,
    /// Clients that were given an affinity cookie for this upstream, and had none for it before.
    pub pins: u64,
    /// Clients that were pinned here and were moved to another upstream.
    pub remaps: u64,
    /// Requests of clients pinned here that went elsewhere because it had more than twice the mean load, and not only
    /// for a moment.
    pub yields: u64,
    /// Requests that belong here by a hash rule and went elsewhere because it had more than 1.25 times the mean load, or
    /// has just returned.
    pub spills: u64,
    /// Requests that are with it now.
    pub in_flight: u64,
    /// Whether it could not be reached last time.
    pub is_down: bool,
    /// Whether its check or its failures keep requests away from it.
    pub is_out: bool,
    /// What its check says; nothing before the first one, or if there is none.
    pub check: Option<CheckStatus>,
    /// How long it is ejected for failed requests; zero once a request may be tried on it.
    pub ejected_for: Option<Duration>,
    /// How often it has been ejected.
    pub ejections: u64,
    /// Why it was ejected last.
    pub last_failure: Option<&'static str>,
    /// Whether all servers of its pool fail, so that they are used as if none did.
    pub are_verdicts_ignored: bool,
    /// Whether it keeps the clients pinned to it, until a deadline, and gets no new ones.
    pub is_draining: bool,
    /// How long that goes on, if there is an end to it.
    pub drains_for: Option<Duration>,
}

/// What a check says of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckStatus {
    /// Whether it counts as passing.
    pub is_passing: bool,
    /// Why it failed last, unless it has passed for good since.
    pub why: Option<String>,
}

impl Upstream {
    pub(crate) fn status(&self, pool: &Arc<str>, are_verdicts_ignored: bool) -> UpstreamStatus {
        let (counts, verdicts) = (&self.counts, self.verdicts());
        let check = verdicts.check.as_ref();
        let moment = self.millisecond(Instant::now());
        UpstreamStatus {
            pool: Arc::clone(pool),
            name: Arc::clone(&self.name),
            address: self.address.clone(),
            addresses: self.addresses.all(),
            weight: self.weight(),
            requests: counts.requests.load(Relaxed),
            retries: counts.retries.load(Relaxed),
            pins: counts.pins.load(Relaxed),
            remaps: counts.remaps.load(Relaxed),
            yields: counts.yields.load(Relaxed),
            spills: counts.spills.load(Relaxed),
            in_flight: self.in_flight(),
            is_down: self.is_down(),
            is_out: self.is_out(),
            check: check.map(|its| CheckStatus { is_passing: its.is_passing, why: its.why.clone() }),
            ejected_for: verdicts
                .ejection
                .as_ref()
                .map(|its| Duration::from_millis(its.until.saturating_sub(moment))),
            ejections: verdicts.ejections,
            last_failure: verdicts.last_failure,
            are_verdicts_ignored,
            is_draining: self.is_draining(),
            drains_for: self.drains_for(Instant::now()),
        }
    }
}
