//! What users experience while the store is out, and how fast the end of a session spreads: the parts of `outage.py` and
//! `spread.py` that have to be fast. It asserts nothing; it counts, and prints JSON.
//!
//! `outage drill LAYER FAULT[,FAULT…]` breaks Redis once for each fault under the load of many users; `outage spread HOW`
//! ends sessions on one server and asks the others; `outage serve LAYER` is one of the three servers of both.

mod actix;
mod apps;
mod clients;
mod drill;
mod http;
mod relay;
mod report;
mod site;
mod spread;
mod users;

use std::time::Duration;

pub(crate) fn main(args: &[&str]) {
    match *args {
        ["serve", layer] => site::serve(layer),
        ["drill", layer, faults] => threads().block_on(drill::run(layer, faults)),
        ["spread", how] => threads().block_on(spread::run(how)),
        _ => panic!("usage: stayput-bench outage serve LAYER | drill LAYER FAULT[,FAULT…] | spread HOW"),
    }
}

/// Users, proxy and clocks of a drill: on all cores, for they must not be what is slow.
fn threads() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// A setting of the run, from the environment: the scripts have the command line.
fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().map_or(default, |text| text.parse().ok().expect("a setting is valid"))
}

fn seconds(name: &str, default: f64) -> Duration {
    Duration::from_secs_f64(setting(name, default))
}
