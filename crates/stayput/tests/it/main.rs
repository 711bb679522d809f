//! What the library promises an application, over a memory store and without a network.

mod renewal;
mod sessions;
mod support;
