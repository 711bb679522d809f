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
use super::seen::{Seen, SeenVersion};
use crate::session::Source;

/// What a read found, for all who wait for it.
type Found = Result<Option<Arc<Copy>>, Arc<StoreError>>;

type Reading = Pin<Box<dyn Future<Output = Found> + Send>>;

/// A read under way, while anybody waits for it.
pub(super) struct SharedRead {
    reading: WeakShared<Reading>,
    begun: u32,
    losses: u64,
    sent: Uptime,
}

impl Near {
    /// Reads the session from the store, for a client that has `seen` it. If somebody else had begun to, what they found is
    /// as good as a copy, and no better.
    pub(crate) fn read(
        self: &Arc<Self>,
        key: StorageKey,
        seen: Seen,
    ) -> StoreFuture<'static, Option<(Arc<Copy>, Source)>> {
        let near = Arc::clone(self);
        StoreFuture::new(async move {
            let (first, is_ours) = near.join(key, seen.version);
            let found = first.await.map_err(|error| near.again(error))?;
            let is_behind = |copy: &Arc<Copy>| !seen.is_in(&copy.record.header);
            if is_ours || !found.as_ref().is_some_and(is_behind) {
                let source = if is_ours { Source::Store } else { Source::Copy };
                return Ok(found.map(|copy| (copy, source)));
            }
            // It began before the client's write was done, perhaps. The next one begins after that.
            let found = near.join(key, seen.version).0.await.map_err(|error| near.again(error))?;
            Ok(found.map(|copy| (copy, Source::Store)))
        })
    }

    /// The read that is under way, or a new one; and whether it is a new one.
    fn join(self: &Arc<Self>, key: StorageKey, seen: Option<SeenVersion>) -> (Shared<Reading>, bool) {
        self.motions.with(key, |motion| {
            let shared = motion.shared.as_ref().filter(|shared| self.is_current(shared, motion));
            // One that is over may be older than who comes now, and yet be held by somebody who hasn't taken it.
            let is_under_way = |reading: &Shared<Reading>| reading.peek().is_none();
            if let Some(reading) = shared.and_then(|shared| shared.reading.upgrade()).filter(is_under_way) {
                return (reading, false);
            }
            let watched = Watched::begin(Arc::clone(self), key, motion);
            let (begun, losses, sent) = (watched.begun, watched.losses, watched.sent);
            let reading: Reading = Box::pin(async move {
                match watched.near.store.load(key).await {
                    Ok(Some(record)) => Ok(Some(watched.keep(record, seen))),
                    Ok(None) => {
                        watched.find_nothing();
                        Ok(None)
                    }
                    Err(error) => Err(Arc::new(error)),
                }
            });
            let shared = reading.shared();
            let reading = shared.downgrade();
            motion.shared = reading.map(|reading| SharedRead { reading, begun, losses, sent });
            (shared, true)
        })
    }

    /// Whether what a read will find can be used by who comes now, as if it were a copy already.
    fn is_current(&self, shared: &SharedRead, motion: &Motion) -> bool {
        let now = self.clock.uptime();
        motion.is_as_it_was(shared.begun)
            && self.losses() == shared.losses
            && now < shared.sent.after(self.lease(now))
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
            } else {
                // It may be out of date; what is older is.
                self.near.drop_older(&self.key, copy.version());
            }
        });
        copy
    }

    /// There is no record: a copy of one is of before the session ended.
    pub(super) fn find_nothing(&self) {
        self.near.motions.with(self.key, |motion| {
            motion.note_change();
            self.near.drop_copy(&self.key);
        });
    }
}

impl<N: Deref<Target = Near>> Drop for Watched<N> {
    fn drop(&mut self) {
        self.near.motions.with(self.key, Motion::end_read);
    }
}
