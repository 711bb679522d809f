//! What a fault run of gateways is made of: users, servers, and a wire that can fall silent.
//!
//! `../gateway_faults.py` starts these and breaks them.

mod http;
mod outcome;
mod report;
mod server;
mod user;
mod users;
mod wire;

use std::io::{Error, Result};
use std::net::SocketAddr;

const USAGE: &str = "\
server NAME ADDRESS FILE      answers; appends the operations that it acts on to FILE; SIGUSR1: breaks every request off,
                              SIGUSR2: takes three seconds for each answer, SIGHUP: as ever again
wire ADDRESS SERVER           passes bytes on; SIGUSR1: holds every byte and takes no connection, SIGHUP: as ever again
users COUNT FILE ADDRESS …    each on its own; a line on standard input begins a phase, its end ends the run;
                              prints a line of figures per phase; writes the operations that were answered to FILE";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let address = |text: &str| text.parse::<SocketAddr>().map_err(Error::other);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words[..] {
        ["server", name, at, file] => runtime.block_on(server::run(name, address(at)?, file)),
        ["wire", at, server] => runtime.block_on(wire::run(address(at)?, address(server)?)),
        ["users", count, file, first, ref others @ ..] => {
            let gateways: Result<Vec<_>> = [&[first], others].concat().into_iter().map(address).collect();
            runtime.block_on(users::run(count.parse().map_err(Error::other)?, file, gateways?))
        }
        _ => Err(Error::other(USAGE)),
    }
}
