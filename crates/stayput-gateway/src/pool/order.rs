//! Each client's own order of the upstreams, by which hash rules choose: weighted rendezvous hashing.
//!
//! It depends on names and weights only, never on the order in the configuration or on what happened before: every
//! gateway, and every version of this one, comes to the same.

use std::hash::Hasher;
use std::thread;

use siphasher::sip::SipHasher24;

/// What a hash rule found of a client, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientHash(pub(crate) u64);

impl ClientHash {
    /// Not keyed: a key would have to be exchanged some day, and everybody would move. Who aims many clients at one
    /// upstream is met by the bound on its load.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(hash(CLIENT_KEY, bytes))
    }

    /// The client's slot of the table: its upper bits.
    fn slot(self) -> u32 {
        u32::try_from(self.0 >> (u64::BITS - SLOT_BITS)).expect("a slot has that many bits")
    }

    /// Where the client stands among all of its slot, in 65,536ths: its lower bits.
    pub(crate) fn share(self) -> u32 {
        u32::from(u16::try_from(self.0 & 0xffff).expect("16 bits"))
    }
}

/// How many slots clients are shared out to, as a power of two. It must never change: everybody would move. With
/// 1,000 upstreams an equal share is 524 slots, give or take 4%.
const SLOT_BITS: u32 = 19;
pub(crate) const SLOTS: u32 = 1 << SLOT_BITS;

/// The ranks of upstreams in every slot, and the first of each worked out beforehand.
pub(crate) struct Order {
    seeds: Vec<u64>,
    /// Reciprocals of the weights; `None` where all are equal, which is the same order and takes no logarithm.
    weights: Option<Vec<f64>>,
    first: Vec<u16>,
}

/// How far in front an upstream is in a slot; less is further. The second half, its seed, decides a tie.
type Rank = (u64, u64);

impl Order {
    /// The order of upstreams with these names and weights.
    pub(crate) fn new<'a>(upstreams: impl Iterator<Item = (&'a str, u16)>) -> Self {
        let mut order = Self::uncached(upstreams);
        let threads = thread::available_parallelism().map_or(1, usize::from).min(order.seeds.len() / 16 + 1);
        let mut first = vec![0; SLOTS as usize];
        let part = first.len().div_ceil(threads);
        thread::scope(|scope| {
            for (slots, firsts) in (0..SLOTS).step_by(part).zip(first.chunks_mut(part)) {
                let order = &order;
                scope.spawn(move || {
                    for (slot, first) in (slots..).zip(firsts) {
                        let (index, _) = order.least(slot, |_, _| true).expect("a pool has an upstream");
                        *first = u16::try_from(index).expect("a pool has at most 4,096 upstreams");
                    }
                });
            }
        });
        order.first = first;
        order
    }

    /// The same without the table: to ask for a few clients only.
    pub(crate) fn uncached<'a>(upstreams: impl Iterator<Item = (&'a str, u16)>) -> Self {
        let (seeds, weights): (Vec<_>, Vec<_>) =
            upstreams.map(|(name, weight)| (hash(UPSTREAM_KEY, name.as_bytes()), weight)).unzip();
        let are_equal = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let weights = (!are_equal).then(|| weights.iter().map(|&weight| 1.0 / f64::from(weight)).collect());
        Self { seeds, weights, first: Vec::new() }
    }

    /// Whether it is that of upstreams with these names and weights, in this order of the configuration.
    pub(crate) fn is_of<'a>(&self, upstreams: impl Iterator<Item = (&'a str, u16)>) -> bool {
        let other = Self::uncached(upstreams);
        (&self.seeds, &self.weights) == (&other.seeds, &other.weights)
    }

    /// The upstream that comes first for the client.
    pub(crate) fn first(&self, client: ClientHash) -> usize {
        self.first[client.slot() as usize].into()
    }

    /// The first in the client's own order of those that fit. Few are asked whether they do.
    pub(crate) fn best(&self, client: ClientHash, fits: impl Fn(usize) -> bool) -> Option<usize> {
        self.least(client.slot(), |index, _| fits(index)).map(|(index, _)| index)
    }

    /// The upstream of the least rank in the slot, of those that fit.
    fn least(&self, slot: u32, fits: impl Fn(usize, Rank) -> bool) -> Option<(usize, Rank)> {
        let slot = mix(slot.into());
        let mut least: Option<(usize, Rank)> = None;
        let (mut main, mut cost) = (u64::MAX, f64::INFINITY);
        for (index, &seed) in self.seeds.iter().enumerate() {
            let chance = mix(slot ^ seed);
            let its = match &self.weights {
                None => !chance,
                // Most of the logarithms need not be taken.
                Some(weights) if at_least(chance) * weights[index] > cost => continue,
                // The bits of positive numbers are in the numbers' order.
                Some(weights) => (minus_log2(chance) * weights[index]).to_bits(),
            };
            let rank = (its, seed);
            if its <= main && least.is_none_or(|(_, least)| rank < least) && fits(index, rank) {
                least = Some((index, rank));
                (main, cost) = (its, f64::from_bits(its));
            }
        }
        least
    }
}

/// −log₂ of `chance` as a fraction of 2⁶⁴. Of nothing but sums, products and quotients, which are the same everywhere;
/// logarithms of different systems differ in their last bits. Good to 10⁻¹⁰.
#[expect(clippy::cast_precision_loss, reason = "the bits above 52 are cut off before")]
fn minus_log2(chance: u64) -> f64 {
    // From the middle of the interval, so that it is never that of 0.
    let fraction = ((chance >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    let bits = fraction.to_bits();
    let exponent = (bits >> 52) as f64 - 1023.0;
    let mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1.0_f64.to_bits());
    // ln m = 2 (s + s³/3 + s⁵/5 + …) with s = (m − 1)/(m + 1); about √2 the series needs the fewest terms.
    let s = (mantissa - std::f64::consts::SQRT_2) / (mantissa + std::f64::consts::SQRT_2);
    let square = s * s;
    let terms = [1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0];
    let series = terms.iter().fold(0.0, |sum, term| sum * square + term);
    // Close to 1 the error is more than the logarithm, which is never negative.
    (-(exponent + 0.5 + 2.0 * std::f64::consts::LOG2_E * s * series)).max(0.0)
}

/// What [`minus_log2`] is not below, by −ln x ≥ 1 − x; its error included.
#[expect(clippy::cast_precision_loss, reason = "the bits above 52 are cut off before")]
fn at_least(chance: u64) -> f64 {
    (!chance >> 12) as f64 / (1_u64 << 52) as f64 - 1e-9
}

/// The finalizer of `SplitMix64`.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn hash(key: &[u8; 16], bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(bytes);
    hasher.finish()
}

/// What is hashed for one purpose says nothing about the other.
const CLIENT_KEY: &[u8; 16] = b"stayput client 1";
const UPSTREAM_KEY: &[u8; 16] = b"stayput server 1";

#[cfg(test)]
mod tests;
