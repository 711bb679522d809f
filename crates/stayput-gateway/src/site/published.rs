//! Where workers find the latest site.
//!
//! Who asks whether there is a newer one reads a number; the lock is only taken when there is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Site;

pub(crate) struct Published {
    generation: AtomicU64,
    latest: Mutex<Arc<Site>>,
}

impl Published {
    pub(crate) fn new(site: Site) -> Self {
        Self { generation: AtomicU64::new(1), latest: Mutex::new(Arc::new(site)) }
    }

    /// The number of the latest site.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn latest(&self) -> Arc<Site> {
        Arc::clone(&self.lock())
    }

    pub(crate) fn publish(&self, site: Site) {
        *self.lock() = Arc::new(site);
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Site>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
