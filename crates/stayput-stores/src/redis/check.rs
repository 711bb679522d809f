//! What a server is looked at for when the store is opened.
//!
//! It refuses only what can't work. What may lose sessions is said once, in a warning: the server may be shared, and its
//! configuration not ours to insist on.

use std::error::Error;

use redis::Value;
use stayput_core::{Operation, StorageKey, StoreError, StoreErrorKind};

use super::client::Effect;
use super::{RedisStore, error_of};

impl RedisStore {
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let mut call = self.client.begin(Operation::Connect)?;
        // As every load does: who may not do that has no use for the store.
        call.send(&self.read_header(&StorageKey::named("check")), Effect::Nothing).await?;
        let answer = match call.send(&redis::cmd("INFO"), Effect::Nothing).await {
            Ok(answer) => answer,
            // Who may not ask that may still keep sessions.
            Err(error) if error.kind() == StoreErrorKind::Refused => return Ok(()),
            Err(error) => return Err(error),
        };
        let Value::BulkString(text) = answer else { return Ok(()) };
        let info = Info(&String::from_utf8_lossy(&text));
        if info.version().is_some_and(|version| version < OLDEST) {
            let cause = "it is older than Redis 6.2; update it";
            return Err(error_of(StoreErrorKind::Refused, Operation::Connect).with_source(cause));
        }
        self.warn(&info);
        Ok(())
    }

    /// Sees that replicas can be waited for, and have what is there by now. Too few of them are no reason not to open the
    /// store: what needs them will say so.
    pub(super) async fn check_replicas(&self) -> Result<(), StoreError> {
        let mut call = self.client.begin_write(Operation::Connect, true)?;
        call.send(&self.read_header(&StorageKey::named("check")), Effect::Nothing).await?;
        match call.confirm().await {
            Err(error) if error.kind() == StoreErrorKind::Refused => Err(error),
            Err(error) => {
                let cause = error.source().map(ToString::to_string);
                tracing::warn!(server = self.place, cause, "Redis has too few replicas for wait_replicas");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn warn(&self, info: &Info<'_>) {
        let server = &self.place;
        if let Some(policy) = info.eviction() {
            tracing::warn!(
                server,
                policy,
                "Redis may drop live sessions when its memory is full; set maxmemory-policy to noeviction"
            );
        }
        if info.field("role") == Some("slave") {
            tracing::warn!(server, "this Redis server is a replica, which takes no writes");
        }
    }
}

/// What the server says of itself.
struct Info<'a>(&'a str);

impl<'a> Info<'a> {
    fn field(&self, name: &str) -> Option<&'a str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    fn version(&self) -> Option<(u32, u32)> {
        let mut parts = self.field("redis_version")?.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    }

    /// The policy by which it may drop what has not expired. All that is kept here has a deadline, so `volatile` ones may, too.
    fn eviction(&self) -> Option<&'a str> {
        self.field("maxmemory_policy").filter(|policy| *policy != "noeviction")
    }
}

/// The first version with all commands that the scripts use.
const OLDEST: (u32, u32) = (6, 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_of_itself_is_read() {
        let text =
            "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nmaxmemory_policy:allkeys-lru\r\n";
        let info = Info(text);
        assert_eq!((info.version(), info.eviction()), (Some((7, 0)), Some("allkeys-lru")));
        assert_eq!(Info("maxmemory_policy:noeviction\r\n").eviction(), None);
        assert!(Info("redis_version:6.0.16").version() < Some(OLDEST));
        assert_eq!(Info("").version(), None);
    }
}
