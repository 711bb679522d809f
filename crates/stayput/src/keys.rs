//! The keyring of a running server, which can be exchanged while requests are under way.
//!
//! A keyring that can't be read, or that would log everybody out, never takes the place of one that works.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use stayput_core::Keyring;

/// A keyring that all requests share, and that can be exchanged under them. Cheap to clone; clones stay one.
///
/// Each operation on a session uses the keyring that was in force when it began.
#[derive(Clone)]
pub struct SharedKeyring {
    current: Arc<ArcSwap<Keyring>>,
}

impl SharedKeyring {
    /// The keyring in force.
    pub fn current(&self) -> Arc<Keyring> {
        self.current.load_full()
    }

    /// The same for the moment: requests on many cores read it without writing to memory that they share.
    pub(crate) fn load(&self) -> Guard<Arc<Keyring>> {
        self.current.load()
    }
}

impl From<Keyring> for SharedKeyring {
    fn from(keyring: Keyring) -> Self {
        Arc::new(keyring).into()
    }
}

impl From<Arc<Keyring>> for SharedKeyring {
    fn from(keyring: Arc<Keyring>) -> Self {
        Self { current: Arc::new(ArcSwap::new(keyring)) }
    }
}

impl fmt::Debug for SharedKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedKeyring").field(&self.load()).finish()
    }
}
