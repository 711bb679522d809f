//! Real servers as child processes on loopback, for tests of what talks to them.
//!
//! None outlives its test: each is watched by a shell that holds a pipe from the test, and ends its server by its own id
//! when the pipe closes, however the test ended. They keep no data but in a temporary directory that goes with them.

mod certificates;
mod clock;
mod port;
mod process;
mod redis;

pub use certificates::Certificates;
pub use redis::{
    RedisCluster, RedisClusterOptions, RedisSentinels, RedisSentinelsOptions, RedisServer,
    RedisServerOptions, Reply, Switch, Switches, slot,
};
