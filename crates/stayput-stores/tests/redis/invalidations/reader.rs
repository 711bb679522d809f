//! Who reads a stream, and waits for nothing longer than its patience; and who writes what is told.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use stayput_core::{Created, Invalidation, Invalidations, Record, Replaced, SessionStore, StorageKey};
use stayput_testkit::Records;
use tokio::time::timeout;

pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Reader(Invalidations);

impl Reader {
    pub(super) fn of(store: &dyn SessionStore) -> Self {
        Self(store.invalidations().expect("Redis tells what changes"))
    }

    async fn next_if_any(&mut self) -> Option<Invalidation> {
        let next = poll_fn(|context| self.0.as_mut().poll_next(context));
        timeout(PATIENCE, next).await.expect("something is told in time")
    }

    pub(super) async fn next(&mut self) -> Invalidation {
        self.next_if_any().await.expect("the stream goes on")
    }

    /// The next that changes, with pulses before it, and nothing missing.
    pub(super) async fn change(&mut self) -> StorageKey {
        loop {
            match self.next().await {
                Invalidation::Changed(key) => return key,
                Invalidation::Pulse => {}
                Invalidation::Lost => panic!("something may be missing"),
            }
        }
    }

    /// All that change up to `last`, which is not among them, and nothing missing.
    pub(super) async fn changes_up_to(&mut self, last: StorageKey) -> Vec<StorageKey> {
        let mut keys = Vec::new();
        loop {
            match self.change().await {
                key if key == last => return keys,
                key => keys.push(key),
            }
        }
    }

    /// Returns at the next loss; says when the last pulse before it came.
    pub(super) async fn until_lost(&mut self) -> Option<Instant> {
        let mut pulse = None;
        loop {
            match self.next().await {
                Invalidation::Lost => return pulse,
                Invalidation::Pulse => pulse = Some(Instant::now()),
                Invalidation::Changed(_) => {}
            }
        }
    }

    pub(super) async fn until_pulse(&mut self) {
        while self.next().await != Invalidation::Pulse {}
    }

    pub(super) async fn until_end(&mut self) {
        while self.next_if_any().await.is_some() {}
    }

    /// Reads for a while, and says when the last pulse came.
    pub(super) async fn last_pulse_within(&mut self, time: Duration) -> Option<Instant> {
        let (until, mut pulse) = (tokio::time::Instant::now() + time, None);
        while let Ok(message) = tokio::time::timeout_at(until, self.next()).await {
            assert_ne!(message, Invalidation::Lost, "something is listened to again");
            if message == Invalidation::Pulse {
                pulse = Some(Instant::now());
            }
        }
        pulse
    }
}

/// One session that is written again and again.
pub(super) struct Writer {
    pub(super) key: StorageKey,
    pub(super) record: Record,
    records: Records,
}

impl Writer {
    pub(super) async fn new(store: &dyn SessionStore, records: &Records) -> Self {
        Self::that(store, records, |_| true).await
    }

    /// One with a key that pleases.
    pub(super) async fn that(
        store: &dyn SessionStore,
        records: &Records,
        pleases: impl Fn(&StorageKey) -> bool,
    ) -> Self {
        let (key, record) =
            std::iter::repeat_with(|| records.anonymous(b"")).find(|(key, _)| pleases(key)).unwrap();
        assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
        Self { key, record, records: records.clone() }
    }

    pub(super) async fn swap(&mut self, store: &dyn SessionStore) {
        let next = self.records.next(&self.key, &self.record, b"next");
        let replaced = store.replace(self.key, next.clone(), self.record.header.version()).await.unwrap();
        assert_eq!(replaced, Replaced::Replaced);
        self.record = next;
    }
}
