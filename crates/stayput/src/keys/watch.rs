//! The task by which running servers follow their keyring's source, and the store's mark follows the keyring.
//!
//! It holds nothing that keeps the sessions alive, and no request ever waits for it. The source is read each time:
//! that is a few hundred bytes, and times and sizes of files miss changes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use stayput_core::Keyring;

use super::SharedKeyring;
use crate::sessions::Inner;
use crate::{Error, Sessions};

/// Starts following, if there is a source to follow and a runtime to do it on.
pub(crate) fn start(inner: &Arc<Inner>) {
    let can_change = inner.keyring.shared.source.is_some();
    if let Ok(runtime) = tokio::runtime::Handle::try_current()
        && can_change
    {
        runtime.spawn(follow_while_alive(Arc::downgrade(inner), inner.keyring.current()));
    }
}

/// `marked` is the keyring that the store's mark is sealed under as far as we know.
async fn follow_while_alive(inner: Weak<Inner>, mut marked: Arc<Keyring>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(inner) = inner.upgrade() else { return };
        let sessions = Sessions { inner };
        reload(sessions.inner.keyring.clone()).await;
        let current = sessions.inner.keyring.current();
        if Arc::ptr_eq(&current, &marked) {
            continue;
        }
        match sessions.carry_mark(&marked).await {
            // Another keyring's store: saying so again helps nobody.
            Ok(()) | Err(Error::Keyring(_)) => marked = current,
            Err(error) => error.log(),
        }
    }
}

/// Reads the source where a slow disk holds up no request. What goes wrong is logged there.
async fn reload(keyring: SharedKeyring) {
    if let Err(failed) = tokio::task::spawn_blocking(move || drop(keyring.reload())).await {
        tracing::error!(error = %failed, "the keyring could not be looked at");
    }
}

/// How long a change of the keyring may go unseen.
const INTERVAL: Duration = Duration::from_secs(5);
