//! The gateway between raw clients and recording upstreams, over real sockets.

mod affinity;
mod bodies;
mod changes;
mod connections;
mod failure;
mod framing;
mod health;
mod limits;
mod rules;
mod support;
mod url;
