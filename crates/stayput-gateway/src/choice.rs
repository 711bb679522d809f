//! The choice of an upstream for a client that has none: the less loaded of two drawn at random.
//!
//! It never walks the list while draws find something: a thousand upstreams cost what three do.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use crate::upstream::Upstream;

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

    /// A number below `n`, which is at least 1.
    fn below(&self, n: usize) -> usize {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let scaled = (u128::from(z ^ (z >> 31)) * n as u128) >> 64;
        usize::try_from(scaled).expect("it is below `n`")
    }
}

/// The place of an available upstream other than `avoid`, or `None` if there is none.
pub(crate) fn choose(
    upstreams: &[Upstream],
    avoid: Option<usize>,
    chance: &Chance,
    now: Instant,
) -> Option<usize> {
    let usable = |index: usize| Some(index) != avoid && upstreams[index].is_available(now);
    let one = draw(upstreams.len(), chance, usable)?;
    let Some(other) = draw(upstreams.len(), chance, |index| index != one && usable(index)) else {
        return Some(one);
    };
    // The order of the two is chance already, so a tie needs no other.
    let other_is_better = upstreams[other].load(now) < upstreams[one].load(now);
    Some(if other_is_better { other } else { one })
}

fn draw(n: usize, chance: &Chance, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let drawn = (0..DRAWS).map(|_| chance.below(n)).find(|&index| usable(index));
    drawn.or_else(|| {
        let start = chance.below(n);
        (start..n).chain(0..start).find(|&index| usable(index))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::UpstreamConfig;

    fn upstreams(n: usize) -> Vec<Upstream> {
        let config = |i| UpstreamConfig { name: format!("s{i}"), address: ([127, 0, 0, 1], 1).into() };
        (0..n).map(config).map(Upstream::new).collect()
    }

    fn spread(upstreams: &[Upstream], clients: usize, seed: u64) -> Vec<usize> {
        let (chance, mut now) = (Chance::from_seed(seed), Instant::now());
        let mut shares = vec![0; upstreams.len()];
        for _ in 0..clients {
            let index = choose(upstreams, None, &chance, now).unwrap();
            upstreams[index].assign(now);
            shares[index] += 1;
            now += Duration::from_millis(700);
        }
        shares
    }

    #[test]
    fn clients_that_come_one_after_another_spread_evenly() {
        for seed in 0..500 {
            let shares = spread(&upstreams(3), 50, seed);
            let (most, least) = (*shares.iter().max().unwrap(), *shares.iter().min().unwrap());
            assert!(most < 2 * least, "{shares:?}, seed {seed}");
        }
    }

    #[test]
    fn a_down_upstream_gets_nobody_and_the_others_share_its_clients() {
        for seed in 0..100 {
            let upstreams = upstreams(3);
            upstreams[1].mark_down(Instant::now(), Duration::from_hours(1));
            let shares = spread(&upstreams, 50, seed);
            assert_eq!(shares[1], 0, "seed {seed}");
            assert!(shares[0].min(shares[2]) >= 17, "{shares:?}, seed {seed}");
        }
    }

    #[test]
    fn the_first_client_can_land_on_any_upstream() {
        let mut seen = [false; 3];
        (0..100).for_each(|seed| {
            let shares = spread(&upstreams(3), 1, seed);
            (0..3).for_each(|i| seen[i] |= shares[i] == 1);
        });
        assert_eq!(seen, [true; 3]);
    }

    #[test]
    fn the_only_one_left_is_found_among_a_thousand_and_none_is_none() {
        let upstreams = upstreams(1000);
        let (chance, now) = (Chance::from_seed(1), Instant::now());
        upstreams.iter().skip(1).for_each(|upstream| upstream.mark_down(now, Duration::from_hours(1)));
        assert_eq!(choose(&upstreams, None, &chance, now), Some(0));
        assert_eq!(choose(&upstreams, Some(0), &chance, now), None);
    }
}
