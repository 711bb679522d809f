//! Redis when it is full, strict, hung, cut off or gone: what users of the store get to see.
#![cfg(feature = "redis")]

mod cluster;
mod errors;
mod failover;
#[path = "../redis_hang/gauge.rs"]
mod gauge;
mod invalidations;
mod outage;
mod sentinel;
mod support;
mod weather;
