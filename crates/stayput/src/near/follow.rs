//! Follows what the store tells of changes.
//!
//! It believes the store that something changed, and nothing else: what it is now is read when somebody asks.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use futures_util::StreamExt as _;
use stayput_core::{Invalidation, Invalidations, PULSE_LIMIT, StorageKey};

use super::Near;
use super::copy::Held;
use super::motion::Motion;

/// Starts to follow, if there is a runtime to do it in and the store tells anything. It ends with the near cache.
pub(super) fn start(near: &Arc<Near>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if let Some(told) = near.store.invalidations() {
        runtime.spawn(follow(Arc::downgrade(near), told));
    }
}

async fn follow(near: Weak<Near>, mut told: Invalidations) {
    while let Some(message) = told.next().await {
        let Some(near) = near.upgrade() else { return };
        near.hear(message);
    }
    if let Some(near) = near.upgrade() {
        near.hear(Invalidation::Lost);
    }
}

impl Near {
    /// Takes a message of the store's.
    pub(super) fn hear(&self, message: Invalidation) {
        match message {
            Invalidation::Changed(key) => self.forget_if_news(key),
            Invalidation::Pulse => {
                let now = self.clock.uptime();
                self.motions.with_all(|motion| motion.forget_late(now));
                self.is_told_until.store(now.after(PULSE_LIMIT).as_millis(), Ordering::Release);
            }
            Invalidation::Lost => self.doubt_all(),
        }
    }

    fn forget_if_news(&self, key: StorageKey) {
        let now = self.clock.uptime();
        self.motions.with(key, |motion| {
            if motion.is_news(now) {
                self.drop_copy(&key);
            }
        });
    }

    /// Has the store asked before any copy is used again: something may have happened to it that nobody told. While the store is
    /// out they are the best there is.
    fn doubt_all(&self) {
        self.distrust(|held| {
            if let Held::Copy(copy) = held {
                copy.is_doubted.store(true, Ordering::Release);
            }
            true
        });
    }

    /// Holds no copy any more. What this process ended stays ended.
    pub(crate) fn forget_all(&self) {
        self.distrust(|held| matches!(held, Held::Gone { .. }));
    }

    /// Goes through all that is held, of which nothing is to be used as if it was just read.
    fn distrust(&self, keeps: impl Fn(&Held) -> bool) {
        self.is_told_until.store(0, Ordering::Release);
        self.losses.fetch_add(1, Ordering::AcqRel);
        // Who found that nothing was lost has kept their copy by then, and whoever looks from now on finds otherwise.
        self.motions.with_all(Motion::expect_nothing);
        self.copies.retain(|_, held| keeps(held));
    }
}
