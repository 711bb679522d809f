//! A simulation: how even hash rules share clients out, whom growth and shrinking move, and what the bound on load does.
//! Beside them what lost: Maglev's table, and a ring of points as nginx and HAProxy have.
//!
//! `cargo test -p stayput-gateway --lib -- --nocapture simulated` prints the table; `CLIENTS` and `SERVERS` in the
//! environment make it larger.

#![expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "counts are small")]

mod crowd;
mod peers;

use std::collections::BTreeMap;

use super::*;
use crate::config::{Rule, UpstreamConfig};

/// Who gets the client of this hash.
type Chooser = Box<dyn Fn(u64) -> usize>;

fn names(n: usize) -> Vec<String> {
    (0..n).map(|index| format!("10.0.{}.{}:3000", index / 250, index % 250)).collect()
}

fn rendezvous(names: &[String]) -> Chooser {
    let order = Order::uncached(names.iter().map(|name| (name.as_str(), 1)));
    Box::new(move |client| order.best(ClientHash(client), |_| true).unwrap())
}

/// Eisenbud and others, "Maglev", NSDI 2016, section 3.4.
fn maglev(names: &[String]) -> Chooser {
    const SIZE: u64 = 65_537;
    let seeds: Vec<_> = names.iter().map(|name| ClientHash::of(name.as_bytes()).0).collect();
    let mut next = vec![0; names.len()];
    let mut table = vec![usize::MAX; SIZE as usize];
    let (mut left, mut index) = (SIZE, 0);
    while left > 0 {
        let (offset, skip) = (seeds[index] % SIZE, (seeds[index] >> 32) % (SIZE - 1) + 1);
        loop {
            let slot = ((offset + next[index] * skip) % SIZE) as usize;
            next[index] += 1;
            if table[slot] == usize::MAX {
                table[slot] = index;
                break;
            }
        }
        (left, index) = (left - 1, (index + 1) % names.len());
    }
    Box::new(move |client| table[(client % SIZE) as usize])
}

/// 160 points to each server, as in nginx' `hash … consistent`.
fn ring(names: &[String]) -> Chooser {
    let mut points = BTreeMap::new();
    for (index, name) in names.iter().enumerate() {
        for point in 0..160 {
            points.insert(ClientHash::of(format!("{name}-{point}").as_bytes()).0, index);
        }
    }
    Box::new(move |client| *points.range(client..).next().or(points.iter().next()).unwrap().1)
}

struct Outcome {
    /// The busiest server's clients over the mean.
    most: f64,
    /// Clients that another server moves when one is added, over the share of that one.
    grown: f64,
    /// Clients that move though their own server stays, when one is removed, over the share of that one.
    shrunk: f64,
}

fn outcome(of: fn(&[String]) -> Chooser, n: usize, clients: usize) -> Outcome {
    let (all, hashes) = (names(n + 1), (0..clients).map(|c| ClientHash::of(&c.to_be_bytes()).0));
    let (before, after) = (of(&all[..n]), of(&all));
    let (mut shares, mut moved, mut needless) = (vec![0_u32; n], 0, 0);
    for client in hashes {
        let (old, new) = (before(client), after(client));
        shares[old] += 1;
        moved += usize::from(old != new);
        needless += usize::from(old != new && new != n);
    }
    let (clients, servers) = (clients as f64, n as f64);
    Outcome {
        most: f64::from(*shares.iter().max().unwrap()) * servers / clients,
        grown: moved as f64 * (servers + 1.0) / clients,
        // Seen backwards, the same step takes the last server away.
        shrunk: needless as f64 * (servers + 1.0) / clients,
    }
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn simulated_growth_and_shrinking_move_no_more_than_they_must() {
    let (clients, most) = (number("CLIENTS", 40_000), number("SERVERS", 50));
    println!("{clients} clients         busiest   moved by one more   moved needlessly   (1 = a fair share)");
    for n in [3, 10, most] {
        for (name, of) in
            [("rendezvous", rendezvous as fn(&[String]) -> Chooser), ("Maglev", maglev), ("ring", ring)]
        {
            let Outcome { most, grown, shrunk } = outcome(of, n, clients);
            println!("{name:12} {n:5} servers {most:8.3} {grown:17.3} {shrunk:18.3}");
            if name == "rendezvous" {
                let chance = 5.0 * (n as f64 / clients as f64 + n as f64 / f64::from(order::SLOTS)).sqrt();
                assert!(most < 1.0 + chance && grown < 1.0 + chance.min(0.2) && shrunk == 0.0, "{n} servers");
            }
        }
    }
}

#[test]
fn simulated_load_stays_within_its_bound_however_uneven_clients_are() {
    let (n, now) = (10, Instant::now());
    let upstream = |name: String| UpstreamConfig::new(name, ([127, 0, 0, 1], 1).into());
    let pool = tests::pool(names(n).into_iter().map(upstream).collect(), vec![Rule::Ip]);
    let chance = Chance::from_seed(11);
    let mut in_flight = Vec::new();
    let (mut requests, mut at_home, mut worst) = (0_u32, 0_u32, 0.0_f64);
    for step in 0..60_000 {
        if in_flight.len() >= 400 {
            let done = chance.below(in_flight.len());
            in_flight.swap_remove(done);
        }
        // Some clients ask a hundred times as often as others.
        let client = chance.below(1 + chance.below(2000));
        let hash = ClientHash::of(&client.to_be_bytes());
        let index = pool.pick(Whereto::Hashed(hash), None, &chance, tests::asking(now)).unwrap().upstream;
        requests += 1;
        at_home += u32::from(index == pool.order.as_ref().unwrap().first(hash));
        in_flight.push(pool.begin(index));
        if step > 1000 {
            let mean = in_flight.len() as f64 / n as f64;
            let most = pool.upstreams.iter().map(|upstream| upstream.in_flight()).max().unwrap();
            worst = worst.max(most as f64 / mean);
        }
    }
    let home = f64::from(at_home) / f64::from(requests);
    println!(
        "busiest at most {worst:.3} times the mean; {:.1}% of requests at their first choice",
        home * 100.0
    );
    assert!(worst <= 1.25 + 1.0 / 40.0, "{worst}");
    assert!(home > 0.85, "{home}");
}

#[test]
#[ignore = "a measurement"]
fn how_long_a_table_takes_to_make() {
    for (n, most_weight) in [(3, 1), (100, 1), (1000, 1), (3, 9), (100, 9), (1000, 9)] {
        let (names, start) = (names(n), Instant::now());
        let order =
            Order::new(names.iter().zip(0..).map(|(name, index)| (name.as_str(), 1 + index % most_weight)));
        let took = start.elapsed();
        let clients: Vec<_> = (0..100_000_u32).map(|client| ClientHash::of(&client.to_be_bytes())).collect();
        let start = Instant::now();
        let sum: usize = clients.iter().map(|&client| order.first(client)).sum();
        let first = start.elapsed() / 100_000;
        let start = Instant::now();
        let other: usize =
            clients.iter().take(1000).map(|&client| order.best(client, |_| true).unwrap()).sum();
        println!(
            "{n:5} upstreams, weights to {most_weight}: made in {took:7.1?}, a first choice takes {first:?}, worked out {:?} ({sum}, {other})",
            start.elapsed() / 1000
        );
    }
}
