//! Time that stands still until the test moves it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stayput_core::{Clock, Timestamp, Uptime};

/// A clock that the test moves. Begins at an arbitrary point well after the epoch.
#[derive(Debug)]
pub struct ManualClock(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    now: Timestamp,
    uptime: Uptime,
    /// Where other processes read the time.
    published: Vec<File>,
}

impl Default for ManualClock {
    fn default() -> Self {
        let now = Timestamp::from_millis(1_000_000_000_000);
        let uptime = Uptime::from_millis(1_000_000);
        Self(Mutex::new(Inner { now, uptime, published: Vec::new() }))
    }
}

impl ManualClock {
    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        let mut inner = self.lock();
        let now = inner.now.after(by);
        inner.set(now);
    }

    /// Moves the clock to `now`. If that is back, the uptime stays as it is.
    pub fn set(&self, now: Timestamp) {
        self.lock().set(now);
    }

    /// Keeps the time in `file`, too, for another process to read: twice, as milliseconds since 1970 in the machine's
    /// order of bytes. Two counts that differ are about to be changed.
    ///
    /// # Panics
    ///
    /// If the file can't be written.
    pub fn publish(&self, file: File) {
        let mut inner = self.lock();
        inner.published.push(file);
        let now = inner.now;
        inner.set(now);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn set(&mut self, now: Timestamp) {
        self.uptime = self.uptime.after(now.since(self.now));
        self.now = now;
        let bytes = now.as_millis().to_ne_bytes();
        for file in &self.published {
            for at in [0, 8] {
                file.write_all_at(&bytes, at).expect("the time can be written for others");
            }
        }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn uptime(&self) -> Uptime {
        self.lock().uptime
    }
}
