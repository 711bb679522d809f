//! Traffic that knows what it was told: sessions that count, and notice when they are missing or count less than was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stayput_core::{Created, Record, Replaced, SessionStore, StorageKey, StoreError, StoreErrorKind};
use stayput_stores::RedisStore;
use stayput_testkit::Records;
use stayput_testkit::servers::slot;
use tokio::task::JoinSet;

use crate::support::story;

/// Sessions that are read and written all the time.
pub(super) struct Load {
    tasks: JoinSet<Counter>,
    is_over: Arc<AtomicBool>,
}

/// One session and what became of it.
pub(super) struct Counter {
    store: Arc<RedisStore>,
    records: Records,
    key: StorageKey,
    acknowledged: u64,
    /// Errors, and when.
    pub(super) errors: Vec<(Instant, StoreError)>,
    pub(super) answers: Vec<Instant>,
    /// How often the store said that there is no such session.
    pub(super) missing: usize,
    /// Writes that were acknowledged and are gone.
    pub(super) lost: u64,
}

impl Load {
    pub(super) async fn start(store: &Arc<RedisStore>, records: &Records, sessions: usize) -> Self {
        let (mut tasks, is_over) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for _ in 0..sessions {
            let (key, record) = records.anonymous(&0u64.to_be_bytes());
            assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
            let counter = Counter {
                store: Arc::clone(store),
                records: records.clone(),
                key,
                acknowledged: 0,
                errors: Vec::new(),
                answers: Vec::new(),
                missing: 0,
                lost: 0,
            };
            tasks.spawn(counter.run(Arc::clone(&is_over)));
        }
        Self { tasks, is_over }
    }

    /// Ends it, and says what became of each session.
    pub(super) async fn end(self) -> Vec<Counter> {
        self.is_over.store(true, Ordering::Relaxed);
        self.tasks.join_all().await
    }
}

impl Counter {
    /// The slot of the session's record, behind the usual prefix.
    pub(super) fn slot(&self) -> u16 {
        slot_of(&self.key)
    }

    async fn run(mut self, is_over: Arc<AtomicBool>) -> Self {
        while !is_over.load(Ordering::Relaxed) {
            if let Err(error) = self.count().await {
                self.errors.push((Instant::now(), error));
            }
            tokio::time::sleep(PACE).await;
        }
        self
    }

    async fn count(&mut self) -> Result<(), StoreError> {
        let Some(current) = self.store.load(self.key).await? else {
            self.missing += 1;
            return Ok(());
        };
        let count = self.counted(&current);
        self.lost += self.acknowledged.saturating_sub(count);
        // A write in doubt may have been made.
        self.acknowledged = count;
        let next = self.records.next(&self.key, &current, &(count + 1).to_be_bytes());
        match self.store.replace(self.key, next, current.header.version()).await? {
            Replaced::Replaced => self.acknowledged += 1,
            // The one in doubt came after it was looked for; or what was read is gone with its primary.
            Replaced::Conflict(newer) => {
                self.lost += count.saturating_sub(self.counted(&newer));
                self.acknowledged = self.counted(&newer);
            }
            Replaced::Missing => self.missing += 1,
        }
        self.answers.push(Instant::now());
        Ok(())
    }

    fn counted(&self, record: &Record) -> u64 {
        let data = self.records.open(&self.key, record);
        u64::from_be_bytes(data.try_into().unwrap())
    }
}

pub(crate) fn slot_of(key: &StorageKey) -> u16 {
    slot(&[b"stayput:", &key.as_bytes()[..]].concat())
}

/// Whether an error says no more than that a server is away.
pub(super) fn is_outage(error: &StoreError) -> bool {
    let is_one = matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown);
    assert!(is_one, "{}", story(error));
    is_one
}

const PACE: Duration = Duration::from_millis(20);
