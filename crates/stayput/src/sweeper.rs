//! The task that sweeps expired records out of the store, a bounded step at a time.
//!
//! It holds nothing that keeps the sessions alive, and no user ever waits for it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use stayput_core::Operation;

use crate::sessions::Inner;
use crate::{Error, Sessions, meter};

/// Starts sweeping, if there is a runtime to do it on.
pub(crate) fn start(inner: &Arc<Inner>) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(sweep_while_alive(Arc::downgrade(inner)));
    }
}

async fn sweep_while_alive(inner: Weak<Inner>) {
    loop {
        let Some(pause) = inner.upgrade().map(|inner| next_pause(&inner)) else { return };
        tokio::time::sleep(pause).await;
        let Some(inner) = inner.upgrade() else { return };
        match sweep(&Sessions { inner }).await {
            Ok(0) => {}
            Ok(swept) => {
                meter::swept(swept);
                tracing::debug!(swept, "swept expired records");
            }
            Err(error) => error.log(),
        }
    }
}

async fn sweep(sessions: &Sessions) -> Result<usize, Error> {
    let mut total = 0;
    loop {
        let swept = sessions.call(Operation::Sweep, |store| store.sweep(STEP)).await?;
        total += swept;
        if swept < STEP {
            return Ok(total);
        }
        tokio::task::yield_now().await;
    }
}

/// Between 30 and 90 seconds, so that servers that started together don't sweep together.
fn next_pause(inner: &Inner) -> Duration {
    let mut byte = [0; 2];
    inner.random.fill(&mut byte);
    Duration::from_secs(30) + Duration::from_millis(u64::from(u16::from_be_bytes(byte)) * 60_000 / 65_536)
}

/// Records in one step: a few milliseconds of a store's time.
const STEP: usize = 500;
