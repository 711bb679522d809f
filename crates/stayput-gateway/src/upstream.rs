//! An upstream as all workers see it: its load, its health, its counters.
//!
//! Nothing here locks: everything is an atomic of its own, and a number that is read a moment late does no harm.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::config::UpstreamConfig;

/// In how many seconds the weight of an assigned client halves. Its requests count for themselves by then.
const HALF_LIFE: f32 = 60.0;

/// Aligned so that two upstreams never share a cache line.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Upstream {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    born: Instant,
    in_flight: AtomicU64,
    requests: AtomicU64,
    retries: AtomicU64,
    remaps: AtomicU64,
    /// Recently assigned clients: seconds since `born` above, an `f32` below.
    assigned: AtomicU64,
    /// Until when it gets no requests, in milliseconds since `born`; 0 while it is up.
    down_until: AtomicU64,
}

/// A request that is with an upstream; ends when dropped.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a Upstream);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Upstream {
    pub(crate) fn new(config: UpstreamConfig) -> Self {
        Self {
            name: config.name,
            address: config.address,
            born: Instant::now(),
            in_flight: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            remaps: AtomicU64::new(0),
            assigned: AtomicU64::new(0),
            down_until: AtomicU64::new(0),
        }
    }

    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.requests.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(self)
    }

    pub(crate) fn count_retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_remap(&self) {
        self.remaps.fetch_add(1, Relaxed);
    }

    /// Notes that a client was sent here. Clients that log in one after another leave nothing in flight, so load has
    /// to remember them for a while.
    pub(crate) fn assign(&self, now: Instant) {
        let second = self.second(now);
        let add = |packed| Some(pack(second, decayed(packed, second) + 1.0));
        let _ = self.assigned.fetch_update(Relaxed, Relaxed, add);
    }

    /// Requests in flight and clients recently assigned.
    pub(crate) fn load(&self, now: Instant) -> f32 {
        let in_flight = u16::try_from(self.in_flight.load(Relaxed)).unwrap_or(u16::MAX);
        f32::from(in_flight) + decayed(self.assigned.load(Relaxed), self.second(now))
    }

    /// Whether it could not be reached last time.
    pub(crate) fn is_down(&self) -> bool {
        self.down_until.load(Relaxed) != 0
    }

    /// Whether it may be chosen.
    pub(crate) fn is_available(&self, now: Instant) -> bool {
        let until = self.down_until.load(Relaxed);
        until == 0 || self.millisecond(now) >= until
    }

    /// Whether this request may go here. Of all that come after a down upstream's time is over, one may: it is the
    /// probe, and the others wait for what it finds.
    pub(crate) fn admit(&self, now: Instant, down: Duration) -> bool {
        let until = self.down_until.load(Relaxed);
        let again = self.millisecond(now + down);
        until == 0
            || self.is_available(now)
                && self.down_until.compare_exchange(until, again, Relaxed, Relaxed).is_ok()
    }

    pub(crate) fn mark_down(&self, now: Instant, down: Duration) {
        if self.down_until.swap(self.millisecond(now + down).max(1), Relaxed) == 0 {
            tracing::warn!(upstream = %self.name, address = %self.address, "upstream is down");
        }
    }

    pub(crate) fn mark_up(&self) {
        if self.is_down() && self.down_until.swap(0, Relaxed) != 0 {
            tracing::info!(upstream = %self.name, address = %self.address, "upstream is up again");
        }
    }

    pub(crate) fn status(&self) -> UpstreamStatus<'_> {
        UpstreamStatus {
            name: &self.name,
            address: self.address,
            requests: self.requests.load(Relaxed),
            retries: self.retries.load(Relaxed),
            remaps: self.remaps.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            is_down: self.is_down(),
        }
    }

    fn second(&self, now: Instant) -> u32 {
        u32::try_from(now.duration_since(self.born).as_secs()).unwrap_or(u32::MAX)
    }

    fn millisecond(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }
}

/// What an upstream has done and how it is, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamStatus<'a> {
    /// Its name in the configuration.
    pub name: &'a str,
    /// Where it listens.
    pub address: SocketAddr,
    /// Requests sent to it, repeated ones included.
    pub requests: u64,
    /// Requests that failed here and were tried again, here or elsewhere.
    pub retries: u64,
    /// Clients that were pinned here and were moved to another upstream.
    pub remaps: u64,
    /// Requests that are with it now.
    pub in_flight: u64,
    /// Whether it could not be reached last time.
    pub is_down: bool,
}

fn pack(second: u32, weight: f32) -> u64 {
    u64::from(second) << 32 | u64::from(weight.to_bits())
}

fn decayed(packed: u64, now: u32) -> f32 {
    let [since, weight] = [packed >> 32, packed & 0xffff_ffff].map(|half| u32::try_from(half).unwrap_or(0));
    let elapsed = Duration::from_secs(now.saturating_sub(since).into()).as_secs_f32();
    f32::from_bits(weight) * (-elapsed / HALF_LIFE).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: Duration = Duration::from_secs(1);

    fn upstream() -> Upstream {
        Upstream::new(UpstreamConfig { name: "a".into(), address: ([127, 0, 0, 1], 1).into() })
    }

    #[test]
    fn load_counts_what_is_in_flight_and_forgets_assigned_clients_slowly() {
        let upstream = upstream();
        let now = upstream.born;
        let request = upstream.begin();
        (0..8).for_each(|_| upstream.assign(now));
        let close = |load: f32, expected: f32| (load - expected).abs() < 0.001;
        assert!(close(upstream.load(now), 9.0));
        assert!(close(upstream.load(now + Duration::from_mins(1)), 5.0));
        drop(request);
        assert!(close(upstream.load(now + Duration::from_mins(2)), 2.0));
    }

    #[test]
    fn a_down_upstream_gets_one_probe_when_its_time_is_over() {
        let upstream = upstream();
        let now = upstream.born + DOWN;
        assert!(upstream.admit(now, DOWN));
        upstream.mark_down(now, DOWN);
        assert!(!upstream.is_available(now) && !upstream.admit(now, DOWN));
        let later = now + DOWN;
        assert!(upstream.is_available(later));
        assert!(upstream.admit(later, DOWN));
        assert!(!upstream.admit(later, DOWN), "the probe is out");
        upstream.mark_up();
        assert!(upstream.admit(later, DOWN));
    }
}
