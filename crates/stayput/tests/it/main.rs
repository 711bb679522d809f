//! What the library promises an application, over a memory store and without a network.

mod data;
mod failure;
mod keys;
mod login;
mod reload;
mod renewal;
mod support;
