//! A store that fails when told to, before or after the effect.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use stayput_core::{
    Admission, Admitted, Created, Epoch, Invalidations, Marker, Operation, Record, Replaced, SessionStore,
    StorageKey, StoreError, StoreErrorKind, StoreFuture, SubjectKey, Timestamp, Touched, Version,
};
use tokio::sync::Notify;

/// How one call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails at once; nothing happens.
    Before,
    /// It fails at once for good: what is there can't be read.
    Unreadable,
    /// It is turned away: too much is asked of the store already.
    Overloaded,
    /// It happens, but its caller gets [`StoreErrorKind::OutcomeUnknown`].
    After,
    /// It never happens and never returns.
    Hang,
    /// It happens, and never returns.
    HangAfter,
    /// It waits for [`FaultyStore::resume`] before it happens.
    Pause,
    /// It happens, and waits for [`FaultyStore::resume`] before it returns.
    PauseAfter,
}

/// Passes calls on to a store, but for those that a fault was planned for.
#[derive(Debug)]
pub struct FaultyStore {
    store: Arc<dyn SessionStore>,
    plan: Mutex<VecDeque<(Operation, Fault)>>,
    /// How every call goes wrong for which nothing else was planned.
    state: Mutex<Option<Fault>>,
    paused: Notify,
    resumed: Notify,
    called: Mutex<HashMap<Operation, usize>>,
}

impl FaultyStore {
    /// Wraps `store`; no fault is planned yet.
    pub fn new(store: Arc<dyn SessionStore>) -> Self {
        Self {
            store,
            plan: Mutex::default(),
            state: Mutex::default(),
            paused: Notify::new(),
            resumed: Notify::new(),
            called: Mutex::default(),
        }
    }

    /// Returns when a call has come to its [`Fault::Pause`].
    pub async fn paused(&self) {
        self.paused.notified().await;
    }

    /// Lets the call that pauses go on.
    pub fn resume(&self) {
        self.resumed.notify_one();
    }

    /// Plans that the next call of `operation` that has no fault yet goes wrong. Faults of one operation come in the
    /// order of their planning.
    pub fn plan(&self, operation: Operation, fault: Fault) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).push_back((operation, fault));
    }

    /// From now on every call goes wrong, until [`FaultyStore::mend`].
    pub fn break_down(&self, fault: Fault) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// From now on only those calls go wrong that it was planned for.
    pub fn mend(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How often `operation` was called so far, however that went.
    pub fn count(&self, operation: Operation) -> usize {
        let called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        called.get(&operation).copied().unwrap_or_default()
    }

    fn next_fault(&self, operation: Operation) -> Option<Fault> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let position = plan.iter().position(|(planned, _)| *planned == operation);
        let planned = position.and_then(|position| plan.remove(position)).map(|(_, fault)| fault);
        planned.or_else(|| *self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn call<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        call: impl FnOnce(&'a dyn SessionStore) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        *self.called.lock().unwrap_or_else(PoisonError::into_inner).entry(operation).or_default() += 1;
        let name = self.store.name();
        let error = move |kind| StoreError::new(kind, name, operation).with_source("planned by the test");
        match self.next_fault(operation) {
            None => call(&*self.store),
            Some(Fault::Before) => StoreFuture::ready(Err(error(StoreErrorKind::Unavailable))),
            Some(Fault::Unreadable) => StoreFuture::ready(Err(error(StoreErrorKind::Unreadable))),
            Some(Fault::Overloaded) => StoreFuture::ready(Err(error(StoreErrorKind::Overloaded))),
            Some(Fault::Hang) => StoreFuture::new(std::future::pending()),
            Some(Fault::Pause) => StoreFuture::new(async move {
                self.paused.notify_one();
                self.resumed.notified().await;
                call(&*self.store).await
            }),
            Some(Fault::PauseAfter) => {
                let call = call(&*self.store);
                StoreFuture::new(async move {
                    let outcome = call.await;
                    self.paused.notify_one();
                    self.resumed.notified().await;
                    outcome
                })
            }
            Some(Fault::After) => {
                let call = call(&*self.store);
                StoreFuture::new(async move {
                    call.await?;
                    Err(error(StoreErrorKind::OutcomeUnknown))
                })
            }
            Some(Fault::HangAfter) => {
                let call = call(&*self.store);
                StoreFuture::new(async move {
                    call.await?;
                    std::future::pending().await
                })
            }
        }
    }
}

impl SessionStore for FaultyStore {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn create(&self, key: StorageKey, record: Record) -> StoreFuture<'_, Created> {
        self.call(Operation::Create, move |store| store.create(key, record))
    }

    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Arc<Record>>> {
        self.call(Operation::Load, move |store| store.load(key))
    }

    fn replace(&self, key: StorageKey, record: Record, expected: Version) -> StoreFuture<'_, Replaced> {
        self.call(Operation::Replace, move |store| store.replace(key, record, expected))
    }

    fn touch(&self, key: StorageKey, expires: Timestamp) -> StoreFuture<'_, Touched> {
        self.call(Operation::Touch, move |store| store.touch(key, expires))
    }

    fn remove(&self, key: StorageKey) -> StoreFuture<'_, ()> {
        self.call(Operation::Remove, move |store| store.remove(key))
    }

    fn admit(&self, subject: SubjectKey, key: StorageKey, admission: Admission) -> StoreFuture<'_, Admitted> {
        self.call(Operation::Admit, move |store| store.admit(subject, key, admission))
    }

    fn subject_sessions(&self, subject: SubjectKey) -> StoreFuture<'_, Vec<StorageKey>> {
        self.call(Operation::SubjectSessions, move |store| store.subject_sessions(subject))
    }

    fn end_subject(&self, subject: SubjectKey, except: Option<StorageKey>) -> StoreFuture<'_, Option<usize>> {
        self.call(Operation::EndSubject, move |store| store.end_subject(subject, except))
    }

    fn subject_epoch(&self, subject: SubjectKey) -> StoreFuture<'_, Epoch> {
        self.call(Operation::SubjectEpoch, move |store| store.subject_epoch(subject))
    }

    fn sweep(&self, limit: usize) -> StoreFuture<'_, usize> {
        self.call(Operation::Sweep, move |store| store.sweep(limit))
    }

    fn marker(&self) -> StoreFuture<'_, Option<Marker>> {
        self.call(Operation::Marker, |store| store.marker())
    }

    fn invalidations(&self) -> Option<Invalidations> {
        self.store.invalidations()
    }

    fn keeps_tombstones(&self) -> bool {
        self.store.keeps_tombstones()
    }

    fn is_remote(&self) -> bool {
        self.store.is_remote()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelStore;

    crate::store_conformance!(|clock: Arc<crate::ManualClock>| async move {
        Arc::new(FaultyStore::new(Arc::new(ModelStore::new(clock)))) as Arc<dyn SessionStore>
    });
}
