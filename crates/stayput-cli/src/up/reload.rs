//! Reading the configuration again while `up` runs: by SIGHUP, or through the admin interface.
//!
//! It is put into effect whole, or not at all. What takes a restart is said, never passed over.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};

use stayput::{Keyring, SharedKeyring};
use stayput_gateway::{Control, ReloadError, Reloaded, UpstreamConfig};

use super::Settings;
use crate::cli::UpArgs;

/// Knows what `up` was started with.
pub(super) struct Reloader {
    args: UpArgs,
    started: Settings,
    keyring: SharedKeyring,
    /// Where sample servers listen, once they do.
    samples: OnceLock<Vec<UpstreamConfig>>,
    /// The keyring that the gateway has. Locked for as long as a reload takes: there is one at a time.
    given: Mutex<Arc<Keyring>>,
}

impl Reloader {
    pub(super) fn new(args: UpArgs, started: Settings, keyring: SharedKeyring) -> Self {
        let given = Mutex::new(keyring.current());
        Self { args, started, keyring, samples: OnceLock::new(), given }
    }

    /// Sample servers stay where they are.
    pub(super) fn samples_are(&self, samples: Vec<UpstreamConfig>) {
        let _ = self.samples.set(samples);
    }

    /// Reads configuration and keyring, and puts them into effect.
    pub(super) fn reload(&self, control: &Control) -> Result<Reloaded, ReloadError> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = Settings::from_args(self.args.clone()).map_err(|bad| ReloadError(bad.into_list()));
        // What goes wrong is logged there, too.
        let keyring = self.keyring.reload().map(|_| self.keyring.current());
        let keyring = keyring.map_err(|error| format!("the keyring can't be used: {error}"));
        let (settings, keyring) = match (settings, keyring) {
            (Ok(settings), Ok(keyring)) => (settings, keyring),
            (Ok(_), Err(keyring)) => return Err(ReloadError(vec![keyring])),
            (Err(bad), keyring) => {
                return Err(ReloadError(bad.0.into_iter().chain(keyring.err()).collect()));
            }
        };
        if settings.runs_samples() != self.started.runs_samples() {
            let mistake = "a restart is needed to go from sample servers to [[pool]], or back";
            return Err(ReloadError(vec![mistake.to_owned()]));
        }
        let site = settings.site(self.samples.get().map_or(&[], Vec::as_slice));
        let texts = |mistakes: Vec<_>| ReloadError(mistakes.iter().map(ToString::to_string).collect());
        let undone = control.reload(site, Arc::clone(&keyring)).map_err(texts)?;
        *given = keyring;
        Ok(Reloaded { undone, needs_restart: settings.needs_restart_after(&self.started) })
    }

    /// Gives the gateway the keyring, which follows its file by itself.
    /// Gives up while a reload is under way, whose files may hang: it gives the keyring, too.
    pub(super) fn follow_keyring(&self, control: &Control) {
        let mut given = match self.given.try_lock() {
            Ok(given) => given,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let keyring = self.keyring.current();
        if !Arc::ptr_eq(&given, &keyring) {
            control.set_keyring(Arc::clone(&keyring));
            *given = keyring;
        }
    }
}
