//! Millions of clients on up to a thousand servers: how even their homes are, and who moves when servers come and go.
//!
//! `bench/homes.py` runs the large one, and makes the table and the picture of it.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Instant;

use super::super::order::SLOTS;
use super::number;
use super::peers::{ALL, Algorithm, Home};

/// What an algorithm comes to.
struct Report {
    name: &'static str,
    /// Clients of the busiest and of the idlest server, over the mean.
    busiest: f64,
    idlest: f64,
    /// Who moves, over who has to: with one server more, a tenth more, one less, a tenth less.
    moved: [f64; 4],
    /// How often a client moves while a tenth of the servers after the other is taken out and put back. It has to twice.
    deploy: f64,
    seconds: f64,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, busiest, idlest, moved: [one_more, more, one_less, less], deploy, seconds } = self;
        write!(
            f,
            "| {name} | {busiest:.3} | {idlest:.3} | {one_more:.2} | {more:.2} | {one_less:.2} | {less:.2} | {deploy:.2} | {seconds:.0} |"
        )
    }
}

/// Addresses all over the net, the same ones each time.
fn address(client: u32) -> Ipv4Addr {
    let mixed = (client ^ client >> 16).wrapping_mul(0x7feb_352d);
    let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x846c_a68b);
    Ipv4Addr::from_bits(mixed ^ mixed >> 16)
}

fn homes(home: &Home, clients: usize) -> Vec<u32> {
    let mut homes = vec![0; clients];
    let part = clients.div_ceil(thread::available_parallelism().map_or(1, usize::from));
    thread::scope(|scope| {
        for (number, homes) in homes.chunks_mut(part).enumerate() {
            scope.spawn(move || {
                for (client, its) in (number * part..).zip(homes) {
                    *its = home(address(u32::try_from(client).expect("fewer than addresses")));
                }
            });
        }
    });
    homes
}

fn moved(before: &[u32], after: &[u32]) -> f64 {
    before.iter().zip(after).filter(|(old, new)| old != new).count() as f64
}

fn report(algorithm: &Algorithm, servers: u32, clients: usize) -> Report {
    let start = Instant::now();
    let tenth = servers / 10;
    let of = |places: Vec<u32>| homes(&(algorithm.of)(&places), clients);
    let first = of((0..servers).collect());
    let mut counts = vec![0_u32; servers as usize];
    for &home in &first {
        counts[home as usize] += 1;
    }
    let mean = clients as f64 / f64::from(servers);
    let (least, most) =
        (counts.iter().min().expect("there are some"), counts.iter().max().expect("there are some"));

    let grown = |by: u32| {
        let share = clients as f64 * f64::from(by) / f64::from(servers + by);
        moved(&first, &of((0..servers + by).collect())) / share
    };
    let shrunk = |gone: &dyn Fn(u32) -> bool| {
        let left = of((0..servers).filter(|&place| !gone(place)).collect());
        (moved(&first, &left), first.iter().filter(|&&home| gone(home)).count() as f64)
    };
    let over = |(moved, needed): (f64, f64)| moved / needed;
    let moved = [
        grown(1),
        grown(tenth),
        over(shrunk(&|place| place == servers / 2)),
        over(shrunk(&|place| place % 10 == 5)),
    ];
    // Away when their tenth is taken out, and back when it is there again: the same clients both times.
    let deploy =
        (0..10).map(|step| 2.0 * shrunk(&|place| place / tenth == step).0).sum::<f64>() / clients as f64;
    Report {
        name: algorithm.name,
        busiest: f64::from(*most) / mean,
        idlest: f64::from(*least) / mean,
        moved,
        deploy,
        seconds: start.elapsed().as_secs_f64(),
    }
}

const HEADING: &str = "| | busiest | idlest | one more | a tenth more | one less | a tenth less | deploy | s |\n\
                       |---|---|---|---|---|---|---|---|---|";

fn number_of_servers(default: usize) -> u32 {
    u32::try_from(number("SERVERS", default)).expect("SERVERS is small")
}

#[test]
fn simulated_deploys_move_nobody_whose_server_stays() {
    let (servers, clients) = (number_of_servers(50), number("CLIENTS", 40_000));
    println!("{HEADING}");
    for algorithm in &ALL {
        let report = report(algorithm, servers, clients);
        println!("{report}");
        if algorithm.name == "Stayput" {
            let [one_more, more, one_less, less] = report.moved;
            assert!((one_less, less) == (1.0, 1.0), "somebody moved whose server stayed");
            assert!((report.deploy - 2.0).abs() < 1e-9, "{} moves in a deploy", report.deploy);
            let mean = clients as f64 / f64::from(servers);
            let chance = 5.0 * (1.0 / mean + f64::from(servers) / f64::from(SLOTS)).sqrt();
            assert!((one_more - 1.0).abs() < chance && (more - 1.0).abs() < 0.2, "{one_more}, {more}");
            assert!(report.busiest < 1.0 + chance, "{}", report.busiest);
        }
    }
}

#[test]
#[ignore = "a measurement of minutes: run bench/homes.py"]
fn a_thousand_servers_and_ten_million_clients() {
    let (servers, clients) = (number_of_servers(1000), number("CLIENTS", 10_000_000));
    println!("{clients} clients, {servers} servers\n{HEADING}");
    for algorithm in &ALL {
        println!("{}", report(algorithm, servers, clients));
    }
}
