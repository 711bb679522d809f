//! What is counted: by each worker in cells of its own, summed up when somebody asks.
//!
//! Nothing that is counted here is written by two threads, and no decision is made by it.

mod text;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(crate) use self::text::render;

/// A counter that one thread writes and any may read.
#[derive(Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    pub(crate) fn add(&self, n: u64) {
        // Not `fetch_add`: that locks the bus, and nobody else writes here.
        self.0.store(self.0.load(Relaxed) + n, Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one worker has counted of one upstream. Aligned so that no two share a cache line, and in this order so that an answer
/// which is there as fast as most touches a single one.
#[derive(Default)]
#[repr(C, align(128))]
pub(crate) struct UpstreamTally {
    micros: Cell,
    /// Requests by the first digit of their answer's status; at 0 those that got none.
    answers: [Cell; 6],
    /// Answers by the time until their head was there; beyond the last bound at the end.
    latencies: [Cell; BOUNDS.len() + 1],
}

/// What one worker has counted beyond upstreams.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct WorkerTally {
    pub(crate) accepted: Cell,
    pub(crate) ended: Cell,
    /// Connections that there was no room for.
    pub(crate) shed: Cell,
    /// Answers of the gateway's own, in the order of [`REFUSALS`].
    refusals: [Cell; REFUSALS.len()],
}

/// All workers' tallies of one thing.
pub(crate) struct Tallies<T>(Mutex<Vec<Arc<T>>>);

impl<T> Default for Tallies<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> std::fmt::Debug for Tallies<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tallies(..)")
    }
}

impl<T: Default> Tallies<T> {
    /// One more, for a worker of its own.
    pub(crate) fn join(&self) -> Arc<T> {
        let own = Arc::<T>::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&own));
        own
    }

    /// The sum of what `cell` is in each.
    fn sum(&self, cell: impl Fn(&T) -> &Cell) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|its| cell(its).read()).sum()
    }
}

impl UpstreamTally {
    /// Counts a request whose answer's head was there after `took`.
    pub(crate) fn answered(&self, status: u16, took: Duration) {
        self.answers[usize::from(status / 100).min(5)].add(1);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|&bound| micros <= bound).unwrap_or(BOUNDS.len());
        self.latencies[bucket].add(1);
        self.micros.add(micros);
    }

    /// Counts a request that got no answer.
    pub(crate) fn unanswered(&self) {
        self.answers[0].add(1);
    }
}

impl WorkerTally {
    pub(crate) fn refused(&self, status: u16) {
        let known = REFUSALS.iter().position(|&its| its == status);
        debug_assert!(known.is_some(), "{status} is not among those that are counted");
        known.inspect(|&index| self.refusals[index].add(1));
    }
}

/// In microseconds.
const BOUNDS: [u64; 16] = [
    500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// The statuses of answers that the gateway gives itself.
const REFUSALS: [u16; 11] = [400, 404, 408, 413, 414, 431, 501, 502, 503, 504, 505];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_count_for_themselves_and_are_summed_up() {
        let tallies = Tallies::<UpstreamTally>::default();
        let workers = [tallies.join(), tallies.join()];
        workers[0].answered(204, Duration::from_micros(500));
        workers[1].answered(299, Duration::from_micros(501));
        workers[1].answered(503, Duration::from_hours(1));
        workers[1].unanswered();
        let answers: Vec<_> = (0..6).map(|class| tallies.sum(|tally| &tally.answers[class])).collect();
        assert_eq!(answers, [1, 0, 2, 0, 0, 1]);
        let latencies = |bucket: usize| tallies.sum(|tally| &tally.latencies[bucket]);
        assert_eq!([latencies(0), latencies(1), latencies(2), latencies(BOUNDS.len())], [1, 1, 0, 1]);
        assert_eq!(tallies.sum(|tally| &tally.micros), 3_600_001_001);
    }
}
