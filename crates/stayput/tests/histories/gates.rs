//! Where requests wait for the history to let them on: before and after every store call, and within handlers.
//!
//! Nothing passes a gate unasked, so a history decides about every interleaving of store calls, and its seed about all
//! of it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use stayput_core::{
    Admission, Admitted, Created, Epoch, Invalidations, Marker, Operation, Record, Replaced, SessionStore,
    StorageKey, StoreError, StoreErrorKind, StoreFuture, SubjectKey, Timestamp, Touched, Version,
};
use tokio::sync::oneshot;

/// The gates of a history, which also count its steps.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    /// Where requests wait now, in the order of their coming.
    waiting: Mutex<Vec<Gate>>,
    step: AtomicU32,
    /// Which process was told at which step that a store call failed.
    failures: Mutex<Vec<(u32, u32)>>,
    /// What becomes of who asks whether the store is there: that process, or all.
    probes: Mutex<Option<(Option<u32>, Fate)>>,
    /// Calls that nobody waits for any more, and that happen when the store goes on.
    late: Mutex<Vec<oneshot::Sender<()>>>,
    /// What tells the store from any other, if it has something to.
    marker: Mutex<Option<Marker>>,
    /// The processes that are no more.
    dead: Mutex<HashSet<u32>>,
    /// How many calls of each process went well since one of them failed.
    healths: Mutex<HashMap<u32, u32>>,
}

#[derive(Debug)]
struct Gate {
    place: Place,
    /// Whose call it is, if it is one.
    process: Option<u32>,
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
    /// It doesn't happen, and the caller gets no answer.
    Hangs,
    /// It happens, and the caller gets no answer.
    HangsAfter,
    /// It happens when the store goes on, whether its caller waits or not, who gets no answer.
    HangsLate,
}

impl Gates {
    /// Waits at a gate until it is opened.
    pub(crate) async fn wait(&self, place: Place) -> Fate {
        self.wait_as(None, place).await
    }

    async fn wait_as(&self, process: Option<u32>, place: Place) -> Fate {
        let (open, opened) = oneshot::channel();
        if !process.is_some_and(|process| self.is_dead(process)) {
            self.waiting.lock().unwrap().push(Gate { place, process, open });
        }
        // Who died waits for nothing any more.
        opened.await.unwrap_or(Fate::Hangs)
    }

    /// Where requests wait. Those that were cancelled wait no more.
    pub(crate) fn places(&self) -> Vec<Place> {
        let mut gates = self.waiting.lock().unwrap();
        gates.retain(|gate| !gate.open.is_closed());
        gates.iter().map(|gate| gate.place).collect()
    }

    /// Whose call waits at the gate number `at` of [`Gates::places`], if it is one.
    pub(crate) fn process_at(&self, at: usize) -> Option<u32> {
        self.waiting.lock().unwrap()[at].process
    }

    /// Lets on who waits at the gate number `at` of [`Gates::places`].
    pub(crate) fn open(&self, at: usize, fate: Fate) {
        let gate = self.waiting.lock().unwrap().remove(at);
        gate.open.send(fate).expect("who was cancelled has left the gates");
    }

    /// Who was told since, and when, that a store call failed.
    pub(crate) fn failures(&self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.failures.lock().unwrap())
    }

    /// From now on this becomes of who asks whether the store is there, that process or any; others are answered.
    pub(crate) fn answer_probes(&self, fate: Option<(Option<u32>, Fate)>) {
        *self.probes.lock().unwrap() = fate;
    }

    /// The store is another one from here on, by its marker.
    pub(crate) fn mark(&self, marker: Marker) {
        *self.marker.lock().unwrap() = Some(marker);
    }

    /// Nothing that this process does reaches the store any more.
    pub(crate) fn kill(&self, process: u32) {
        self.dead.lock().unwrap().insert(process);
        self.waiting.lock().unwrap().retain(|gate| gate.process != Some(process));
    }

    fn is_dead(&self, process: u32) -> bool {
        self.dead.lock().unwrap().contains(&process)
    }

    fn probe(&self, process: u32) -> Option<Fate> {
        if self.is_dead(process) {
            return Some(Fate::Hangs);
        }
        let fate = *self.probes.lock().unwrap();
        fate.filter(|(whose, _)| whose.is_none_or(|whose| whose == process)).map(|(_, fate)| fate)
    }

    /// Calls that happen when the store goes on; whoever is sent something goes on.
    pub(crate) fn late(&self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut self.late.lock().unwrap())
    }

    /// Whether so few of the process's calls went well since one failed that it may still ask the store for less than it
    /// could.
    pub(crate) fn is_wary(&self, process: u32) -> bool {
        self.healths.lock().unwrap().get(&process).is_some_and(|well| *well < CONVINCING)
    }

    /// Notes what became of a call of that process.
    pub(crate) fn note_outcome(&self, process: u32, is_failure: bool) {
        let mut healths = self.healths.lock().unwrap();
        if is_failure {
            self.failures.lock().unwrap().push((process, self.step()));
            healths.insert(process, 0);
        } else if let Some(well) = healths.get_mut(&process) {
            *well += 1;
        }
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

/// A store behind gates, as one process has it.
#[derive(Debug)]
pub(crate) struct GatedStore {
    store: Arc<dyn SessionStore>,
    gates: Arc<Gates>,
    process: u32,
}

impl GatedStore {
    pub(crate) fn new(store: Arc<dyn SessionStore>, gates: Arc<Gates>, process: u32) -> Self {
        Self { store, gates, process }
    }

    fn call<T: Send + 'static>(
        &self,
        operation: Operation,
        call: impl for<'s> FnOnce(&'s dyn SessionStore) -> StoreFuture<'s, T> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        StoreFuture::new(async move {
            let outcome = match self.gates.wait_as(Some(self.process), Place::Call(operation)).await {
                Fate::Done => finish(call(&*self.store)),
                Fate::Refused => Err(error(StoreErrorKind::Unavailable, operation)),
                Fate::LostBefore => Err(error(StoreErrorKind::OutcomeUnknown, operation)),
                Fate::LostAfter => {
                    finish(call(&*self.store)).and(Err(error(StoreErrorKind::OutcomeUnknown, operation)))
                }
                Fate::Hangs => return self.hang().await,
                Fate::HangsAfter => {
                    let _ = finish(call(&*self.store));
                    return self.hang().await;
                }
                Fate::HangsLate => {
                    self.happen_late(call);
                    return self.hang().await;
                }
            };
            let outcome = match self.gates.wait_as(Some(self.process), Place::Answer(operation)).await {
                Fate::Done => outcome,
                Fate::Hangs | Fate::HangsAfter | Fate::HangsLate => return self.hang().await,
                Fate::Refused | Fate::LostBefore | Fate::LostAfter => {
                    outcome.and(Err(error(StoreErrorKind::OutcomeUnknown, operation)))
                }
            };
            self.gates.note_outcome(self.process, outcome.is_err());
            outcome
        })
    }

    /// Makes the call when the store goes on. It is under way: whoever sent it can't take it back.
    fn happen_late<T: Send + 'static>(
        &self,
        call: impl for<'s> FnOnce(&'s dyn SessionStore) -> StoreFuture<'s, T> + Send + 'static,
    ) {
        let (go_on, goes_on) = oneshot::channel();
        self.gates.late.lock().unwrap().push(go_on);
        let store = self.store.clone();
        tokio::spawn(async move {
            if goes_on.await.is_ok() {
                drop(finish(call(&*store)));
            }
        });
    }

    /// Waits for an answer that doesn't come. Its time limit makes a failure of that.
    async fn hang<T>(&self) -> Result<T, StoreError> {
        let _given_up = GivenUp(self);
        std::future::pending().await
    }
}

/// A call that is never answered: it fails when its time limit is over, and not before.
struct GivenUp<'a>(&'a GatedStore);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        self.0.gates.note_outcome(self.0.process, true);
    }
}

fn error(kind: StoreErrorKind, operation: Operation) -> StoreError {
    StoreError::new(kind, "gated", operation).with_source("the history's doing")
}

/// So many calls that went well one after another convince everybody that the store is back.
const CONVINCING: u32 = 12;

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

    /// Comes by itself, and passes no gate.
    fn sweep(&self, limit: usize) -> StoreFuture<'_, usize> {
        match self.gates.probe(self.process) {
            None => self.store.sweep(limit),
            Some(_) => StoreFuture::ready(Ok(0)),
        }
    }

    /// What a process asks to find out whether the store is there. It passes no gate.
    fn marker(&self) -> StoreFuture<'_, Option<Marker>> {
        match self.gates.probe(self.process) {
            None if self.gates.marker.lock().unwrap().is_some() => {
                StoreFuture::ready(Ok(*self.gates.marker.lock().unwrap()))
            }
            None => self.store.marker(),
            Some(Fate::Hangs) => StoreFuture::new(self.hang()),
            Some(_) => StoreFuture::ready(Err(error(StoreErrorKind::Unavailable, Operation::Marker))),
        }
    }

    fn invalidations(&self) -> Option<Invalidations> {
        self.store.invalidations()
    }

    fn is_remote(&self) -> bool {
        self.store.is_remote()
    }
}
