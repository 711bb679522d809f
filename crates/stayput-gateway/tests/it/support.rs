//! A gateway under test, clients that send any bytes, and upstreams that record every byte.
//!
//! Nothing here sleeps to let something happen: it waits for the condition itself.

mod client;
mod gateway;
mod silent;
mod upstream;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use client::{Answer, Client};
pub(crate) use gateway::{TestGateway, named};
pub(crate) use silent::Silent;
pub(crate) use upstream::{Connection, OK, Upstream};

/// Longer than anything takes; reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited too long until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn localhost() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}
