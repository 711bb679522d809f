//! Redis when it is full, strict, hung, cut off or gone: what users of the store get to see.
#![cfg(feature = "redis")]

mod cluster;
mod errors;
mod failover;
mod outage;
mod sentinel;
mod support;
mod weather;
