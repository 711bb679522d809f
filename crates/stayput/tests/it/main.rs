//! What the library promises an application, over a memory store and without a network.

mod cancellation;
mod clients;
mod corners;
mod corpus;
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
mod succession;
mod support;
mod types;
