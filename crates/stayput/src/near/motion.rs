//! Reads and writes under way, and what the store tells of their keys meanwhile.
//!
//! Whether a copy may be kept is decided under the lock of its key's shard, and so is its removal: no message slips in between.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stayput_core::{StorageKey, Uptime};

use super::read::SharedRead;

/// The keys that something is under way for. Most keys have no entry.
#[derive(Default)]
pub(super) struct Motions {
    shards: [Mutex<HashMap<StorageKey, Motion>>; 16],
}

/// What is under way for a key.
#[derive(Default)]
pub(super) struct Motion {
    reads: u32,
    /// The read that is shared by all who need one.
    pub(super) shared: Option<SharedRead>,
    writes: u32,
    /// How often the record changed, or may have, since something is under way: a read that began before is out of date.
    changes: u32,
    /// Messages of changes since the first of `writes` began.
    told: u32,
    /// Messages that are still to come of our own swaps.
    due: u32,
    due_until: Uptime,
    /// Writes overlapped, so that it can't be said whose messages are whose.
    is_tangled: bool,
}

impl Motions {
    /// Does something with what is under way for `key`, and forgets it if that is nothing.
    pub(super) fn with<T>(&self, key: StorageKey, work: impl FnOnce(&mut Motion) -> T) -> T {
        let shard = &self.shards[usize::from(key.as_bytes()[0]) % self.shards.len()];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut motion = match shard.entry(key) {
            Entry::Occupied(motion) => motion,
            Entry::Vacant(place) => place.insert_entry(Motion::default()),
        };
        let outcome = work(motion.get_mut());
        if motion.get().is_still() {
            motion.remove();
        }
        outcome
    }

    /// Does something with all that is under way. When it returns, nobody decides any more on what was known before.
    pub(super) fn with_all(&self, mut work: impl FnMut(&mut Motion)) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, motion| {
                work(motion);
                !motion.is_still()
            });
        }
    }
}

impl Motion {
    /// A read begins, as of what this returns.
    pub(super) fn begin_read(&mut self) -> u32 {
        self.reads += 1;
        self.changes
    }

    /// Whether nothing changed since the read that began as of `begun`.
    pub(super) fn is_as_it_was(&self, begun: u32) -> bool {
        self.changes == begun
    }

    pub(super) fn end_read(&mut self) {
        self.reads -= 1;
    }

    pub(super) fn begin_write(&mut self, now: Uptime) {
        self.forget_late(now);
        if self.writes == 0 {
            (self.told, self.is_tangled) = (0, false);
        } else {
            self.is_tangled = true;
        }
        self.writes += 1;
    }

    /// A swap went through: whether what was written is still the newest, as far as anybody was told.
    ///
    /// One message will come of it, unless it has come already. One more came of each swap before that isn't accounted for. If
    /// more came, somebody else wrote, perhaps after us. Who wrote before us doesn't matter, and is taken for us: then our own
    /// message will be taken for somebody else's, and costs no more than a read.
    ///
    /// Of a store that doesn't tell of changes, or not now, none will come.
    pub(super) fn end_swap(&mut self, now: Uptime, is_told: bool) -> bool {
        let (own, told) = (self.due + 1, self.told);
        self.end_write();
        let is_newest = !self.is_tangled && told <= own;
        self.due = if is_newest && is_told { own - told } else { 0 };
        self.due_until = now.after(LATE);
        is_newest
    }

    /// Any other write ended, or one whose outcome is unknown, or it was given up.
    ///
    /// Messages that came meanwhile may be those that were still to come: whose they were isn't known, and to wait for them
    /// once more would be to take somebody else's for them.
    pub(super) fn end_write(&mut self) {
        self.writes -= 1;
        self.due = self.due.saturating_sub(std::mem::take(&mut self.told));
        self.changes = self.changes.wrapping_add(1);
    }

    /// The record under the key is not what it was, as somebody knows for sure.
    pub(super) fn note_change(&mut self) {
        self.changes = self.changes.wrapping_add(1);
    }

    /// A message of a change has come: whether it is news, and not of a swap of our own.
    pub(super) fn is_news(&mut self, now: Uptime) -> bool {
        self.forget_late(now);
        if self.writes > 0 {
            self.told += 1;
        } else if self.due > 0 {
            self.due -= 1;
            return false;
        }
        self.changes = self.changes.wrapping_add(1);
        true
    }

    /// Whether nothing is under way and nothing to be remembered.
    pub(super) fn is_still(&self) -> bool {
        self.reads == 0 && self.writes == 0 && self.due == 0
    }

    /// Messages may have been lost: none is waited for, and a write under way can't know any more whether it is the newest.
    pub(super) fn expect_nothing(&mut self) {
        self.due = 0;
        self.is_tangled |= self.writes > 0;
    }

    /// Messages that should have come by now are waited for no longer.
    pub(super) fn forget_late(&mut self, now: Uptime) {
        if self.due_until <= now {
            self.due = 0;
        }
    }
}

/// A message of a swap that hasn't come by then isn't waited for: the next one is somebody else's.
const LATE: Duration = Duration::from_secs(1);
