//! The store behind the near cache, as everybody else sees it: what is written through it is known here.
//!
//! Nothing is answered from a copy.

use std::sync::Arc;
use std::time::Duration;

use stayput_core::{
    Admission, Admitted, Created, Epoch, Invalidations, Marker, Record, Replaced, SessionStore, StorageKey,
    StoreFuture, SubjectKey, Timestamp, Touched, Uptime, Version,
};

use super::Near;
use super::copy::Copy;
use super::seen::SeenVersion;

impl SessionStore for Near {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn create(&self, key: StorageKey, record: Record) -> StoreFuture<'_, Created> {
        self.store.create(key, record)
    }

    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Arc<Record>>> {
        StoreFuture::new(async move {
            let watched = self.watch(key);
            let found = self.store.load(key).await?;
            match &found {
                Some(record) => drop(watched.keep(Arc::clone(record), None)),
                None => watched.find_nothing(),
            }
            Ok(found)
        })
    }

    fn replace(&self, key: StorageKey, record: Record, expected: Version) -> StoreFuture<'_, Replaced> {
        StoreFuture::new(async move {
            let writing = self.begin_write(key);
            let written = Arc::new(record.clone());
            let outcome = self.store.replace(key, record, expected).await?;
            match outcome {
                Replaced::Replaced => writing.swapped(written),
                Replaced::Conflict(_) | Replaced::Missing => writing.changed(),
            }
            Ok(outcome)
        })
    }

    fn touch(&self, key: StorageKey, expires: Timestamp) -> StoreFuture<'_, Touched> {
        StoreFuture::new(async move {
            let writing = self.begin_write(key);
            let touched = self.store.touch(key, expires).await?;
            writing.changed();
            Ok(touched)
        })
    }

    fn remove(&self, key: StorageKey) -> StoreFuture<'_, ()> {
        StoreFuture::new(async move {
            let writing = self.begin_write(key);
            self.store.remove(key).await?;
            writing.changed();
            self.bury(key);
            Ok(())
        })
    }

    fn admit(&self, subject: SubjectKey, key: StorageKey, admission: Admission) -> StoreFuture<'_, Admitted> {
        StoreFuture::new(async move {
            let outcome = self.store.admit(subject, key, admission).await?;
            if let Admitted::Admitted { ended } = &outcome {
                for key in ended {
                    self.bury(*key);
                }
            }
            Ok(outcome)
        })
    }

    fn subject_sessions(&self, subject: SubjectKey) -> StoreFuture<'_, Vec<StorageKey>> {
        self.store.subject_sessions(subject)
    }

    fn end_subject(&self, subject: SubjectKey, except: Option<StorageKey>) -> StoreFuture<'_, Option<usize>> {
        StoreFuture::new(async move {
            // Afterwards there is nobody left to ask whose copies they were.
            let keys = self.store.subject_sessions(subject).await?;
            let outcome = self.store.end_subject(subject, except).await?;
            if outcome.is_some() {
                for key in keys.into_iter().filter(|key| Some(*key) != except) {
                    self.bury(key);
                }
                // Or whose they were before a first try, whose answer was lost.
                self.drop_copies_of(subject, except);
            }
            Ok(outcome)
        })
    }

    fn subject_epoch(&self, subject: SubjectKey) -> StoreFuture<'_, Epoch> {
        self.store.subject_epoch(subject)
    }

    fn sweep(&self, limit: usize) -> StoreFuture<'_, usize> {
        self.store.sweep(limit)
    }

    fn marker(&self) -> StoreFuture<'_, Option<Marker>> {
        self.store.marker()
    }

    fn invalidations(&self) -> Option<Invalidations> {
        self.store.invalidations()
    }

    fn keeps_tombstones(&self) -> bool {
        self.store.keeps_tombstones()
    }

    /// That of two calls of the store behind it: none is made of more.
    fn time_limit(&self) -> Option<Duration> {
        self.store.time_limit().map(|limit| limit * 2)
    }

    fn is_remote(&self) -> bool {
        self.store.is_remote()
    }
}

impl Near {
    fn begin_write(&self, key: StorageKey) -> Writing<'_> {
        let begun = self.clock.uptime();
        self.motions.with(key, |motion| motion.begin_write(begun));
        Writing { near: self, key, begun, losses: self.losses(), is_over: false }
    }

    /// Notes that this process ended the session under `key`.
    pub(super) fn bury(&self, key: StorageKey) {
        self.motions.with(key, |motion| {
            motion.note_change();
            self.hold_gone(key);
        });
    }
}

/// A write under way. Dropped, it failed or was given up.
struct Writing<'a> {
    near: &'a Near,
    key: StorageKey,
    begun: Uptime,
    losses: u64,
    is_over: bool,
}

impl Writing<'_> {
    /// Holds what was written instead of what was before, unless it may be out of date already.
    fn swapped(mut self, record: Arc<Record>) {
        self.is_over = true;
        let near = self.near;
        let now = near.clock.uptime();
        near.motions.with(self.key, |motion| {
            let is_newest = motion.end_swap(now, near.is_told(now));
            // A read may have found what somebody wrote after this: that stays.
            if is_newest && near.losses() == self.losses {
                near.hold(self.key, &Arc::new(Copy::new(record, self.begun, None)));
            } else {
                near.drop_older(&self.key, SeenVersion::of(&record.header));
            }
        });
    }

    /// Forgets what was before.
    fn changed(mut self) {
        self.is_over = true;
        self.near.motions.with(self.key, |motion| {
            motion.end_write();
            self.near.drop_copy(&self.key);
        });
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.near.motions.with(self.key, |motion| {
                motion.end_write();
                self.near.doubt_copy(&self.key);
            });
        }
    }
}
