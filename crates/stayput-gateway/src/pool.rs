//! A pool: the upstreams of one application, and which of them a request goes to.
//!
//! It knows nothing of requests and cookies, only what the rules found in them. It decides by numbers of its own: what
//! other gateways send to the same upstreams it doesn't see.

mod draw;
mod floor;
mod load;
mod order;
#[cfg(test)]
mod simulation;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

pub(crate) use self::draw::Chance;
use self::draw::Draw;
pub(crate) use self::load::Load;
pub(crate) use self::order::ClientHash;
use self::order::Order;
use crate::affinity::Affinity;
use crate::config::{HealthConfig, OnReturn, PoolConfig, UpstreamConfig};
use crate::upstream::{Asking, Upstream, UpstreamStatus, WHOLE, count};

pub(crate) struct Pool {
    pub(crate) name: Arc<str>,
    pub(crate) affinity: Affinity,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) health: HealthConfig,
    pub(crate) body_bytes: Option<u64>,
    slow_start: Duration,
    draw: Draw,
    /// There only where a rule needs it: it takes a megabyte.
    order: Option<Arc<Order>>,
    /// Who serves clients whose own server is away; there only where they come back to it.
    substitutes: Option<Order>,
    pub(crate) load: Arc<Load>,
}

/// The upstream for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) upstream: usize,
    /// Whether the client stays pinned to the one that it was pinned to.
    pub(crate) is_substitute: bool,
}

impl Choice {
    fn of(upstream: usize) -> Self {
        Self { upstream, is_substitute: false }
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
        let comes_back = config.on_return == OnReturn::Back && affinity.has_cookie();
        let (name, slow_start): (Arc<str>, _) = (config.name.as_str().into(), config.slow_start);
        let load = before.map_or_else(Arc::default, |before| Arc::clone(&before.load));
        load.take_over(Arc::clone(&name), upstreams.clone(), config.health.floor, now);
        Self {
            name,
            affinity,
            slow_start,
            draw: Draw::new(weights()),
            order,
            substitutes: comes_back.then(|| Order::uncached(named())),
            load,
            upstreams,
            health: config.health.clone(),
            body_bytes: config.body_bytes,
        }
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

    /// The upstream for a request that doesn't go to the one to `avoid`. Of an upstream that was down or ejected one request
    /// finds out whether it still is.
    pub(crate) fn pick(
        &self,
        whereto: Whereto,
        avoid: Option<usize>,
        chance: &Chance,
        asking: Asking,
    ) -> Option<Choice> {
        match whereto {
            Whereto::Pinned(own) => self.pick_pinned(own, avoid, chance, asking),
            Whereto::Hashed(client) => {
                let next = || self.in_order_of(client, avoid, asking);
                self.first_admitted(asking, next).map(Choice::of)
            }
            Whereto::Anywhere => self.pick_new(avoid, chance, asking).map(Choice::of),
        }
    }

    fn pick_pinned(
        &self,
        own: usize,
        avoid: Option<usize>,
        chance: &Chance,
        asking: Asking,
    ) -> Option<Choice> {
        let upstream = &self.upstreams[own];
        if Some(own) != avoid && upstream.is_available(asking) && self.has_room_again(own, asking) {
            if self.yields(own, asking.now) && avoid.is_none() {
                let other = self.pick_new(Some(own), chance, asking);
                other.inspect(|_| count(&upstream.counts.yields));
                // Whoever is alone has to bear it.
                return other.or_else(|| self.admits(own, asking).then_some(own)).map(Choice::of);
            }
            if self.admits(own, asking) {
                return Some(Choice::of(own));
            }
        }
        if self.substitutes.is_some() && !upstream.is_drained(asking.now) {
            let substitute = self.first_admitted(asking, || self.substitute(own, avoid, asking));
            if let Some(upstream) = substitute {
                return Some(Choice { upstream, is_substitute: true });
            }
        }
        self.pick_new(avoid, chance, asking).map(Choice::of)
    }

    /// The less loaded of two for a client that comes here anew.
    fn pick_new(&self, avoid: Option<usize>, chance: &Chance, asking: Asking) -> Option<usize> {
        let new = |upstream: &Upstream| upstream.takes_clients(asking);
        // Who is draining gets somebody new only where there is nobody else.
        let any = |upstream: &Upstream| upstream.is_available(asking);
        let next = || {
            let one = self.less_loaded_of_two(avoid, chance, asking.now, new);
            one.or_else(|| self.less_loaded_of_two(avoid, chance, asking.now, any))
        };
        let index = self.first_admitted(asking, next)?;
        self.upstreams[index].assign(asking.now);
        Some(index)
    }

    /// The first of these that takes the request. Another worker may have taken the probe of one that was down just now;
    /// then it is not available any more, and not found again.
    fn first_admitted(&self, asking: Asking, mut next: impl FnMut() -> Option<usize>) -> Option<usize> {
        loop {
            let index = next()?;
            if self.admits(index, asking) {
                return Some(index);
            }
        }
    }

    pub(crate) fn admits(&self, index: usize, asking: Asking) -> bool {
        self.upstreams[index].admit(asking, self.health.ejection)
    }

    /// The first upstream in the client's own order that has room, else the first that there is.
    fn in_order_of(&self, client: ClientHash, avoid: Option<usize>, asking: Asking) -> Option<usize> {
        let order = self.order.as_ref().expect("who goes by hashes has an order");
        let usable = |index: usize| Some(index) != avoid && self.upstreams[index].takes_clients(asking);
        let first = order.first(client);
        if usable(first) && self.has_room_for(client, first, asking.now) {
            return Some(first);
        }
        if usable(first) {
            count(&self.upstreams[first].counts.spills);
        }
        self.best(order, client, asking, |index| Some(index) != avoid)
    }

    /// Who serves a client while its own server is away: the same one for all its requests, at every gateway.
    fn substitute(&self, own: usize, avoid: Option<usize>, asking: Asking) -> Option<usize> {
        let order = self.substitutes.as_ref()?;
        let client = ClientHash::of(&asking.client.to_be_bytes());
        self.best(order, client, asking, |index| index != own && Some(index) != avoid)
    }

    fn best(
        &self,
        order: &Order,
        client: ClientHash,
        asking: Asking,
        fits: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let usable = |index: usize| fits(index) && self.upstreams[index].takes_clients(asking);
        let has_room = |index: usize| usable(index) && self.has_room_for(client, index, asking.now);
        let last = |index: usize| fits(index) && self.upstreams[index].is_available(asking);
        let best = order.best(client, has_room);
        best.or_else(|| order.best(client, usable)).or_else(|| order.best(client, last))
    }

    /// Whether the server of a pinned client has room for it. Where clients come back they do so one after the other.
    fn has_room_again(&self, own: usize, asking: Asking) -> bool {
        if self.substitutes.is_none() {
            return true;
        }
        let share = self.upstreams[own].share(asking.now, self.slow_start);
        share == WHOLE || is_within(share, ClientHash::of(&asking.client.to_be_bytes()))
    }

    /// Clients come back to an upstream that has returned one after the other, each of them for good.
    fn has_room_for(&self, client: ClientHash, index: usize, now: Instant) -> bool {
        let share = self.upstreams[index].share(now, self.slow_start);
        is_within(share, client) && !self.is_above(SPILL, index, now)
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
            self.load.judge(now);
        }
    }

    pub(crate) fn mark_up(&self, index: usize, now: Instant) {
        if self.upstreams[index].mark_up(now) {
            self.load.judge(now);
        }
    }

    /// Takes note of a request that an upstream failed, sent after so many of its `falls`.
    pub(crate) fn failed(&self, index: usize, falls: u64, why: &'static str, now: Instant) {
        if self.upstreams[index].failed(falls, why, &self.health, now) {
            self.load.judge(now);
        }
    }

    /// Takes note of a whole answer to a request that was sent after so many `falls`.
    pub(crate) fn answered(&self, index: usize, falls: u64, now: Instant) {
        if self.upstreams[index].answered(falls, now) {
            self.load.judge(now);
        }
    }

    /// A number that grows whenever somebody falls, for as long as the upstreams are these.
    pub(crate) fn falls(&self) -> u64 {
        self.load.falls()
    }

    /// Each upstream as it is now.
    pub(crate) fn status(&self) -> impl Iterator<Item = UpstreamStatus> + '_ {
        let are_ignored = self.load.are_verdicts_ignored();
        self.upstreams.iter().map(move |upstream| upstream.status(&self.name, are_ignored))
    }
}

/// Whether a client is among those that get this share of an upstream already.
fn is_within(share: u64, client: ClientHash) -> bool {
    share == WHOLE || u64::from(client.share()) < share * (65_536 / WHOLE)
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
