//! The model with a fault of one's choice. Each is one that stores have had: most of them are seen only by whoever looks at
//! the right moment, or at what should not have happened.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stayput_core::{
    Admission, Admitted, Clock, Created, Epoch, Overflow, Record, Replaced, SessionStore, StorageKey,
    StoreFuture, SubjectKey, Timestamp, Touched, Version, WriteTag,
};
use tokio::time::sleep;

use crate::model::Entries;
use crate::{ManualClock, ModelStore};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// Compares, and swaps a moment later.
    LostSwap,
    /// Swaps whatever is there.
    BlindSwap,
    /// Takes equal counts for the same version: ABA.
    SwapByCount,
    /// Swaps where nothing is, too.
    ResurrectingSwap,
    /// Takes back what a touch did.
    SwapMovesBack,
    /// Takes the old record away, and puts the new one there a moment later.
    SwapByHalves,
    /// Writes what was last known, present or not.
    ResurrectingTouch,
    /// Reads the record, and writes it a moment later.
    SlowTouch,
    /// Makes a new version.
    TouchWrites,
    /// Sets the deadline, earlier or later.
    TouchMovesBack,
    TouchPassesTheEnd,
    /// Lists a session a moment after it is there.
    ListedLate,
    /// Lists it until the idle deadline that it began with.
    ListedBriefly,
    /// Takes those that are admitted out of the list.
    ListedUntilAdmitted,
    /// Creates over tombstones.
    TombstoneIgnored,
    TombstoneForPresent,
    /// Sweeps tombstones whose time has not come.
    TombstoneSwept,
    EndWithoutTombstones,
    LimitWithoutTombstones,
    /// Answers, and then removes.
    LateRemoval,
    /// Sees whether there is room, and a moment later admits.
    LimitLookedAtBefore,
    EpochIgnored,
    /// Ends none but those that are admitted.
    EndOfAdmitted,
    /// Sees whom to end, and a moment later raises the epoch and ends them.
    EndListsFirst,
    LoadedUntilSwept,
    SweepWithoutBound,
}

#[derive(Debug)]
pub(super) struct BrokenStore {
    model: Arc<ModelStore>,
    clock: Arc<ManualClock>,
    fault: Option<Fault>,
    /// Records as they were created or, last, written.
    created: Mutex<HashMap<StorageKey, Record>>,
    written: Mutex<HashMap<StorageKey, Record>>,
    /// Those that no list has yet.
    unlisted: Mutex<Vec<StorageKey>>,
}

impl BrokenStore {
    pub(super) fn new(clock: Arc<ManualClock>, fault: Option<Fault>) -> Self {
        let model = Arc::new(ModelStore::new(clock.clone()));
        let (created, written, unlisted) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { model, clock, fault, created, written, unlisted }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Does with the model what its own operations never would.
    fn meddle<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Entries, Timestamp) -> T,
    ) -> StoreFuture<'_, T> {
        self.model.answer(act)
    }

    fn written(&self, key: StorageKey) -> Option<Record> {
        lock(&self.written).get(&key).cloned()
    }

    async fn listed(&self, subject: SubjectKey) -> Vec<StorageKey> {
        self.model.subject_sessions(subject).await.expect("the model never fails")
    }

    async fn live(&self, key: StorageKey) -> Option<Record> {
        self.meddle(move |entries, now| entries.live(&key, now)).await.expect("the model never fails")
    }
}

impl SessionStore for BrokenStore {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn create(&self, key: StorageKey, record: Record) -> StoreFuture<'_, Created> {
        StoreFuture::new(async move {
            if self.has(Fault::TombstoneIgnored) {
                let is_tombstone = |entry: &(Timestamp, Option<Record>)| entry.1.is_none();
                self.meddle(move |entries, _| {
                    if entries.records.get(&key).is_some_and(is_tombstone) {
                        entries.records.remove(&key);
                    }
                })
                .await?;
            }
            if self.has(Fault::ListedLate) {
                lock(&self.unlisted).push(key);
            }
            let outcome = self.model.create(key, record.clone()).await?;
            if outcome == Created::Created {
                lock(&self.created).insert(key, record.clone());
                lock(&self.written).insert(key, record);
            }
            if self.has(Fault::ListedLate) {
                moment().await;
                lock(&self.unlisted).retain(|unlisted| *unlisted != key);
            }
            Ok(outcome)
        })
    }

    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Arc<Record>>> {
        if self.has(Fault::LoadedUntilSwept) {
            return self.meddle(move |entries, _| {
                let (_, record) = entries.records.get(&key)?;
                record.clone().map(Arc::new)
            });
        }
        self.model.load(key)
    }

    fn replace(&self, key: StorageKey, record: Record, expected: Version) -> StoreFuture<'_, Replaced> {
        StoreFuture::new(async move {
            let current = self.live(key).await;
            let version = current.as_ref().map(|current| current.header.version());
            let is_equal = version == Some(expected);
            let mut expected = expected;
            match self.fault {
                Some(Fault::LostSwap) if is_equal => {
                    moment().await;
                    expected = self.live(key).await.map_or(expected, |current| current.header.version());
                }
                Some(Fault::BlindSwap) => expected = version.unwrap_or(expected),
                Some(Fault::SwapByCount)
                    if version.is_some_and(|version| version.count == expected.count) =>
                {
                    expected = version.unwrap_or(expected);
                }
                Some(Fault::ResurrectingSwap) if current.is_none() => {
                    self.meddle(move |entries, _| entries.put(key, record)).await?;
                    return Ok(Replaced::Replaced);
                }
                Some(Fault::SwapMovesBack) if is_equal => {
                    self.meddle(move |entries, _| entries.put(key, record)).await?;
                    return Ok(Replaced::Replaced);
                }
                Some(Fault::SwapByHalves) if is_equal => {
                    self.meddle(move |entries, _| entries.records.remove(&key)).await?;
                    moment().await;
                    self.meddle(move |entries, _| entries.put(key, record)).await?;
                    return Ok(Replaced::Replaced);
                }
                _ => {}
            }
            let outcome = self.model.replace(key, record.clone(), expected).await?;
            if outcome == Replaced::Replaced {
                lock(&self.written).insert(key, record);
            }
            Ok(outcome)
        })
    }

    fn touch(&self, key: StorageKey, expires: Timestamp) -> StoreFuture<'_, Touched> {
        StoreFuture::new(async move {
            let known =
                if self.has(Fault::ResurrectingTouch) { self.written(key) } else { self.live(key).await };
            let Some(mut record) = known else { return self.model.touch(key, expires).await };
            let header = &mut record.header;
            let later = header.expires.max(expires.min(header.absolute));
            match self.fault {
                Some(Fault::SlowTouch) => {
                    header.expires = later;
                    moment().await;
                }
                Some(Fault::ResurrectingTouch) => header.expires = later,
                Some(Fault::TouchWrites) => {
                    *header = header.next(WriteTag(7));
                    header.expires = later;
                }
                Some(Fault::TouchMovesBack) => header.expires = expires.min(header.absolute),
                Some(Fault::TouchPassesTheEnd) => header.expires = header.expires.max(expires),
                _ => return self.model.touch(key, expires).await,
            }
            self.meddle(move |entries, _| entries.put(key, record)).await?;
            Ok(Touched::Touched)
        })
    }

    fn remove(&self, key: StorageKey) -> StoreFuture<'_, ()> {
        StoreFuture::new(async move {
            match self.fault {
                Some(Fault::TombstoneForPresent) if self.live(key).await.is_none() => Ok(()),
                Some(Fault::LateRemoval) => {
                    let model = Arc::clone(&self.model);
                    tokio::spawn(async move {
                        moment().await;
                        model.remove(key).await
                    });
                    Ok(())
                }
                _ => self.model.remove(key).await,
            }
        })
    }

    fn admit(
        &self,
        subject: SubjectKey,
        key: StorageKey,
        mut admission: Admission,
    ) -> StoreFuture<'_, Admitted> {
        StoreFuture::new(async move {
            if self.has(Fault::EpochIgnored) {
                admission.epoch = self.model.subject_epoch(subject).await?;
            }
            if let (true, Some(limit)) = (self.has(Fault::LimitLookedAtBefore), admission.limit) {
                let listed = self.listed(subject).await;
                let is_other = move |other: &StorageKey| *other != key && listed.contains(other);
                let others =
                    self.meddle(move |entries, _| entries.admitted.iter().filter(|it| is_other(it)).count());
                let is_full = others.await? >= limit.most.get() as usize;
                if limit.overflow == Overflow::Reject && !is_full {
                    moment().await;
                    admission.limit = None;
                }
            }
            let outcome = self.model.admit(subject, key, admission).await?;
            if let (true, Admitted::Admitted { ended }) = (self.has(Fault::LimitWithoutTombstones), &outcome)
            {
                let ended = ended.clone();
                self.meddle(move |entries, _| entries.records.retain(|key, _| !ended.contains(key))).await?;
            }
            if self.has(Fault::ListedUntilAdmitted) {
                lock(&self.unlisted).push(key);
            }
            Ok(outcome)
        })
    }

    fn subject_sessions(&self, subject: SubjectKey) -> StoreFuture<'_, Vec<StorageKey>> {
        StoreFuture::new(async move {
            let mut listed = self.listed(subject).await;
            listed.retain(|key| !lock(&self.unlisted).contains(key));
            if self.has(Fault::ListedBriefly) {
                let (created, now) = (lock(&self.created), self.clock.now());
                listed.retain(|key| created.get(key).is_some_and(|record| record.header.expires > now));
            }
            Ok(listed)
        })
    }

    fn end_subject(&self, subject: SubjectKey, except: Option<StorageKey>) -> StoreFuture<'_, Option<usize>> {
        StoreFuture::new(async move {
            let mut spared = Vec::new();
            if self.has(Fault::EndOfAdmitted) {
                // Out of the way while the model ends the others.
                let listed = self.listed(subject).await;
                let hide = move |entries: &mut Entries, _| {
                    let Entries { records, admitted, .. } = entries;
                    let is_spared = |key: &&StorageKey| !admitted.contains(key) && Some(**key) != except;
                    listed.iter().filter(is_spared).filter_map(|key| records.remove_entry(key)).collect()
                };
                spared = self.meddle(hide).await?;
            }
            let listed = self.listed(subject).await;
            if self.has(Fault::EndListsFirst) && except.is_none() {
                moment().await;
                let count = listed.len();
                let end = move |entries: &mut Entries, now| {
                    entries.raise_epoch(subject, now);
                    for key in listed {
                        entries.remove(key, now);
                    }
                };
                self.meddle(end).await?;
                return Ok(Some(count));
            }
            let outcome = self.model.end_subject(subject, except).await?;
            if self.has(Fault::EndWithoutTombstones) {
                self.meddle(move |entries, _| {
                    entries.records.retain(|key, (_, record)| record.is_some() || !listed.contains(key));
                })
                .await?;
            }
            self.meddle(move |entries, _| entries.records.extend(spared)).await?;
            Ok(outcome)
        })
    }

    fn subject_epoch(&self, subject: SubjectKey) -> StoreFuture<'_, Epoch> {
        self.model.subject_epoch(subject)
    }

    fn sweep(&self, limit: usize) -> StoreFuture<'_, usize> {
        StoreFuture::new(async move {
            let limit = if self.has(Fault::SweepWithoutBound) { usize::MAX } else { limit };
            let swept = self.model.sweep(limit).await?;
            if self.has(Fault::TombstoneSwept) {
                self.meddle(|entries, _| entries.records.retain(|_, (_, record)| record.is_some())).await?;
            }
            Ok(swept)
        })
    }
}

/// As long as a server's answer takes.
async fn moment() {
    sleep(Duration::from_millis(1)).await;
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
