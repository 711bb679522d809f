//! Chance, and upstreams drawn by it.
//!
//! It never walks the list while draws find something: a thousand upstreams cost what three do.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// How often to draw before walking.
const DRAWS: usize = 16;

/// Chance good enough for spreading load: `SplitMix64`. Never for secrets.
pub(crate) struct Chance(Cell<u64>);

impl Chance {
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// Differs from run to run and from thread to thread.
    pub(crate) fn from_system() -> Self {
        Self::from_seed(RandomState::new().hash_one(std::thread::current().id()))
    }

    /// A number from 0 to 1.
    pub(crate) fn fraction(&self) -> f32 {
        f32::from(u16::try_from(self.below(1 << 16)).expect("it has 16 bits")) / f32::from(u16::MAX)
    }

    /// A number below `n`, which is at least 1.
    pub(super) fn below(&self, n: usize) -> usize {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let scaled = (u128::from(z ^ (z >> 31)) * n as u128) >> 64;
        usize::try_from(scaled).expect("it is below `n`")
    }
}

/// Upstreams drawn at random, as often as their weight says.
pub(crate) struct Draw {
    /// How much weight there is up to and with each upstream; empty where all weigh the same.
    sums: Vec<u32>,
    count: usize,
}

impl Draw {
    pub(crate) fn new(weights: impl Iterator<Item = u16>) -> Self {
        let weights: Vec<u16> = weights.collect();
        let count = weights.len();
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return Self { sums: Vec::new(), count };
        }
        let mut sum = 0;
        let add = |weight: &u16| {
            sum += u32::from(*weight);
            sum
        };
        Self { sums: weights.iter().map(add).collect(), count }
    }

    /// A usable upstream, or `None` if there is none.
    pub(crate) fn find(&self, chance: &Chance, is_usable: impl Fn(usize) -> bool) -> Option<usize> {
        let drawn = (0..DRAWS).map(|_| self.one(chance)).find(|&index| is_usable(index));
        drawn.or_else(|| {
            let start = chance.below(self.count);
            (start..self.count).chain(0..start).find(|&index| is_usable(index))
        })
    }

    fn one(&self, chance: &Chance) -> usize {
        match self.sums.last() {
            None => chance.below(self.count),
            Some(&all) => {
                let at = chance.below(all as usize);
                self.sums.partition_point(|&sum| sum as usize <= at)
            }
        }
    }
}
