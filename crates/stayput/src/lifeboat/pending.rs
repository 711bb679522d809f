//! What was done while the store was out and has not reached it yet, by session; and how each session is seen here until then.
//!
//! Only the server that accepted a write replays it, so that none is made twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stayput_core::StorageKey;

use super::entry::{Attempt, Entry, Write};
use crate::near::SeenVersion;
use crate::session::{Current, Drift};

/// Sessions with something that has not reached the store.
#[derive(Default)]
pub(crate) struct Pending {
    waiting: Mutex<Table>,
    /// How many sessions there are, to be asked by every request.
    count: AtomicUsize,
}

#[derive(Default)]
struct Table {
    /// In an order of its own, so that a simulation replays in the same one each time.
    sessions: BTreeMap<StorageKey, Waiting>,
    bytes: usize,
}

/// What waits of one session.
#[derive(Default)]
struct Waiting {
    /// It was ended; nothing else counts.
    is_ended: bool,
    writes: Vec<Collected>,
    attempt: Option<Attempt>,
    view: Option<View>,
}

/// Writes of one value, one after another.
struct Collected {
    write: Write,
    /// How many.
    count: usize,
}

/// A session as it was last written here.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) current: Arc<Current>,
    pub(crate) drift: Drift,
}

/// What of a session is to be replayed.
pub(super) enum Work {
    End,
    Write { writes: Vec<Write>, count: usize, attempt: Option<Attempt> },
}

/// Why a write isn't taken.
pub(crate) enum NotTaken {
    /// The session was written here since it was seen; this is how it is now.
    Behind(Box<View>),
    /// Its user has ended it here.
    Ended,
    /// Too much waits.
    Full,
}

impl View {
    /// Whether it is of a later state than the one after `writes` of the session at `version`.
    pub(crate) fn is_ahead_of(&self, version: SeenVersion, writes: u32) -> bool {
        (SeenVersion::of(&self.current.header), self.drift.writes) > (version, writes)
    }
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    pub(crate) fn is_waiting(&self, key: &StorageKey) -> bool {
        !self.is_empty() && self.table().sessions.contains_key(key)
    }

    pub(crate) fn is_ended(&self, key: &StorageKey) -> bool {
        !self.is_empty() && self.table().sessions.get(key).is_some_and(|waiting| waiting.is_ended)
    }

    pub(crate) fn view(&self, key: &StorageKey) -> Option<View> {
        if self.is_empty() {
            return None;
        }
        self.table().sessions.get(key)?.view.clone()
    }

    /// Takes writes of a session, which is `view` after them. Under the lock `note` writes them down, in the order in which they
    /// were taken.
    pub(crate) fn write<T>(
        &self,
        key: StorageKey,
        view: View,
        writes: Vec<Write>,
        note: impl FnOnce(&[Write]) -> T,
    ) -> Result<T, NotTaken> {
        let mut table = self.table();
        if table.bytes + writes.iter().map(Write::size).sum::<usize>() > MOST_WRITTEN {
            return Err(NotTaken::Full);
        }
        let outcome = table.change(key, |waiting| {
            if waiting.is_ended {
                return Err(NotTaken::Ended);
            }
            let version = SeenVersion::of(&view.current.header);
            let is_newer = |held: &&View| held.is_ahead_of(version, view.drift.writes - 1);
            if let Some(newer) = waiting.view.as_ref().filter(is_newer) {
                return Err(NotTaken::Behind(Box::new(newer.clone())));
            }
            let noted = note(&writes);
            waiting.view = Some(view);
            for write in writes {
                waiting.collect(write);
            }
            Ok(noted)
        });
        self.recount(&table);
        outcome
    }

    /// Notes that a session was ended.
    pub(crate) fn end<T>(&self, key: StorageKey, note: impl FnOnce() -> T) -> Result<T, NotTaken> {
        let mut table = self.table();
        if table.bytes + SESSION > MOST_BYTES {
            return Err(NotTaken::Full);
        }
        let noted = table.change(key, |waiting| {
            *waiting = Waiting::ended();
            note()
        });
        self.recount(&table);
        Ok(noted)
    }

    /// Takes what a journal has.
    pub(super) fn restore(&self, entries: Vec<Entry>) {
        let mut table = self.table();
        for entry in entries {
            match entry {
                Entry::Written { key, write } => table.change(key, |waiting| waiting.collect(write)),
                Entry::Ended { key } => table.change(key, |waiting| *waiting = Waiting::ended()),
                Entry::Tried { key, attempt } => {
                    table.change(key, |waiting| waiting.attempt = Some(attempt));
                }
                Entry::Done { key, count } => table.change(key, |waiting| waiting.settle(count)),
                Entry::Gone { key } => drop(table.remove(&key)),
            }
        }
        self.recount(&table);
    }

    /// The sessions that something is to be replayed of as of now, the ones that were ended last: taken from the end, they come
    /// first. All at once, since looking for the next one among those that were tried would take longer with each.
    pub(super) fn keys(&self) -> Vec<StorageKey> {
        let table = self.table();
        let of = |is_ended| {
            let sessions = table.sessions.iter().filter(move |(_, waiting)| waiting.is_ended == is_ended);
            sessions.map(|(key, _)| *key)
        };
        of(false).chain(of(true)).collect()
    }

    /// What is to be replayed of a session, as of now: what was tried before comes first, by itself. What is added from here on is
    /// for another time.
    pub(super) fn work(&self, key: &StorageKey) -> Option<Work> {
        let table = self.table();
        let waiting = table.sessions.get(key)?;
        if waiting.is_ended {
            return Some(Work::End);
        }
        let most = waiting.attempt.map_or(usize::MAX, |attempt| attempt.count);
        let (mut writes, mut count) = (Vec::new(), 0);
        for collected in waiting.writes.iter().take_while(|collected| {
            count += collected.count;
            count <= most
        }) {
            writes.push(collected.write.clone());
        }
        Some(Work::Write { writes, count: waiting.count().min(most), attempt: waiting.attempt })
    }

    /// Notes that a swap is about to be made, unless the session has been ended or, if it is the first of these writes, written
    /// since. From here on those are not added to.
    pub(super) fn tried<T>(&self, key: &StorageKey, attempt: Attempt, note: impl FnOnce() -> T) -> Option<T> {
        let mut table = self.table();
        let is_as_it_was = |waiting: &&mut Waiting| {
            let count = waiting.attempt.map_or_else(|| waiting.count(), |attempt| attempt.count);
            !waiting.is_ended && count == attempt.count
        };
        let waiting = table.sessions.get_mut(key).filter(is_as_it_was)?;
        waiting.attempt = Some(attempt);
        Some(note())
    }

    /// Notes that the first `count` writes of a session are settled. `note` hears whether nothing waits any more, of anybody.
    pub(super) fn done(&self, key: &StorageKey, count: usize, note: impl FnOnce(bool)) {
        let mut table = self.table();
        table.change(*key, |waiting| {
            if !waiting.is_ended {
                waiting.settle(count);
            }
        });
        self.recount(&table);
        note(table.sessions.is_empty());
    }

    /// Notes that a session that was ended has been ended in the store.
    pub(super) fn gone(&self, key: &StorageKey, note: impl FnOnce(bool)) {
        let mut table = self.table();
        table.remove(key);
        self.recount(&table);
        note(table.sessions.is_empty());
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recount(&self, table: &Table) {
        self.count.store(table.sessions.len(), Ordering::Release);
    }
}

impl Table {
    /// Changes what waits of a session, and forgets it if that is nothing.
    fn change<T>(&mut self, key: StorageKey, change: impl FnOnce(&mut Waiting) -> T) -> T {
        let mut waiting = self.remove(&key).unwrap_or_default();
        let outcome = change(&mut waiting);
        if waiting.is_ended || !waiting.writes.is_empty() {
            self.bytes += waiting.size();
            self.sessions.insert(key, waiting);
        }
        outcome
    }

    fn remove(&mut self, key: &StorageKey) -> Option<Waiting> {
        let waiting = self.sessions.remove(key)?;
        self.bytes -= waiting.size();
        Some(waiting)
    }
}

impl Waiting {
    fn ended() -> Self {
        Self { is_ended: true, ..Self::default() }
    }

    /// Adds a write: to the last one of the same value, if that is what it was written over and is not on its way to the store.
    fn collect(&mut self, write: Write) {
        let tried = self.attempt.map_or(0, |attempt| attempt.count);
        let mut before = 0;
        let open = self.writes.iter_mut().filter(|collected| {
            before += collected.count;
            before > tried
        });
        match open.filter(|collected| collected.write.name == write.name).last() {
            Some(last) if last.write.after == write.before => {
                last.write.after = write.after;
                last.count += 1;
            }
            // Another server wrote over that one in between: it doesn't count any more, and must not be in the way of this one.
            Some(last) if write.origin.as_ref() == Some(last.write.base()) => {
                last.write = write;
                last.count += 1;
            }
            _ => self.writes.push(Collected { write, count: 1 }),
        }
    }

    /// Forgets the first `count` writes, and that they were tried.
    fn settle(&mut self, count: usize) {
        let mut left = count;
        self.writes.retain_mut(|collected| {
            let settled = left.min(collected.count);
            left -= settled;
            collected.count -= settled;
            collected.count > 0
        });
        self.attempt = None;
    }

    /// How many writes.
    fn count(&self) -> usize {
        self.writes.iter().map(|collected| collected.count).sum()
    }

    /// Bytes that it takes, about.
    fn size(&self) -> usize {
        let writes: usize = self.writes.iter().map(|collected| collected.write.size()).sum();
        let view = self.view.as_ref().map_or(0, |view| view.current.data.as_bytes().len());
        SESSION + writes + view
    }
}

/// Most bytes that may wait: what comes after that is refused.
const MOST_BYTES: usize = 64 << 20;

/// Most bytes with which values are written: the rest is for logouts.
const MOST_WRITTEN: usize = MOST_BYTES / 2;

/// What a session takes here beside its values.
const SESSION: usize = 512;

#[cfg(test)]
mod tests;
