//! An upstream as all workers see it: its load, its health, its counters.
//!
//! Requests lock nothing here: everything they need is an atomic of its own, and a number that is read a moment late does no
//! harm.

mod addresses;
mod health;
mod status;

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(crate) use self::addresses::{Addresses, News};
use self::health::{Health, Verdicts};
pub use self::status::{CheckStatus, UpstreamStatus};
pub(crate) use self::status::{Counts, count};
use crate::config::{UpstreamAddress, UpstreamConfig};
use crate::metrics::{Tallies, UpstreamTally};

/// In how many seconds the weight of an assigned client halves. Its requests count for themselves by then.
const HALF_LIFE: f32 = 60.0;

/// In this order, since where there are a thousand, each request meets one that no cache has at hand: the first cache line has
/// what every request reads and hardly anybody writes, the second what every request writes, and nothing else is touched by one
/// that is pinned. Aligned so that two upstreams never share a line, nor the two that processors fetch together.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Upstream {
    born: Instant,
    /// Until when it gets no requests, in milliseconds since `born`; 0 while it is up.
    down_until: AtomicU64,
    /// Until when it keeps the clients pinned to it and gets no new ones, in milliseconds since `born`; 0 if it isn't
    /// draining.
    draining: AtomicU64,
    health: Health,
    in_flight: AtomicU64,
    /// Since when it has been found above the load at which pins yield, in milliseconds since `born`; 0 if it was not.
    crowded: AtomicU64,
    /// Where it is.
    pub(crate) addresses: Addresses,
    pub(crate) counts: Counts,
    weight: AtomicU16,
    /// Recently assigned clients: seconds since `born` above, an `f32` below.
    assigned: AtomicU64,
    /// Since when it has been up again, in milliseconds since `born`; 0 once it has its whole share.
    returned: AtomicU64,
    pub(crate) name: Arc<str>,
    /// As the configuration has it.
    pub(crate) address: UpstreamAddress,
    /// What each worker has counted for itself.
    pub(crate) tallies: Tallies<UpstreamTally>,
    verdicts: Mutex<Verdicts>,
}

/// A request that asks for an upstream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    pub(crate) now: Instant,
    /// How long an upstream that can't be reached gets no other.
    pub(crate) down: Duration,
    /// Whether it can go to another one if it fails, though it may have been acted on.
    pub(crate) is_repeatable: bool,
    /// What tells clients with a pin from each other.
    pub(crate) client: u64,
    /// Whether it may find out if one that is down or ejected is well again.
    pub(crate) probes: bool,
}

/// How many milliseconds an upstream has to be crowded for pins to yield.
const LONG: u64 = 1000;
/// A whole share of one unit of weight.
pub(crate) const WHOLE: u64 = 1024;
/// What an upstream begins with when it returns: enough for the load that is to be compared with it.
const LEAST: u64 = WHOLE / 16;

impl Upstream {
    pub(crate) fn new(config: UpstreamConfig) -> Self {
        Self {
            name: config.name.into(),
            addresses: Addresses::new(&config.address),
            address: config.address,
            weight: AtomicU16::new(config.weight),
            born: Instant::now(),
            in_flight: AtomicU64::new(0),
            counts: Counts::default(),
            tallies: Tallies::default(),
            assigned: AtomicU64::new(0),
            down_until: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            crowded: AtomicU64::new(0),
            draining: AtomicU64::new(0),
            health: Health::default(),
            verdicts: Mutex::default(),
        }
    }

    /// Whether its addresses are looked up.
    pub(crate) fn has_name(&self) -> bool {
        self.address.socket().is_none()
    }

    /// Its share of the load, beside the others' weights.
    pub(crate) fn weight(&self) -> u16 {
        self.weight.load(Relaxed)
    }

    pub(crate) fn set_weight(&self, weight: u16) {
        self.weight.store(weight, Relaxed);
    }

    /// Gives it its share of clients little by little, as after a return.
    pub(crate) fn start_slowly(&self, now: Instant) {
        self.returned.store(self.millisecond(now).max(1), Relaxed);
    }

    /// From now on it gets no new clients, and those pinned to it until `deadline`.
    pub(crate) fn drain(&self, deadline: Option<Instant>) {
        let until = deadline.map_or(u64::MAX, |deadline| self.millisecond(deadline).max(1));
        self.draining.store(until, Relaxed);
    }

    /// It gets clients as ever again.
    pub(crate) fn stop_draining(&self) {
        self.draining.store(0, Relaxed);
    }

    /// Drains as the one before does, which had another address.
    pub(crate) fn drain_like(&self, before: &Self) {
        let until = match before.draining.load(Relaxed) {
            until @ (0 | u64::MAX) => until,
            until => self.millisecond(before.born + Duration::from_millis(until)).max(1),
        };
        self.draining.store(until, Relaxed);
    }

    /// How long it goes on keeping the clients pinned to it, if it is draining and there is an end to that.
    pub(crate) fn drains_for(&self, now: Instant) -> Option<Duration> {
        let until = self.draining.load(Relaxed);
        let has_end = until != 0 && until != u64::MAX;
        has_end.then(|| Duration::from_millis(until.saturating_sub(self.millisecond(now))))
    }

    /// Whether it gets no new clients.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed) != 0
    }

    pub(crate) fn begin(&self) {
        self.counts.requests.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Requests that are with it now.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// The part of its share, in 1,024ths, that it gets for now: less than the whole for a while after it has returned.
    pub(crate) fn share(&self, now: Instant, slow_start: Duration) -> u64 {
        let returned = self.returned.load(Relaxed);
        if returned == 0 {
            return WHOLE;
        }
        let elapsed = self.millisecond(now).saturating_sub(returned);
        let all = u64::try_from(slow_start.as_millis()).unwrap_or(u64::MAX);
        if elapsed < all {
            return LEAST.max(WHOLE * elapsed / all);
        }
        // If it has returned once more at this very moment, that is kept.
        let _ = self.returned.compare_exchange(returned, 0, Relaxed, Relaxed);
        WHOLE
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

    /// Notes whether it is crowded just now, and says whether it has been so for long. Every server is for a moment, when it
    /// collects garbage or waits for a disk, and a client that moves for that has moved for good.
    pub(crate) fn stays_crowded(&self, is_crowded: bool, now: Instant) -> bool {
        let since = self.crowded.load(Relaxed);
        if !is_crowded && since == 0 {
            return false;
        }
        let now = self.millisecond(now).max(1);
        if is_crowded != (since != 0) {
            self.crowded.store(if is_crowded { now } else { 0 }, Relaxed);
        }
        is_crowded && since != 0 && now.saturating_sub(since) >= LONG
    }

    /// Whether it could not be reached last time.
    pub(crate) fn is_down(&self) -> bool {
        self.down_until.load(Relaxed) != 0
    }

    /// Whether it may be chosen for a client that is pinned to it.
    pub(crate) fn is_available(&self, asking: Asking) -> bool {
        self.may_be_asked(asking) && !self.is_drained(asking.now)
    }

    /// Whether it may be chosen for anybody.
    pub(crate) fn takes_clients(&self, asking: Asking) -> bool {
        self.may_be_asked(asking) && !self.is_draining()
    }

    /// Whether the deadline of its draining is over.
    pub(crate) fn is_drained(&self, now: Instant) -> bool {
        let until = self.draining.load(Relaxed);
        until != 0 && until != u64::MAX && self.millisecond(now) >= until
    }

    /// Whether it is up and in, or may be asked whether it is again.
    fn may_be_asked(&self, asking: Asking) -> bool {
        let is_known = !self.is_down() && !self.is_out();
        is_known || asking.probes && self.may_be_up(asking.now) && self.lets_in(asking)
    }

    fn may_be_up(&self, now: Instant) -> bool {
        let until = self.down_until.load(Relaxed);
        until == 0 || self.millisecond(now) >= until
    }

    /// Whether this request may go here. Of all that come after the time of an upstream that is down or ejected is over, one
    /// may: it is the probe, and the others wait for what it finds; if nothing, for as long as another `ejection`.
    pub(crate) fn admit(&self, asking: Asking, ejection: Duration) -> bool {
        let until = self.down_until.load(Relaxed);
        let probes = || {
            let again = self.millisecond(asking.now + asking.down);
            self.may_be_up(asking.now)
                && self.down_until.compare_exchange(until, again, Relaxed, Relaxed).is_ok()
        };
        (until == 0 || probes()) && self.tries(asking, ejection)
    }

    /// Says whether that is new.
    pub(crate) fn mark_down(&self, now: Instant, down: Duration) -> bool {
        let is_new = self.down_until.swap(self.millisecond(now + down).max(1), Relaxed) == 0;
        if is_new {
            tracing::warn!(upstream = %self.name, address = %self.address, "upstream is down");
        }
        is_new
    }

    /// Says whether that is new.
    pub(crate) fn mark_up(&self, now: Instant) -> bool {
        let is_new = self.is_down() && self.down_until.swap(0, Relaxed) != 0;
        if is_new {
            self.returned.store(self.millisecond(now).max(1), Relaxed);
            tracing::info!(upstream = %self.name, address = %self.address, "upstream is up again");
        }
        is_new
    }

    fn second(&self, now: Instant) -> u32 {
        u32::try_from(now.duration_since(self.born).as_secs()).unwrap_or(u32::MAX)
    }

    fn millisecond(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }
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
        Upstream::new(UpstreamConfig::new("a", ([127, 0, 0, 1], 1).into()))
    }

    fn asking(now: Instant) -> Asking {
        Asking { now, down: DOWN, is_repeatable: false, client: 0, probes: true }
    }

    #[test]
    fn what_a_pinned_request_touches_lies_in_two_cache_lines() {
        use std::mem::{offset_of, size_of};
        assert!(offset_of!(Upstream, health) + size_of::<Health>() <= 64);
        assert_eq!(offset_of!(Upstream, in_flight), 64);
        assert_eq!(offset_of!(Counts, requests), 0);
        assert!(offset_of!(Upstream, counts) + size_of::<AtomicU64>() <= 128);
    }

    #[test]
    fn load_counts_what_is_in_flight_and_forgets_assigned_clients_slowly() {
        let upstream = upstream();
        let now = upstream.born;
        upstream.begin();
        (0..8).for_each(|_| upstream.assign(now));
        let close = |load: f32, expected: f32| (load - expected).abs() < 0.001;
        assert!(close(upstream.load(now), 9.0));
        assert!(close(upstream.load(now + Duration::from_mins(1)), 5.0));
        upstream.end();
        assert!(close(upstream.load(now + Duration::from_mins(2)), 2.0));
    }

    #[test]
    fn a_down_upstream_gets_one_probe_when_its_time_is_over() {
        let upstream = upstream();
        let now = upstream.born + DOWN;
        let admits = |now| upstream.admit(asking(now), DOWN);
        assert!(admits(now));
        upstream.mark_down(now, DOWN);
        assert!(!upstream.is_available(asking(now)) && !admits(now));
        let later = now + DOWN;
        assert!(upstream.is_available(asking(later)));
        assert!(admits(later));
        assert!(!admits(later), "the probe is out");
        assert!(upstream.mark_up(later) && !upstream.mark_up(later), "only the first time is new");
        assert!(admits(later));
    }

    #[test]
    fn only_what_is_crowded_all_the_time_stays_crowded() {
        let upstream = upstream();
        let after = |millis, is_crowded| {
            upstream.stays_crowded(is_crowded, upstream.born + Duration::from_millis(millis))
        };
        assert_eq!([(0, true), (500, true), (999, true)].map(|(at, is)| after(at, is)), [false; 3]);
        assert!(after(1001, true) && after(5000, true));
        assert_eq!([(5001, false), (5002, true), (6001, true)].map(|(at, is)| after(at, is)), [false; 3]);
        assert!(after(6002, true));
    }

    #[test]
    fn an_upstream_that_returns_gets_its_share_little_by_little() {
        let (upstream, slow) = (upstream(), Duration::from_secs(10));
        let share = |after: u64| upstream.share(upstream.born + Duration::from_secs(after), slow);
        assert_eq!(share(1), WHOLE, "one that was never away has it at once");
        upstream.mark_down(upstream.born, DOWN);
        upstream.mark_up(upstream.born + Duration::from_secs(20));
        assert_eq!([20, 25, 29, 30, 31].map(share), [LEAST, WHOLE / 2, WHOLE * 9 / 10, WHOLE, WHOLE]);
        upstream.mark_down(upstream.born, DOWN);
        upstream.mark_up(upstream.born + Duration::from_secs(40));
        assert_eq!(upstream.share(upstream.born + Duration::from_secs(40), Duration::ZERO), WHOLE);
    }
}
