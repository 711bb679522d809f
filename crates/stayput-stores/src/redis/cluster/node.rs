//! One primary: its connection, and how many calls may be under way to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::redis::config::{Address, Endpoint, RedisConfig};
use crate::redis::connector::Connector;
use crate::redis::replicas::Replicas;
use crate::redis::tls::Tls;

pub(in crate::redis) struct Node {
    pub(super) endpoint: Endpoint,
    pub(in crate::redis) connector: Connector,
    /// For writes that a failover must not undo, if there is anything to wait for.
    pub(in crate::redis) replicas: Option<Replicas>,
    permits: Arc<Semaphore>,
    /// Since the cluster was last looked at.
    is_used: AtomicBool,
}

impl Node {
    /// Begins to connect.
    pub(super) fn new(endpoint: Endpoint, config: &RedisConfig, tls: Option<&Tls>) -> Self {
        let most = (config.in_flight / 2).clamp(1, Semaphore::MAX_PERMITS);
        let config = at(&endpoint, config);
        Self {
            replicas: (config.wait_replicas > 0).then(|| Replicas::begin(&config, tls.cloned())),
            connector: Connector::begin(config, tls.cloned()),
            permits: Arc::new(Semaphore::new(most)),
            is_used: AtomicBool::new(false),
            endpoint,
        }
    }

    /// Lets a call in, unless this node has half of all that there may be: one that hangs must leave room for the others'.
    pub(in crate::redis) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        self.is_used.store(true, Ordering::Relaxed);
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// Whether there were calls since this was last asked.
    pub(super) fn take_used(&self) -> bool {
        self.is_used.swap(false, Ordering::Relaxed)
    }
}

/// How one node is talked to.
pub(super) fn at(endpoint: &Endpoint, config: &RedisConfig) -> RedisConfig {
    let Endpoint { host, port } = endpoint.clone();
    RedisConfig { address: Address::Tcp { host, port }, ..config.clone() }
}
