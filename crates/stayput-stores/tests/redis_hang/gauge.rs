//! What this process takes of the machine, and how late the machine is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Looks every few milliseconds.
pub(super) struct Gauge {
    worst: Arc<Mutex<Reading>>,
    task: JoinHandle<()>,
}

/// The most since it was last taken.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Reading {
    /// Resident, in KiB.
    pub(super) memory: u64,
    /// How much later than asked for a sleeper was woken: what others on the machine cost.
    pub(super) lateness: Duration,
}

impl Gauge {
    pub(super) fn start() -> Self {
        let worst = Arc::new(Mutex::new(Reading::default()));
        let task = tokio::spawn({
            let worst = Arc::clone(&worst);
            async move {
                loop {
                    let began = Instant::now();
                    sleep(EVERY).await;
                    let lateness = began.elapsed().saturating_sub(EVERY);
                    let mut worst = worst.lock().unwrap_or_else(PoisonError::into_inner);
                    worst.memory = worst.memory.max(resident());
                    worst.lateness = worst.lateness.max(lateness);
                }
            }
        });
        Self { worst, task }
    }

    pub(super) fn take(&self) -> Reading {
        std::mem::take(&mut self.worst.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The second number of that file: resident pages of 4 KiB.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("it has numbers");
    pages * 4
}

const EVERY: Duration = Duration::from_millis(10);
