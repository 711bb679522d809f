//! What the library promises an application, over a memory store and without a network.

mod cancellation;
mod clients;
mod corners;
mod data;
mod devices;
mod failure;
mod fleet;
mod format;
mod identifiers;
mod keys;
mod lifeboat;
mod login;
mod near;
mod orders;
mod outage;
mod policy;
mod reload;
mod renewal;
mod spare;
mod succession;
mod support;
mod types;

#[path = "../../../../fuzz/src/corpus.rs"]
mod corpus;
#[expect(unreachable_pub, reason = "the fuzz targets are crates that use this one")]
#[path = "../../../../fuzz/src/lib.rs"]
mod fuzz;
