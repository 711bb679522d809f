//! What the library promises an application, over a memory store and without a network.

mod corpus;
mod data;
mod failure;
mod keys;
mod login;
mod renewal;
mod support;
