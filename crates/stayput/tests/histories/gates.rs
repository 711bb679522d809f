//! Where requests wait for the history to let them on: before and after every store call, and within handlers.
//!
//! Nothing passes a gate unasked, so a history decides about every interleaving of store calls, and its seed about all
//! of it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use stayput_core::{
    Admission, Admitted, Created, Epoch, Invalidations, Operation, Record, Replaced, SessionStore,
    StorageKey, StoreError, StoreErrorKind, StoreFuture, SubjectKey, Timestamp, Touched, Version,
};
use tokio::sync::oneshot;

/// The gates of a history, which also count its steps.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    /// Where requests wait now, in the order of their coming.
    waiting: Mutex<Vec<Gate>>,
    step: AtomicU32,
    /// The steps at which somebody was told that a store call failed.
    failures: Mutex<Vec<u32>>,
}

#[derive(Debug)]
struct Gate {
    place: Place,
    open: oneshot::Sender<Fate>,
}

/// What a request waits for at a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its handler takes its time, which may be long.
    Handler,
    /// A store call is to begin.
    Call(Operation),
    /// The store's answer is under way.
    Answer(Operation),
}

/// What becomes of a store call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It succeeds.
    Done,
    /// It fails, and the caller is told that nothing was done.
    Refused,
    /// It doesn't happen, and the caller isn't told.
    LostBefore,
    /// It happens, and the caller isn't told.
    LostAfter,
}

impl Gates {
    /// Waits at a gate until it is opened.
    pub(crate) async fn wait(&self, place: Place) -> Fate {
        let (open, opened) = oneshot::channel();
        self.waiting.lock().unwrap().push(Gate { place, open });
        opened.await.expect("a history ends after all of its requests")
    }

    /// Where requests wait. Those that were cancelled wait no more.
    pub(crate) fn places(&self) -> Vec<Place> {
        let mut gates = self.waiting.lock().unwrap();
        gates.retain(|gate| !gate.open.is_closed());
        gates.iter().map(|gate| gate.place).collect()
    }

    /// Lets on who waits at the gate number `at` of [`Gates::places`].
    pub(crate) fn open(&self, at: usize, fate: Fate) {
        let gate = self.waiting.lock().unwrap().remove(at);
        gate.open.send(fate).expect("who was cancelled has left the gates");
    }

    /// When somebody was told since, for the last time, that a store call failed.
    pub(crate) fn failures(&self) -> Vec<u32> {
        std::mem::take(&mut self.failures.lock().unwrap())
    }

    /// How many steps the history has made.
    pub(crate) fn step(&self) -> u32 {
        self.step.load(Ordering::Relaxed)
    }

    /// Notes that it made another.
    pub(crate) fn count_step(&self) {
        self.step.fetch_add(1, Ordering::Relaxed);
    }
}

/// A store behind gates.
#[derive(Debug)]
pub(crate) struct GatedStore {
    store: Arc<dyn SessionStore>,
    gates: Arc<Gates>,
}

impl GatedStore {
    pub(crate) fn new(store: Arc<dyn SessionStore>, gates: Arc<Gates>) -> Self {
        Self { store, gates }
    }

    fn call<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        call: impl FnOnce(&'a dyn SessionStore) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        let error = move |kind| StoreError::new(kind, "gated", operation).with_source("the history's doing");
        StoreFuture::new(async move {
            let fate = self.gates.wait(Place::Call(operation)).await;
            let outcome = match fate {
                Fate::Refused => Err(error(StoreErrorKind::Unavailable)),
                Fate::LostBefore => Err(error(StoreErrorKind::OutcomeUnknown)),
                Fate::Done => finish(call(&*self.store)),
                Fate::LostAfter => finish(call(&*self.store)).and(Err(error(StoreErrorKind::OutcomeUnknown))),
            };
            self.gates.wait(Place::Answer(operation)).await;
            if outcome.is_err() {
                self.gates.failures.lock().unwrap().push(self.gates.step());
            }
            outcome
        })
    }
}

/// Waits for a store's threads with this one: nothing else may happen in a history meanwhile.
pub(crate) fn finish<F: Future + Unpin>(mut future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        if let Poll::Ready(output) = std::pin::Pin::new(&mut future).poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}

impl SessionStore for GatedStore {
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

    fn invalidations(&self) -> Option<Invalidations> {
        self.store.invalidations()
    }
}
