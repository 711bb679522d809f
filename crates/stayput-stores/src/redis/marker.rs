//! By what a server that lost everything is recognised: flushed, restarted without its data, or another one in its place.

use redis::Value;
use stayput_core::{Marker, Operation, StoreError, StoreErrorKind, SystemRandom};

use super::RedisStore;
use super::client::Effect;

impl RedisStore {
    /// Gives the server a marker if it has none. Only when the store is opened: what was wiped under the eyes of a running store
    /// shall be seen by it.
    ///
    /// A server that takes no writes at the moment is no reason not to open the store; it is left without.
    pub(super) async fn mark(&self) -> Result<(), StoreError> {
        let mut call = self.client.begin(Operation::Connect)?;
        let mut set = redis::cmd("SET");
        set.arg(self.keys.marker()).arg(Marker::generate(&SystemRandom).as_bytes()).arg("NX");
        match call.send(&set, Effect::Something).await {
            Err(error) if error.kind() == StoreErrorKind::Refused => Err(error),
            Err(error) => {
                tracing::warn!(server = self.place, %error, "the server could not be given a marker");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    pub(super) async fn read_marker(&self) -> Result<Option<Marker>, StoreError> {
        let mut call = self.client.begin(Operation::Marker)?;
        let mut get = redis::cmd("GET");
        get.arg(self.keys.marker());
        match call.send(&get, Effect::Nothing).await? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => {
                let bytes = bytes.try_into().map_err(|_| call.error(StoreErrorKind::Unreadable))?;
                Ok(Some(Marker::from_bytes(bytes)))
            }
            _ => Err(call.error(StoreErrorKind::Unreadable)),
        }
    }
}
