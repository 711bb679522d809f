//! One connection that is told what changes on one server.
//!
//! What it is told goes to the queue before any later answer is seen.

use std::sync::Arc;

use redis::{Cmd, PushInfo, PushKind, RedisResult, Value};
use stayput_core::StorageKey;
use tokio::time::timeout;

use super::queue::Queue;
use crate::redis::config::{Address, RedisConfig};
use crate::redis::connector::silent;
use crate::redis::link::Link;
use crate::redis::tls::Tls;

pub(super) struct Ear(Link);

impl Ear {
    /// Returns when the server has said that it tells of every change from now on.
    pub(super) async fn open(
        config: &RedisConfig,
        tls: Option<&Tls>,
        queue: Arc<Queue>,
    ) -> RedisResult<Self> {
        let open = async {
            let prefix = config.prefix.clone().into_bytes();
            let link = Link::hear(config, tls, move |push| tell(&queue, &prefix, &push)).await?;
            link.send(&track(&config.prefix)).await?;
            Ok(Self(link))
        };
        timeout(config.connect_timeout, open).await.unwrap_or_else(|_| Err(silent()))
    }

    pub(super) fn address(&self) -> &Address {
        &self.0.address
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.is_over()
    }

    /// Returns when it is over.
    pub(super) async fn over(&self) {
        self.0.over().await;
    }

    /// Asks the server something. If that takes too long, the connection is over.
    pub(super) async fn ask(&self, question: &Cmd) -> RedisResult<Value> {
        timeout(stayput_core::PULSE_LIMIT, self.0.send(question)).await.unwrap_or_else(|_| {
            self.0.give_up();
            Err(silent())
        })
    }
}

/// In broadcast mode the server remembers no keys for this connection, only the prefix.
fn track(prefix: &str) -> Cmd {
    let mut track = redis::cmd("CLIENT");
    track.arg("TRACKING").arg("ON").arg("BCAST");
    if !prefix.is_empty() {
        track.arg("PREFIX").arg(prefix);
    }
    track
}

fn tell(queue: &Queue, prefix: &[u8], push: &PushInfo) {
    if push.kind != PushKind::Invalidate {
        return;
    }
    match push.data.first() {
        Some(Value::Array(names)) => {
            names.iter().filter_map(|name| key(name, prefix)).for_each(|key| queue.changed(key));
        }
        // What can't be read may mean anything.
        _ => queue.flushed(),
    }
}

/// The key in a record's name; `None` in any other, such as that of a subject's index: they differ in length.
fn key(name: &Value, prefix: &[u8]) -> Option<StorageKey> {
    let Value::BulkString(name) = name else { return None };
    name.strip_prefix(prefix)?.try_into().ok().map(StorageKey::from_bytes)
}
