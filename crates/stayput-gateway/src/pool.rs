//! A pool: the upstreams of one application, and which of them a request goes to.
//!
//! It knows nothing of requests and cookies, only what the rules found in them. It decides by numbers of its own: what
//! other gateways send to the same upstreams it doesn't see.

mod draw;
mod order;
#[cfg(test)]
mod simulation;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use self::draw::Chance;
use self::draw::Draw;
pub(crate) use self::order::ClientHash;
use self::order::Order;
use crate::affinity::Affinity;
use crate::config::{PoolConfig, UpstreamConfig};
use crate::upstream::{Upstream, WHOLE, count};

pub(crate) struct Pool {
    pub(crate) name: Arc<str>,
    pub(crate) affinity: Affinity,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    slow_start: Duration,
    draw: Draw,
    /// There only where a rule needs it: it takes a megabyte.
    order: Option<Arc<Order>>,
    load: Arc<Load>,
}

/// What the mean load is made of. Aligned so that it never shares a cache line with anything else that is written.
#[derive(Default)]
#[repr(align(128))]
struct Load {
    in_flight: AtomicU64,
    /// Of all upstreams that are up.
    weight: AtomicU64,
    /// Those that are in the pool now. Locked when one goes up or down, never for a request.
    members: Mutex<Vec<Arc<Upstream>>>,
}

impl Load {
    fn take_over(&self, members: Vec<Arc<Upstream>>) {
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = members;
        self.weigh();
    }

    /// Sums the weights up anew; differences would go wrong where two come at the same time.
    fn weigh(&self) {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let up = members.iter().filter(|upstream| !upstream.is_down());
        self.weight.store(up.map(|upstream| u64::from(upstream.weight())).sum(), Relaxed);
    }
}

/// What the rules found in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Whereto {
    /// Nothing.
    #[default]
    Anywhere,
    /// The upstream that the client is pinned to.
    Pinned(usize),
    /// What a hash rule goes by.
    Hashed(ClientHash),
}

/// A request that is with an upstream; ends when dropped.
pub(crate) struct InFlight<'a> {
    pool: &'a Pool,
    upstream: &'a Upstream,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.upstream.end();
        self.pool.load.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Pool {
    /// A pool in the place of the one `before`: whoever is in both goes on as it is, and its connections with it.
    pub(crate) fn new(config: &PoolConfig, affinity: Affinity, before: Option<&Self>, now: Instant) -> Self {
        let upstreams: Vec<_> = config.upstreams.iter().map(|its| Self::upstream(its, before, now)).collect();
        let weights = || config.upstreams.iter().map(|upstream| upstream.weight);
        let named = || config.upstreams.iter().map(|upstream| (upstream.name.as_str(), upstream.weight));
        let order = affinity.is_hashed().then(|| {
            let same = before.and_then(|before| before.order.as_ref()).filter(|order| order.is_of(named()));
            same.map_or_else(|| Arc::new(Order::new(named())), Arc::clone)
        });
        let load = before.map_or_else(Arc::default, |before| Arc::clone(&before.load));
        load.take_over(upstreams.clone());
        let (name, slow_start) = (config.name.as_str().into(), config.slow_start);
        Self { name, affinity, slow_start, draw: Draw::new(weights()), order, load, upstreams }
    }

    /// The upstream of the pool before that has this name and address, or a new one.
    fn upstream(config: &UpstreamConfig, before: Option<&Self>, now: Instant) -> Arc<Upstream> {
        let is_same = |its: &&Arc<Upstream>| *its.name == config.name && its.address == config.address;
        if let Some(same) = before.and_then(|before| before.upstreams.iter().find(is_same)) {
            same.set_weight(config.weight);
            return Arc::clone(same);
        }
        let upstream = Upstream::new(config.clone());
        if before.is_some() {
            upstream.start_slowly(now);
        }
        Arc::new(upstream)
    }

    /// The upstream for a request that doesn't go to the one to `avoid`. An upstream that was down gets one request that
    /// finds out whether it still is (`down` is how long others then wait).
    pub(crate) fn pick(
        &self,
        whereto: Whereto,
        avoid: Option<usize>,
        chance: &Chance,
        now: Instant,
        down: Duration,
    ) -> Option<usize> {
        let admits = |index: usize| self.upstreams[index].admit(now, down);
        let mut without = avoid;
        match whereto {
            Whereto::Pinned(own) if Some(own) != avoid && self.upstreams[own].is_available(now) => {
                if !self.yields(own, now) {
                    if admits(own) {
                        return Some(own);
                    }
                } else if avoid.is_none() {
                    without = Some(own);
                }
            }
            Whereto::Hashed(client) => {
                while let Some(index) = self.in_order_of(client, avoid, now) {
                    if admits(index) {
                        return Some(index);
                    }
                }
                return None;
            }
            Whereto::Pinned(_) | Whereto::Anywhere => {}
        }
        let yielding = without.filter(|_| without != avoid);
        let new = |upstream: &Upstream| upstream.takes_clients(now);
        // Who is draining gets somebody new only where there is nobody else.
        let any = |upstream: &Upstream| upstream.is_available(now);
        let next = || {
            let one = self.less_loaded_of_two(without, chance, now, new);
            one.or_else(|| self.less_loaded_of_two(without, chance, now, any))
        };
        while let Some(index) = next() {
            // Another worker may have taken the probe of a down upstream just now; then it is not available any more.
            if admits(index) {
                self.upstreams[index].assign(now);
                yielding.inspect(|&own| count(&self.upstreams[own].counts.yields));
                return Some(index);
            }
        }
        // Whoever is alone has to bear it.
        yielding.filter(|&own| admits(own))
    }

    /// The first upstream in the client's own order that has room, else the first that there is.
    fn in_order_of(&self, client: ClientHash, avoid: Option<usize>, now: Instant) -> Option<usize> {
        let order = self.order.as_ref().expect("who goes by hashes has an order");
        let usable = |index: usize| Some(index) != avoid && self.upstreams[index].takes_clients(now);
        let first = order.first(client);
        if usable(first) && self.has_room_for(client, first, now) {
            return Some(first);
        }
        if usable(first) {
            count(&self.upstreams[first].counts.spills);
        }
        let has_room = |index: usize| usable(index) && self.has_room_for(client, index, now);
        let last = |index: usize| Some(index) != avoid && self.upstreams[index].is_available(now);
        order
            .best(client, has_room)
            .or_else(|| order.best(client, usable))
            .or_else(|| order.best(client, last))
    }

    /// Clients come back to an upstream that has returned one after the other, each of them for good.
    fn has_room_for(&self, client: ClientHash, index: usize, now: Instant) -> bool {
        let share = self.upstreams[index].share(now, self.slow_start);
        (share == WHOLE || u64::from(client.share()) < share * (65_536 / WHOLE))
            && !self.is_above(SPILL, index, now)
    }

    /// Whether pins to an upstream yield: there is a crowd, and it has been there for long.
    fn yields(&self, index: usize, now: Instant) -> bool {
        let upstream = &self.upstreams[index];
        let is_crowded = upstream.in_flight() >= CROWD && self.is_above(YIELD, index, now);
        upstream.stays_crowded(is_crowded, now)
    }

    /// Whether the load of an upstream would be above `quarters` fourths of the mean, weighed, with one more request.
    fn is_above(&self, quarters: u64, index: usize, now: Instant) -> bool {
        let upstream = &self.upstreams[index];
        let here = upstream.in_flight() + 1;
        if here <= FLOOR {
            return false;
        }
        let own = u64::from(upstream.weight()) * upstream.share(now, self.slow_start);
        let (all, weight) = (self.load.in_flight.load(Relaxed) + 1, self.load.weight.load(Relaxed));
        4 * here * weight * WHOLE > quarters * all * own
    }

    fn less_loaded_of_two(
        &self,
        avoid: Option<usize>,
        chance: &Chance,
        now: Instant,
        fits: impl Fn(&Upstream) -> bool,
    ) -> Option<usize> {
        let usable = |index: usize| Some(index) != avoid && fits(&self.upstreams[index]);
        let one = self.draw.find(chance, usable)?;
        let Some(other) = self.draw.find(chance, |index| index != one && usable(index)) else {
            return Some(one);
        };
        // The client counts, too, for something between nothing and one. For nothing, whoever is idle would be as good as any,
        // be its weight as small as it may; for one, no such upstream would get anybody while there is little to do.
        let client = chance.fraction();
        let load = |index: usize| {
            let upstream = &self.upstreams[index];
            let share = u16::try_from(upstream.share(now, self.slow_start)).unwrap_or(u16::MAX);
            (upstream.load(now) + client) / (f32::from(upstream.weight()) * f32::from(share))
        };
        // The order of the two is chance already, so a tie needs no other.
        Some(if load(other) < load(one) { other } else { one })
    }

    pub(crate) fn begin(&self, index: usize) -> InFlight<'_> {
        let upstream = &self.upstreams[index];
        self.load.in_flight.fetch_add(1, Relaxed);
        upstream.begin();
        InFlight { pool: self, upstream }
    }

    pub(crate) fn mark_down(&self, index: usize, now: Instant, down: Duration) {
        if self.upstreams[index].mark_down(now, down) {
            self.load.weigh();
        }
    }

    pub(crate) fn mark_up(&self, index: usize, now: Instant) {
        if self.upstreams[index].mark_up(now) {
            self.load.weigh();
        }
    }
}

/// How many fourths of the mean load an upstream may have: before clients by hash go to the next …
const SPILL: u64 = 5;
/// … and before pins to it yield.
const YIELD: u64 = 8;
/// Up to this many requests at a time no upstream is overloaded, be the others as idle as they may: one browser alone has
/// six connections, and must not be spread over six servers.
const FLOOR: u64 = 8;
/// Fewer requests at a time are no crowd.
const CROWD: u64 = 32;

#[cfg(test)]
mod tests;
