//! A store over a real server, and sessions of the present: the server tells the time by itself.

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use stayput_core::{Clock, StoreError, SystemClock};
use stayput_stores::{RedisConfig, RedisStore};
use stayput_testkit::servers::{RedisCluster, RedisSentinels, RedisServer};
use stayput_testkit::{FaultProxy, Records};

pub(crate) fn url(server: &RedisServer) -> String {
    format!("redis://127.0.0.1:{}", server.port())
}

pub(crate) async fn connect(server: &RedisServer) -> RedisStore {
    RedisStore::connect(&url(server)).await.unwrap()
}

/// A store that reaches its server through a proxy, and whose calls end after `timeout`.
pub(crate) async fn behind_proxy(server: &RedisServer, timeout: Duration) -> (Arc<RedisStore>, FaultProxy) {
    let proxy = FaultProxy::start((Ipv4Addr::LOCALHOST, server.port()).into()).await.unwrap();
    let config: RedisConfig = format!("redis://{}", proxy.address()).parse().unwrap();
    let config = config.timeout(timeout).connect_timeout(timeout);
    (Arc::new(RedisStore::connect_with(config).await.unwrap()), proxy)
}

/// A store that reaches each node of its cluster through a proxy, and whose calls end after `timeout`.
pub(crate) async fn behind_proxies(
    cluster: &RedisCluster,
    timeout: Duration,
) -> (Arc<RedisStore>, Vec<FaultProxy>) {
    let mut proxies = Vec::new();
    for node in 0..cluster.len() {
        let server = (Ipv4Addr::LOCALHOST, cluster.server(node).port()).into();
        proxies.push(FaultProxy::start(server).await.unwrap());
    }
    let ports: Vec<_> = proxies.iter().map(|proxy| proxy.address().port()).collect();
    cluster.announce(&ports);
    let config: RedisConfig = format!("redis+cluster://{}", proxies[0].address()).parse().unwrap();
    let config = config.timeout(timeout).connect_timeout(timeout);
    (Arc::new(RedisStore::connect_with(config).await.unwrap()), proxies)
}

/// A store that reaches a master without replicas, and the one sentinel that names it, through a proxy each, and whose calls
/// end after `timeout`.
pub(crate) async fn behind_sentinels_proxies(
    service: &RedisSentinels,
    timeout: Duration,
) -> (Arc<RedisStore>, Vec<FaultProxy>) {
    let (sentinel, name) = (&service.sentinels()[0], RedisSentinels::SERVICE);
    let mut proxies = Vec::new();
    for server in [sentinel, &service.servers()[0]] {
        proxies.push(FaultProxy::start((Ipv4Addr::LOCALHOST, server.port()).into()).await.unwrap());
    }
    // The sentinel knows the master by its proxy's address, and tells everybody so.
    sentinel.run(&format!("SENTINEL REMOVE {name}"));
    sentinel.run(&format!("SENTINEL MONITOR {name} 127.0.0.1 {} 1", proxies[1].address().port()));
    let config: RedisConfig = format!("redis+sentinel://{}/{name}", proxies[0].address()).parse().unwrap();
    let config = config.timeout(timeout).connect_timeout(timeout);
    (Arc::new(RedisStore::connect_with(config).await.unwrap()), proxies)
}

/// Records that begin now.
pub(crate) fn records() -> Records {
    let records = Records::seeded();
    records.clock().set(SystemClock.now());
    records
}

/// All that an error says, its causes included.
pub(crate) fn story(error: &StoreError) -> String {
    let (mut causes, mut next) = (Vec::new(), error.source());
    while let Some(cause) = next {
        causes.push(format!(": {cause}"));
        next = cause.source();
    }
    format!("{error}{}", causes.concat())
}
