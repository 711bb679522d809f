//! What others need who make connections of their own to all of a cluster's primaries.
//!
//! It holds the client's map to be true: whatever the client may have read, it read from a node in there. It doesn't keep the
//! client alive.

use std::sync::{Arc, Weak};

use redis::{Cmd, Value};
use tokio::sync::watch;

use super::shares::Shares;
use super::view::View;
use super::{Shared, node};
use crate::redis::config::{Address, Endpoint, RedisConfig};
use crate::redis::tls::Tls;

/// The cluster as the client knows it.
pub(in crate::redis) struct Watched {
    shared: Weak<Shared>,
    changes: watch::Receiver<u64>,
}

/// The client's map at one point in time.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::redis) struct Layout {
    generation: u64,
    shares: Shares,
}

impl Watched {
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::downgrade(shared), changes: shared.changes.subscribe() }
    }

    /// The map of the moment, and every node that calls go to. `None` if the client is gone.
    pub(in crate::redis) fn layout(&mut self) -> Option<(Layout, Vec<RedisConfig>)> {
        let shared = self.shared.upgrade()?;
        let map = shared.map();
        let layout = Layout { generation: *self.changes.borrow_and_update(), shares: map.shares() };
        let servers = map.endpoints().iter().map(|endpoint| node::at(endpoint, &shared.config)).collect();
        Some((layout, servers))
    }

    pub(in crate::redis) fn tls(&self) -> Option<Tls> {
        self.shared.upgrade()?.tls.clone()
    }

    /// Whether the map has not changed, not even for a moment.
    pub(in crate::redis) fn is_still(&self, layout: &Layout) -> bool {
        *self.changes.borrow() == layout.generation
    }

    /// Returns when the map has changed; `false` if it never will again, since the client is gone.
    pub(in crate::redis) async fn changed(&mut self) -> bool {
        self.changes.changed().await.is_ok()
    }

    pub(in crate::redis) fn is_over(&self) -> bool {
        self.shared.strong_count() == 0
    }

    /// Has the client look at the cluster again, soon.
    pub(in crate::redis) fn doubt(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.doubt.notify_one();
        }
    }
}

impl Layout {
    /// Whether the node at this address sees the cluster in the same way, by its answer to [`question`].
    pub(in crate::redis) fn is_seen_by(&self, address: &Address, answer: &Value) -> bool {
        let Address::Tcp { host, port } = address else { return false };
        let from = Endpoint { host: host.clone(), port: *port };
        View::from_value(answer, &from).is_some_and(|view| view.shares() == self.shares)
    }
}

/// Asks a node how it sees the cluster.
pub(in crate::redis) fn question() -> Cmd {
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("SLOTS");
    slots
}
