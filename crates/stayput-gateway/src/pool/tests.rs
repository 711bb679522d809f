//! Who gets a client, as a function of load, weight and health.

use stayput_core::{Clock, Keyring, SystemClock, SystemRandom};

use super::*;
use crate::config::{AffinityConfig, Rule};

const DOWN: Duration = Duration::from_hours(1);

pub(super) fn pool(upstreams: Vec<UpstreamConfig>, rules: Vec<Rule>) -> Pool {
    let config = PoolConfig { affinity: AffinityConfig { rules }, ..PoolConfig::new(upstreams) };
    let (keyring, clock) = (Keyring::generate(&SystemRandom), Arc::new(SystemClock) as Arc<dyn Clock>);
    Pool::new(&config, Affinity::new(&config, &keyring, &clock), None, Instant::now())
}

fn weighted(weights: &[u16]) -> Pool {
    let upstream = |(index, &weight)| {
        let address = ([127, 0, 0, 1], 1).into();
        UpstreamConfig { weight, ..UpstreamConfig::new(format!("s{index}"), address) }
    };
    pool(weights.iter().enumerate().map(upstream).collect(), vec![Rule::Ip])
}

fn unhashed(n: usize) -> Pool {
    let upstream = |index| UpstreamConfig::new(format!("s{index}"), ([127, 0, 0, 1], 1).into());
    pool((0..n).map(upstream).collect(), vec![])
}

fn pick(pool: &Pool, whereto: Whereto, now: Instant) -> Option<usize> {
    let choice = pool.pick(whereto, None, &Chance::from_seed(1), asking(now));
    choice.map(|choice| choice.upstream)
}

pub(super) fn asking(now: Instant) -> Asking {
    Asking { now, down: DOWN, is_repeatable: true, client: 0, probes: true }
}

fn spread(pool: &Pool, clients: usize, seed: u64) -> Vec<usize> {
    let (chance, mut now) = (Chance::from_seed(seed), Instant::now());
    let mut shares = vec![0; pool.upstreams.len()];
    for _ in 0..clients {
        shares[pool.pick(Whereto::Anywhere, None, &chance, asking(now)).unwrap().upstream] += 1;
        now += Duration::from_millis(700);
    }
    shares
}

fn client(number: usize) -> ClientHash {
    ClientHash::of(format!("client {number}").as_bytes())
}

/// A client whose first upstream is this one.
fn client_of(pool: &Pool, index: usize) -> ClientHash {
    (0..100_000).map(client).find(|&client| pool.order.as_ref().unwrap().first(client) == index).unwrap()
}

#[test]
fn clients_that_come_one_after_another_spread_evenly() {
    for seed in 0..500 {
        let shares = spread(&unhashed(3), 50, seed);
        let (most, least) = (*shares.iter().max().unwrap(), *shares.iter().min().unwrap());
        assert!(most < 2 * least, "{shares:?}, seed {seed}");
    }
}

#[test]
fn new_clients_are_shared_out_by_weight() {
    for weights in [&[1, 2, 5][..], &[1, 1, 1, 256], &[10, 20, 10, 20, 10, 20, 10, 20]] {
        let pool = weighted(weights);
        let shares = spread(&pool, 4000, 7);
        let all: u16 = weights.iter().sum();
        for (share, weight) in shares.iter().zip(weights) {
            let fair = 4000 * usize::from(*weight) / usize::from(all);
            assert!(share.abs_diff(fair) <= fair / 10 + 12, "{shares:?} for {weights:?}");
        }
    }
}

#[test]
fn a_down_upstream_gets_nobody_and_the_others_share_its_clients() {
    for seed in 0..100 {
        let pool = unhashed(3);
        pool.mark_down(1, Instant::now(), DOWN);
        let shares = spread(&pool, 50, seed);
        assert_eq!(shares[1], 0, "seed {seed}");
        assert!(shares[0].min(shares[2]) >= 17, "{shares:?}, seed {seed}");
    }
}

#[test]
fn the_first_client_can_land_on_any_upstream() {
    let mut seen = [false; 3];
    (0..100).for_each(|seed| {
        let shares = spread(&unhashed(3), 1, seed);
        (0..3).for_each(|i| seen[i] |= shares[i] == 1);
    });
    assert_eq!(seen, [true; 3]);
}

#[test]
fn the_only_one_left_is_found_among_a_thousand_and_none_is_none() {
    let (pool, now) = (unhashed(1000), Instant::now());
    (1..1000).for_each(|index| pool.mark_down(index, now, DOWN));
    assert_eq!(pick(&pool, Whereto::Anywhere, now), Some(0));
    assert_eq!(pool.pick(Whereto::Anywhere, Some(0), &Chance::from_seed(1), asking(now)), None);
}

#[test]
fn a_client_by_hash_goes_down_its_own_order_as_upstreams_go_down() {
    let (pool, now) = (weighted(&[1; 9]), Instant::now());
    for number in 0..20 {
        let order: Vec<_> = pool.order.as_ref().unwrap().all(client(number)).collect();
        let taken: Vec<_> = std::iter::from_fn(|| {
            let index = pick(&pool, Whereto::Hashed(client(number)), now)?;
            pool.mark_down(index, now, DOWN);
            Some(index)
        })
        .collect();
        assert_eq!(taken, order, "each once, in the client's own order");
        (0..9).for_each(|index| pool.mark_up(index, now));
        // They are back for long.
        pool.upstreams
            .iter()
            .for_each(|upstream| assert_eq!(upstream.share(now + DOWN, pool.slow_start), WHOLE));
    }
}

#[test]
fn a_client_by_hash_spills_above_a_quarter_over_the_mean_and_it_is_counted() {
    let (pool, now) = (weighted(&[1; 4]), Instant::now());
    let client = client_of(&pool, 2);
    let second = pool.order.as_ref().unwrap().all(client).nth(1).unwrap();
    let mut held: Vec<_> = (0..4).flat_map(|index| [index; 20]).map(|index| pool.begin(index)).collect();
    let mut last = 2;
    while last == 2 {
        assert_eq!(pool.upstreams[2].counts.spills.load(Relaxed), 0);
        held.push(pool.begin(2));
        last = pick(&pool, Whereto::Hashed(client), now).unwrap();
    }
    // 1.25 times the mean of 81 + n requests with four is 27 at 26.
    assert_eq!(pool.upstreams[2].in_flight(), 27);
    assert_eq!((last, pool.upstreams[2].counts.spills.load(Relaxed)), (second, 1));
}

#[test]
fn a_bound_follows_weights_and_counts_only_upstreams_that_are_up() {
    let (pool, now) = (weighted(&[1, 3]), Instant::now());
    let held: Vec<_> = [0; 20].into_iter().chain([1; 60]).map(|index| pool.begin(index)).collect();
    assert!(!pool.is_above(SPILL, 0, now) && !pool.is_above(SPILL, 1, now), "both have their share");
    let more: Vec<_> = (0..8).map(|_| pool.begin(0)).collect();
    assert!(pool.is_above(SPILL, 0, now) && !pool.is_above(SPILL, 1, now));
    pool.mark_down(1, now, DOWN);
    assert!(!pool.is_above(SPILL, 0, now), "there is nobody else");
    pool.mark_up(1, now);
    assert!(pool.is_above(SPILL, 0, now));
    drop((held, more));
    assert_eq!(pool.load.in_flight.load(Relaxed), 0);
}

#[test]
fn a_few_requests_at_a_time_stay_together_however_idle_the_others_are() {
    let (pool, now) = (weighted(&[1; 20]), Instant::now());
    let client = client_of(&pool, 5);
    let mut held = Vec::new();
    for _ in 0..FLOOR {
        assert_eq!(pick(&pool, Whereto::Hashed(client), now), Some(5));
        held.push(pool.begin(5));
    }
    assert_ne!(pick(&pool, Whereto::Hashed(client), now), Some(5));
}

#[test]
fn a_pin_yields_above_twice_the_mean_and_not_before() {
    let (pool, now) = (weighted(&[1; 4]), Instant::now());
    let mut held: Vec<_> = (0..4).flat_map(|index| [index; 20]).map(|index| pool.begin(index)).collect();
    let later = now + Duration::from_secs(2);
    while {
        assert_eq!(pick(&pool, Whereto::Pinned(3), now), Some(3), "not at once");
        pick(&pool, Whereto::Pinned(3), later) == Some(3)
    } {
        held.push(pool.begin(3));
    }
    // Of 60 + n requests twice the mean is n at 60.
    assert_eq!((pool.upstreams[3].in_flight(), pool.upstreams[3].counts.yields.load(Relaxed)), (60, 1));
}

#[test]
fn a_handful_of_requests_is_no_crowd() {
    let (pool, now) = (weighted(&[1; 4]), Instant::now());
    let mut held = Vec::new();
    for second in 0..32_u32 {
        let now = now + Duration::from_secs(second.into());
        assert_eq!(pick(&pool, Whereto::Pinned(3), now), Some(3));
        held.push(pool.begin(3));
    }
    pick(&pool, Whereto::Pinned(3), now + Duration::from_secs(100));
    assert_ne!(pick(&pool, Whereto::Pinned(3), now + Duration::from_secs(102)), Some(3));
}

#[test]
fn a_pin_to_the_only_upstream_left_does_not_yield() {
    let (pool, now) = (weighted(&[1; 3]), Instant::now());
    let _held: Vec<_> = (0..100).map(|_| pool.begin(0)).collect();
    for index in [1, 2] {
        pool.mark_down(index, now, DOWN);
    }
    for second in 0..5 {
        assert_eq!(pick(&pool, Whereto::Pinned(0), now + Duration::from_secs(second)), Some(0));
    }
    assert_eq!(pool.upstreams[0].counts.yields.load(Relaxed), 0);
}

#[test]
fn clients_by_hash_come_back_one_after_the_other_and_for_good() {
    let (pool, start) = (weighted(&[1; 5]), Instant::now());
    pool.mark_down(1, start, DOWN);
    pool.mark_up(1, start);
    let own: Vec<_> = (0..5000).map(client).filter(|&c| pool.order.as_ref().unwrap().first(c) == 1).collect();
    let mut back = vec![false; own.len()];
    for tenth in 0..=10_u32 {
        let now = start + pool.slow_start * tenth / 10;
        for (client, was_back) in own.iter().zip(&mut back) {
            let is_back = pick(&pool, Whereto::Hashed(*client), now) == Some(1);
            assert!(is_back || !*was_back, "a client that is back stays");
            *was_back = is_back;
        }
        let share = back.iter().filter(|&&is_back| is_back).count() * 100 / own.len();
        assert!(share.abs_diff(10 * tenth as usize) <= 7, "{share}% after {tenth} tenths");
    }
}

#[test]
fn new_clients_come_to_an_upstream_that_has_returned_little_by_little() {
    let (pool, start) = (unhashed(2), Instant::now());
    pool.mark_down(0, start, DOWN);
    pool.mark_up(0, start);
    let (chance, mut shares) = (Chance::from_seed(3), [0; 2]);
    let now = start + pool.slow_start / 5;
    for _ in 0..300 {
        shares[pool.pick(Whereto::Anywhere, None, &chance, asking(now)).unwrap().upstream] += 1;
    }
    // A fifth of the other's share.
    assert!((45..=55).contains(&shares[0]), "{shares:?}");
}

#[test]
fn verdicts_take_out_no_more_than_the_pool_can_miss_and_the_last_ones_are_not_believed() {
    let (pool, now) = (unhashed(4), Instant::now());
    let eject = |index: usize| {
        assert!(pool.upstreams[index].eject("it hangs", false, &pool.health, now));
        pool.load.judge(now);
        pool.upstreams.iter().map(|upstream| upstream.is_out()).collect::<Vec<_>>()
    };
    assert_eq!(eject(0), [true, false, false, false]);
    assert_eq!(pool.load.weight.load(Relaxed), 3, "the mean is that of those who are in");
    assert_eq!(eject(1), [true, true, false, false]);
    assert_eq!(eject(2), [true, true, false, false], "30% of four are two");
    assert!(!pool.load.are_verdicts_ignored());
    assert_eq!(eject(3), [false; 4]);
    assert!(pool.status().all(|status| status.are_verdicts_ignored));
    pool.answered(3, pool.upstreams[3].falls(), now);
    assert!(!pool.load.are_verdicts_ignored() && !pool.upstreams[3].is_out());
    assert_eq!(pool.status().filter(|status| status.is_out).count(), 2);
}

#[test]
fn who_is_down_or_drains_counts_for_nothing_when_others_are_to_be_missed() {
    for drains in [false, true] {
        let (pool, now) = (unhashed(2), Instant::now());
        if drains {
            pool.upstreams[0].drain(None);
        } else {
            pool.mark_down(0, now, DOWN);
        }
        assert!(pool.upstreams[1].eject("it hangs", false, &pool.health, now));
        pool.load.judge(now);
        assert!(!pool.upstreams[1].is_out(), "it is the only one");
        if drains {
            pool.upstreams[0].stop_draining();
        } else {
            pool.mark_up(0, now);
        }
        pool.load.judge_again(now);
        assert!(pool.upstreams[1].is_out());
    }
}

fn returning(n: usize) -> Pool {
    let upstream = |index| UpstreamConfig::new(format!("s{index}"), ([127, 0, 0, 1], 1).into());
    let config = PoolConfig { on_return: OnReturn::Back, ..PoolConfig::new((0..n).map(upstream).collect()) };
    let (keyring, clock) = (Keyring::generate(&SystemRandom), Arc::new(SystemClock) as Arc<dyn Clock>);
    Pool::new(&config, Affinity::new(&config, &keyring, &clock), None, Instant::now())
}

fn pick_pinned(pool: &Pool, client: u64, now: Instant) -> Choice {
    let asking = Asking { client, ..asking(now) };
    pool.pick(Whereto::Pinned(1), None, &Chance::from_system(), asking).unwrap()
}

#[test]
fn a_client_that_comes_back_has_one_substitute_while_its_server_is_away() {
    let (pools, now) = ([returning(5), returning(5)], Instant::now());
    for pool in &pools {
        pool.mark_down(1, now, DOWN);
    }
    let mut shares = [0; 5];
    for client in 0..400 {
        let choice = pick_pinned(&pools[0], client, now);
        assert!(choice.is_substitute && choice.upstream != 1);
        assert!(pools.iter().all(|pool| pick_pinned(pool, client, now) == choice), "client {client}");
        shares[choice.upstream] += 1;
    }
    assert!([0, 2, 3, 4].iter().all(|&index| (70..130).contains(&shares[index])), "{shares:?}");
}

#[test]
fn clients_come_back_to_their_server_one_after_the_other() {
    let (pool, start) = (returning(3), Instant::now());
    pool.mark_down(1, start, DOWN);
    pool.mark_up(1, start);
    let back = |tenths: u32| {
        let now = start + pool.slow_start * tenths / 10;
        (0..1000).filter(|&client| pick_pinned(&pool, client, now) == Choice::of(1)).count()
    };
    let shares = [1, 5, 9, 10].map(back);
    assert!(shares[0].abs_diff(100) < 50 && shares[1].abs_diff(500) < 80, "{shares:?}");
    assert!(shares[2].abs_diff(900) < 50 && shares[3] == 1000, "{shares:?}");
}

#[test]
fn a_client_whose_server_has_drained_is_pinned_elsewhere_though_others_come_back() {
    let (pool, now) = (returning(3), Instant::now());
    pool.upstreams[1].drain(Some(now));
    assert!(!pick_pinned(&pool, 1, now + Duration::from_millis(1)).is_substitute);
}
