//! The gateway between raw clients and recording upstreams, over real sockets.

mod admin;
mod affinity;
mod bodies;
mod changes;
mod conformance;
mod connections;
mod differential;
mod failure;
mod framing;
mod health;
mod limits;
mod names;
mod review;
mod rules;
mod support;
mod url;

#[path = "../../../../fuzz/src/corpus.rs"]
mod corpus;
#[expect(unreachable_pub, reason = "the fuzz targets are crates that use this one")]
#[path = "../../../../fuzz/src/gateway/mod.rs"]
mod fuzz;
