//! The keyring of a running server, which is read again when its file changes.
//!
//! A keyring that can't be read, or that would log everybody out, never takes the place of one that works.

mod source;
mod watch;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use stayput_core::Keyring;

pub use self::source::KeyringSourceError;
use self::source::Source;
pub(crate) use self::watch::start;

/// A keyring that all requests share, and that can be exchanged under them. Cheap to clone; clones stay one.
///
/// Each operation on a session uses the keyring that was in force when it began.
#[derive(Clone)]
pub struct SharedKeyring {
    shared: Arc<Shared>,
}

struct Shared {
    current: ArcSwap<Keyring>,
    /// `None` if the application made the keyring itself.
    source: Option<Source>,
    /// What was logged last about a source that can't be used. Whoever reads the source holds it, so that an older
    /// reading never overwrites a newer one.
    complaint: Mutex<Option<String>>,
}

impl SharedKeyring {
    /// The keyring in the file at `path`, in the format of [`Keyring::parse`].
    ///
    /// [`Sessions`](crate::Sessions) built inside a tokio runtime look every five seconds whether the file has changed.
    ///
    /// # Errors
    ///
    /// The file can't be read, or holds no keyring.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, KeyringSourceError> {
        Self::open(Source::File(path.into()))
    }

    /// The keyring in the environment variable `name`, in the format of [`Keyring::parse`].
    ///
    /// # Errors
    ///
    /// The variable is not set, or holds no keyring.
    pub fn from_env(name: &str) -> Result<Self, KeyringSourceError> {
        Self::open(Source::Variable(name.to_owned()))
    }

    /// The keyring in force.
    pub fn current(&self) -> Arc<Keyring> {
        self.shared.current.load_full()
    }

    /// Reads the source again, and says whether that changed anything. Blocks while a small file is read.
    ///
    /// # Errors
    ///
    /// The source can't be read, holds no keyring, or one that shares no key with the one in force, which would log
    /// everybody out. The keyring in force stays. Each of these is also logged, once until it changes.
    pub fn reload(&self) -> Result<bool, KeyringSourceError> {
        let Some(source) = &self.shared.source else { return Ok(false) };
        let mut complaint = self.shared.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.take_over(source);
        let error = outcome.as_ref().err().map(KeyringSourceError::to_text);
        if let Some(error) = error.as_ref().filter(|error| complaint.as_ref() != Some(*error)) {
            tracing::error!(error, "the keyring stays as it is");
        }
        *complaint = error;
        outcome
    }

    /// The keyring in force for the moment: requests on many cores read it without writing to memory that they share.
    pub(crate) fn load(&self) -> Guard<Arc<Keyring>> {
        self.shared.current.load()
    }

    fn open(source: Source) -> Result<Self, KeyringSourceError> {
        let keyring = source.read()?;
        tracing::info!(fingerprint = keyring.fingerprint(), "keyring read");
        Ok(Self::new(Arc::new(keyring), Some(source)))
    }

    fn new(keyring: Arc<Keyring>, source: Option<Source>) -> Self {
        let current = ArcSwap::new(keyring);
        Self { shared: Arc::new(Shared { current, source, complaint: Mutex::default() }) }
    }

    fn take_over(&self, source: &Source) -> Result<bool, KeyringSourceError> {
        let (new, old) = (source.read()?, self.load());
        if !new.shares_a_key_with(&old) {
            return Err(KeyringSourceError::Foreign { place: source.place() });
        }
        let (fingerprint, primary) = (new.fingerprint(), new.primary().id());
        let is_other = fingerprint != old.fingerprint();
        if is_other {
            self.shared.current.store(Arc::new(new));
            tracing::info!(fingerprint, %primary, "keyring changed");
        }
        Ok(is_other)
    }
}

impl From<Keyring> for SharedKeyring {
    fn from(keyring: Keyring) -> Self {
        Arc::new(keyring).into()
    }
}

impl From<Arc<Keyring>> for SharedKeyring {
    fn from(keyring: Arc<Keyring>) -> Self {
        Self::new(keyring, None)
    }
}

impl fmt::Debug for SharedKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedKeyring").field(&self.load()).finish()
    }
}
