//! What stands on both sides of the gateways that `gateway.py` compares: their upstreams and their clients, each one
//! thread around epoll, so that both together leave the gateway on the other core enough to do.
//!
//! They never judge a gateway's answer beyond its status, length and upstream: that is what the tests are for.

mod answer;
mod clients;
mod connection;
mod load;
mod poller;
mod report;
mod upstream;

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;

const USAGE: &str = "stayput-bench-gateway upstream COUNT IP:PORT
    answers on COUNT addresses, the first and those after it in the last two bytes: 64 KB to /large, else 200 bytes
stayput-bench-gateway load IP:PORT CONNECTIONS CLIENTS WIDTH
    sends a request for each client, at most WIDTH at a time, and keeps the cookies; then a command a line:
    for SECONDS PATH, count REQUESTS PATH, fresh SECONDS PATH (a connection per request), rate SECONDS PATH REQUESTS_PER_SECOND";

fn main() -> io::Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["upstream", count, first] => upstream::serve(number(count), address(first)),
        ["load", target, connections, clients, width] => {
            load(address(target), number(connections), number(clients), number(width))
        }
        _ => panic!("{USAGE}"),
    }
}

fn load(target: SocketAddr, connections: usize, clients: usize, width: usize) -> io::Result<()> {
    let mut load = load::Load::new(target, connections, clients)?;
    let warm = load.warm_up(width)?;
    say(&warm.json())?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split(' ').collect();
        let report = match words[..] {
            ["for", seconds, path] => load.run_for(real(seconds), path)?,
            ["count", requests, path] => load.run_count(number(requests), path)?,
            ["fresh", seconds, path] => load.run_fresh(real(seconds), path)?,
            ["rate", seconds, path, rate] => load.run_at_rate(real(seconds), path, real(rate))?,
            _ => panic!("no such command: {line}"),
        };
        say(&report.json())?;
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

fn real(text: &str) -> f64 {
    text.parse().expect("a number")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address with a port")
}
