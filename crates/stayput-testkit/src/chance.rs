//! Chance that replays: every random test prints its seed, and takes it from `STAYPUT_SEED` when that is set.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use stayput_core::Random;

/// What a random test is replayed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed in `STAYPUT_SEED`, or a new one; printed, so that a failure's output holds it.
    pub fn announce() -> Self {
        let given = std::env::var("STAYPUT_SEED").ok();
        let seed = given.map_or_else(fastrand::Rng::new, |text| {
            fastrand::Rng::with_seed(text.parse().expect("STAYPUT_SEED is a whole number"))
        });
        let seed = Self(seed.get_seed());
        println!("{seed}");
        seed
    }

    /// A generator that always draws the same from this seed.
    pub fn rng(self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.0)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replay with STAYPUT_SEED={}", self.0)
    }
}

/// Random bytes from a seed: never for production.
#[derive(Debug)]
pub struct SeededRandom(Mutex<fastrand::Rng>);

impl SeededRandom {
    /// The generator of that seed.
    pub fn new(seed: Seed) -> Self {
        Self(Mutex::new(seed.rng()))
    }
}

impl Random for SeededRandom {
    fn fill(&self, out: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(out);
    }
}
