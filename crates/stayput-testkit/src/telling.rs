//! A store that tells what changes in it, as far as the test lets it.
//!
//! It never tells of what didn't happen.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use stayput_core::{
    Admission, Admitted, Created, Epoch, Invalidation, Invalidations, Marker, Record, Replaced, SessionStore,
    StorageKey, StoreFuture, SubjectKey, Timestamp, Touched, Version,
};

/// Passes calls on to a store, and tells of changes. It takes itself for a remote one.
#[derive(Debug)]
pub struct TellingStore {
    store: Arc<dyn SessionStore>,
    line: Arc<Mutex<Line>>,
    loads: AtomicUsize,
    calls: AtomicUsize,
}

/// Between the store and those who listen.
#[derive(Debug, Default)]
struct Line {
    /// What was told and is kept back by the test, the oldest first.
    waiting: VecDeque<Invalidation>,
    is_held: bool,
    listeners: Vec<Arc<Mutex<Listener>>>,
}

#[derive(Debug, Default)]
struct Listener {
    told: VecDeque<Invalidation>,
    /// What it would have been told, if the test tells it itself.
    kept: Option<Vec<Change>>,
    waker: Option<Waker>,
    is_gone: bool,
}

/// One of those who listen to a [`TellingStore`], which the test tells what it likes.
#[derive(Clone, Debug)]
pub struct Ear(Arc<Mutex<Listener>>);

/// A change of which the store has told nobody yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// What was changed.
    pub key: StorageKey,
    /// How.
    pub cause: Cause,
}

/// How a record was changed, as far as messages differ by it: [`Invalidation::Changed`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// By a swap, which has one message.
    Swap,
    /// By a removal, which may have several.
    Removal,
    /// By a creation or a touch, which may share a swap's.
    Other,
}

impl TellingStore {
    /// Wraps `store`. What changes is told at once.
    pub fn new(store: Arc<dyn SessionStore>) -> Self {
        Self { store, line: Arc::default(), loads: AtomicUsize::new(0), calls: AtomicUsize::new(0) }
    }

    /// How many records it was asked for so far.
    pub fn loads(&self) -> usize {
        self.loads.load(Ordering::Relaxed)
    }

    /// How many calls it got so far, of whatever kind but for its marker.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// From now on what is told waits for [`TellingStore::release`].
    pub fn hold(&self) {
        self.line().is_held = true;
    }

    /// Tells all that waits, and from now on at once.
    pub fn release(&self) {
        let mut line = self.line();
        line.is_held = false;
        for message in std::mem::take(&mut line.waiting) {
            line.deliver(message);
        }
    }

    /// Tells the oldest message that waits; says whether there was one.
    pub fn release_one(&self) -> bool {
        let mut line = self.line();
        let message = line.waiting.pop_front();
        message.is_some_and(|message| {
            line.deliver(message);
            true
        })
    }

    /// Loses all that waits. That it is lost is told only by [`TellingStore::lose`].
    pub fn drop_waiting(&self) {
        self.line().waiting.clear();
    }

    /// Says that the stream works. It waits behind what waits already.
    pub fn pulse(&self) {
        self.line().tell(Invalidation::Pulse);
    }

    /// Says that messages may be missing.
    pub fn lose(&self) {
        self.line().tell(Invalidation::Lost);
    }

    /// Who began to listen last. From now on they hear only what the test tells them.
    ///
    /// # Panics
    ///
    /// If nobody listens.
    pub fn newest_ear(&self) -> Ear {
        let newest = self.line().listeners.last().cloned().expect("somebody listens");
        lock(&newest).kept.get_or_insert_default();
        Ear(newest)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        lock(&self.line)
    }

    /// Makes a change, and tells of it if it was one.
    fn change<'a, T: Send + 'a>(
        &'a self,
        key: StorageKey,
        cause: Cause,
        mut call: StoreFuture<'a, T>,
        is_change: impl Fn(&T) -> bool + Send + 'a,
    ) -> StoreFuture<'a, T> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let tell = move |outcome: &T| {
            if is_change(outcome) {
                self.line().change(key, cause);
            }
        };
        // A store that does its work when it is called is told of at once: changes are told in their order.
        match Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => StoreFuture::ready(outcome.inspect(tell)),
            Poll::Pending => StoreFuture::new(async move { call.await.inspect(tell) }),
        }
    }

    fn note<'a, T>(&self, call: StoreFuture<'a, T>) -> StoreFuture<'a, T> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        call
    }
}

impl Ear {
    /// What was changed since this was asked last, in its order. Its listener hears nothing of it by that.
    pub fn changes(&self) -> Vec<Change> {
        lock(&self.0).kept.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Has its listener hear `message`.
    pub fn hear(&self, message: Invalidation) {
        lock(&self.0).hear(message);
    }
}

impl Listener {
    fn hear(&mut self, message: Invalidation) {
        self.told.push_back(message);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Line {
    /// Tells of a change, but for those who hear of it from the test.
    fn change(&mut self, key: StorageKey, cause: Cause) {
        for listener in &self.listeners {
            if let Some(kept) = &mut lock(listener).kept {
                kept.push(Change { key, cause });
            }
        }
        self.tell(Invalidation::Changed(key));
    }

    fn tell(&mut self, message: Invalidation) {
        if self.is_held {
            self.waiting.push_back(message);
        } else {
            self.deliver(message);
        }
    }

    fn deliver(&mut self, message: Invalidation) {
        self.listeners.retain(|listener| {
            let mut listener = lock(listener);
            if listener.kept.is_none() {
                listener.hear(message);
            }
            !listener.is_gone
        });
    }
}

impl SessionStore for TellingStore {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn create(&self, key: StorageKey, record: Record) -> StoreFuture<'_, Created> {
        self.change(key, Cause::Other, self.store.create(key, record), |created| *created == Created::Created)
    }

    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Arc<Record>>> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.note(self.store.load(key))
    }

    fn replace(&self, key: StorageKey, record: Record, expected: Version) -> StoreFuture<'_, Replaced> {
        let call = self.store.replace(key, record, expected);
        self.change(key, Cause::Swap, call, |replaced| *replaced == Replaced::Replaced)
    }

    fn touch(&self, key: StorageKey, expires: Timestamp) -> StoreFuture<'_, Touched> {
        self.change(key, Cause::Other, self.store.touch(key, expires), |touched| *touched == Touched::Touched)
    }

    fn remove(&self, key: StorageKey) -> StoreFuture<'_, ()> {
        self.change(key, Cause::Removal, self.store.remove(key), |()| true)
    }

    fn admit(&self, subject: SubjectKey, key: StorageKey, admission: Admission) -> StoreFuture<'_, Admitted> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        StoreFuture::new(async move {
            let outcome = self.store.admit(subject, key, admission).await?;
            if let Admitted::Admitted { ended } = &outcome {
                for key in ended {
                    self.line().change(*key, Cause::Removal);
                }
            }
            Ok(outcome)
        })
    }

    fn subject_sessions(&self, subject: SubjectKey) -> StoreFuture<'_, Vec<StorageKey>> {
        self.note(self.store.subject_sessions(subject))
    }

    fn end_subject(&self, subject: SubjectKey, except: Option<StorageKey>) -> StoreFuture<'_, Option<usize>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        StoreFuture::new(async move {
            let keys = self.store.subject_sessions(subject).await?;
            let ended = self.store.end_subject(subject, except).await?;
            if ended.is_some() {
                for key in keys.into_iter().filter(|key| Some(*key) != except) {
                    self.line().change(key, Cause::Removal);
                }
            }
            Ok(ended)
        })
    }

    fn subject_epoch(&self, subject: SubjectKey) -> StoreFuture<'_, Epoch> {
        self.note(self.store.subject_epoch(subject))
    }

    fn sweep(&self, limit: usize) -> StoreFuture<'_, usize> {
        self.note(self.store.sweep(limit))
    }

    fn marker(&self) -> StoreFuture<'_, Option<Marker>> {
        self.store.marker()
    }

    fn invalidations(&self) -> Option<Invalidations> {
        let listener = Arc::<Mutex<Listener>>::default();
        lock(&listener).told.push_back(Invalidation::Lost);
        self.line().listeners.push(Arc::clone(&listener));
        Some(Box::pin(Told(listener)))
    }

    fn keeps_tombstones(&self) -> bool {
        self.store.keeps_tombstones()
    }

    fn is_remote(&self) -> bool {
        true
    }
}

/// What one listener is told.
struct Told(Arc<Mutex<Listener>>);

impl Stream for Told {
    type Item = Invalidation;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Invalidation>> {
        let mut listener = lock(&self.0);
        if let Some(message) = listener.told.pop_front() {
            return Poll::Ready(Some(message));
        }
        listener.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        lock(&self.0).is_gone = true;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelStore;

    crate::store_conformance!(|clock: Arc<crate::ManualClock>| async move {
        Arc::new(TellingStore::new(Arc::new(ModelStore::new(clock)))) as Arc<dyn SessionStore>
    });
}
