//! Sessions in Redis: one server, or a cluster of them, for any number of applications' servers.
//!
//! A record is one string that Redis itself expires; whatever compares and changes runs there as a script, in one round trip.
//! A subject's sessions are in an index of their own. No command or script touches two slots of a cluster, and the server's
//! clock decides. It never waits without a limit: calls have a deadline and a bounded number, and connections too.

mod check;
mod client;
mod cluster;
mod config;
mod connector;
mod fault;
mod index;
mod invalidations;
mod keys;
mod link;
mod marker;
mod message;
mod pulse;
mod records;
mod replicas;
mod room;
mod script;
mod sentinel;
mod servers;
mod stream;
mod subjects;
mod tls;
mod together;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use stayput_core::{
    Admission, Admitted, Created, Epoch, Invalidations, Marker, Operation, Record, Replaced, SessionStore,
    StorageKey, StoreError, StoreErrorKind, StoreFuture, SubjectKey, Timestamp, Touched, Version,
};

use self::client::Client;
pub use self::config::{RedisConfig, RedisUrlError};
use self::keys::Keys;

/// Records on a Redis server or in a Redis Cluster, version 6.2 or newer, or what speaks like it.
///
/// What was acknowledged survives the death of this process. Whether it survives that of the server is the server's
/// configuration: see its `appendonly`. Its `maxmemory-policy` should be `noeviction`; any other may end live sessions.
pub struct RedisStore {
    client: Client,
    keys: Keys,
    /// As a URL, without its password.
    place: String,
}

impl RedisStore {
    /// Connects to the server of a URL such as `redis://127.0.0.1:6379`; [`RedisConfig`] says what else there may be in one.
    ///
    /// # Errors
    ///
    /// The URL can't be read, or as [`RedisStore::connect_with`].
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let refused = |error| error_of(StoreErrorKind::Refused, Operation::Connect).with_source(error);
        Self::connect_with(url.parse::<RedisConfig>().map_err(refused)?).await
    }

    /// Connects to a server. Later on, connections that are lost are made again.
    ///
    /// # Errors
    ///
    /// It can't be reached, isn't to be trusted, refuses user or password, or is older than 6.2.
    pub async fn connect_with(config: RedisConfig) -> Result<Self, StoreError> {
        let (place, keys) = (config.to_string(), Keys::new(config.prefix.clone()));
        let client = Client::connect(config).await.map_err(|error| {
            error_of(fault::of(&error).kind, Operation::Connect).with_source(fault::cause(error))
        })?;
        let store = Self { client, keys, place };
        store.check().await?;
        store.mark().await?;
        store.check_replicas().await?;
        Ok(store)
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("place", &self.place).finish_non_exhaustive()
    }
}

impl SessionStore for RedisStore {
    fn name(&self) -> &'static str {
        NAME
    }

    fn create(&self, key: StorageKey, record: Record) -> StoreFuture<'_, Created> {
        StoreFuture::new(self.create_record(key, record))
    }

    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Arc<Record>>> {
        StoreFuture::new(self.load_record(key))
    }

    fn replace(&self, key: StorageKey, record: Record, expected: Version) -> StoreFuture<'_, Replaced> {
        StoreFuture::new(self.replace_record(key, record, expected))
    }

    fn touch(&self, key: StorageKey, expires: Timestamp) -> StoreFuture<'_, Touched> {
        StoreFuture::new(self.touch_record(key, expires))
    }

    fn remove(&self, key: StorageKey) -> StoreFuture<'_, ()> {
        StoreFuture::new(self.remove_record(key))
    }

    fn admit(&self, subject: SubjectKey, key: StorageKey, admission: Admission) -> StoreFuture<'_, Admitted> {
        StoreFuture::new(self.admit_session(subject, key, admission))
    }

    fn subject_sessions(&self, subject: SubjectKey) -> StoreFuture<'_, Vec<StorageKey>> {
        StoreFuture::new(self.sessions_of(subject))
    }

    fn end_subject(&self, subject: SubjectKey, except: Option<StorageKey>) -> StoreFuture<'_, Option<usize>> {
        StoreFuture::new(self.end_sessions(subject, except))
    }

    fn subject_epoch(&self, subject: SubjectKey) -> StoreFuture<'_, Epoch> {
        StoreFuture::new(self.epoch(subject))
    }

    /// Nothing: Redis deletes by itself what has expired.
    fn sweep(&self, _limit: usize) -> StoreFuture<'_, usize> {
        StoreFuture::ready(Ok(0))
    }

    fn marker(&self) -> StoreFuture<'_, Option<Marker>> {
        StoreFuture::new(self.read_marker())
    }

    /// By a connection of its own to each primary. A server that refuses to tell has a stream on which nothing comes.
    fn invalidations(&self) -> Option<Invalidations> {
        Some(Box::pin(self.listen()))
    }

    /// Each call has one deadline for all its round trips, connecting included.
    fn time_limit(&self) -> Option<Duration> {
        Some(self.client.timeout())
    }

    fn is_remote(&self) -> bool {
        true
    }
}

fn error_of(kind: StoreErrorKind, operation: Operation) -> StoreError {
    StoreError::new(kind, NAME, operation)
}

const NAME: &str = "Redis";

#[cfg(test)]
mod tests;
