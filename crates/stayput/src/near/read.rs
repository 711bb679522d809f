//! Reads of the store on behalf of clients: those who need the same record at the same time share one.
//!
//! No read outlives those who wait for it, and none is shared with who has seen more than it may find.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared};
use stayput_core::{Record, StorageKey, StoreError, StoreFuture, Uptime};

use super::Near;
use super::copy::Copy;
use super::motion::Motion;
use super::seen::SeenVersion;

/// What a read found, for all who wait for it.
type Found = Result<Option<Arc<Copy>>, Arc<StoreError>>;

type Reading = Pin<Box<dyn Future<Output = Found> + Send>>;

/// A read under way, while anybody waits for it.
pub(super) type SharedRead = WeakShared<Reading>;

impl Near {
    /// Reads the session from the store, for a client that has seen it at version `seen`.
    pub(crate) fn read(
        self: &Arc<Self>,
        key: StorageKey,
        seen: Option<SeenVersion>,
    ) -> StoreFuture<'static, Option<Arc<Copy>>> {
        let near = Arc::clone(self);
        StoreFuture::new(async move {
            let (first, is_ours) = near.join(key, seen);
            let found = first.await.map_err(|error| near.again(error))?;
            let is_behind = |copy: &Arc<Copy>| seen.is_some_and(|seen| copy.version() < seen);
            if is_ours || !found.as_ref().is_some_and(is_behind) {
                return Ok(found);
            }
            // It began before the client's write was done, perhaps. The next one begins after that.
            near.join(key, seen).0.await.map_err(|error| near.again(error))
        })
    }

    /// The read that is under way, or a new one; and whether it is a new one.
    fn join(self: &Arc<Self>, key: StorageKey, seen: Option<SeenVersion>) -> (Shared<Reading>, bool) {
        self.motions.with(key, |motion| {
            if let Some(shared) = motion.shared.as_ref().and_then(WeakShared::upgrade) {
                return (shared, false);
            }
            let watched = Watched::begin(Arc::clone(self), key, motion);
            let reading: Reading = Box::pin(async move {
                match watched.near.store.load(key).await {
                    Ok(found) => Ok(found.map(|record| watched.keep(record, seen))),
                    Err(error) => Err(Arc::new(error)),
                }
            });
            let shared = reading.shared();
            motion.shared = shared.downgrade();
            (shared, true)
        })
    }

    /// Begins to watch a record that is about to be read.
    pub(super) fn watch(&self, key: StorageKey) -> Watched<&Self> {
        self.motions.with(key, |motion| Watched::begin(self, key, motion))
    }

    /// The error of a shared read, for one of those who waited for it.
    fn again(&self, error: Arc<StoreError>) -> StoreError {
        let (kind, operation) = (error.kind(), error.operation());
        Arc::try_unwrap(error)
            .unwrap_or_else(|error| StoreError::new(kind, self.store.name(), operation).with_source(error))
    }
}

/// A read under way.
pub(super) struct Watched<N: Deref<Target = Near>> {
    near: N,
    key: StorageKey,
    begun: u32,
    losses: u64,
    sent: Uptime,
}

impl<N: Deref<Target = Near>> Watched<N> {
    fn begin(near: N, key: StorageKey, motion: &mut Motion) -> Self {
        let (losses, sent) = (near.losses(), near.clock.uptime());
        Self { near, key, begun: motion.begin_read(), losses, sent }
    }

    /// A copy of what was read for a client that has seen `seen`; kept, unless it may be out of date already.
    pub(super) fn keep(&self, record: Arc<Record>, seen: Option<SeenVersion>) -> Arc<Copy> {
        let copy = Arc::new(Copy::new(record, self.sent, seen));
        self.near.motions.with(self.key, |motion| {
            if motion.is_as_it_was(self.begun) && self.near.losses() == self.losses {
                self.near.hold(self.key, &copy);
            }
        });
        copy
    }
}

impl<N: Deref<Target = Near>> Drop for Watched<N> {
    fn drop(&mut self) {
        self.near.motions.with(self.key, Motion::end_read);
    }
}
