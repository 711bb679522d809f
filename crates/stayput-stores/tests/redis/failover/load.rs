//! Visitors, logins and logouts, many at a time, who keep a book of what was acknowledged to them.
//!
//! A call that fails is made again later, as users do; what became of it isn't counted either way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stayput_core::{
    Clock, Created, Record, Replaced, SessionStore, State, StorageKey, StoreError, StoreErrorKind, Subject,
    SystemClock,
};
use stayput_stores::RedisStore;
use stayput_testkit::Records;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::{records, story};

const TASKS: usize = 8;

/// Sessions that every replica has long before anything happens.
const SETTLED: usize = 50;

/// Logins of long before that are there to be ended.
const GUESTS: usize = 1500;

const PATIENCE: Duration = Duration::from_secs(40);

/// Load on a store, until it is ended.
pub(crate) struct Load {
    book: Arc<Book>,
    tasks: JoinSet<()>,
}

struct Book {
    store: Arc<RedisStore>,
    records: Records,
    settled: Vec<StorageKey>,
    guests: Mutex<Vec<(StorageKey, Record)>>,
    is_over: AtomicBool,
    pages: Mutex<Pages>,
}

/// What was acknowledged.
#[derive(Default)]
struct Pages {
    logins: Vec<StorageKey>,
    visits: Vec<StorageKey>,
    logouts: Vec<StorageKey>,
    rotations: Vec<StorageKey>,
    /// Counters, and how far each came.
    counters: Vec<(StorageKey, u64)>,
    /// Updates that were seen to be gone.
    updates_gone: u64,
    /// When those that succeeded were begun and ended.
    reads: Vec<(Instant, Instant)>,
    writes: Vec<(Instant, Instant)>,
    longest_call: Duration,
    errors: usize,
    calls: usize,
}

/// What of it was there no more, or there again.
#[derive(Debug, Default)]
#[expect(dead_code, reason = "some of it is for whoever reads what a test prints")]
pub(crate) struct Lost {
    pub(crate) logins: usize,
    pub(crate) rotations: usize,
    pub(crate) logouts: usize,
    pub(crate) visits: usize,
    pub(crate) updates: u64,
    pub(crate) longest_call: Duration,
    acknowledged: usize,
    errors: usize,
    calls: usize,
}

impl Load {
    /// Begins it, when replicas have the sessions that are read: `settle` returns then.
    pub(crate) async fn start(store: Arc<RedisStore>, settle: impl FnOnce()) -> Self {
        let (is_over, pages) = (AtomicBool::new(false), Mutex::default());
        let (settled, guests) = (Vec::new(), Mutex::default());
        let mut book = Book { store, records: records(), settled, guests, is_over, pages };
        for _ in 0..SETTLED {
            let (key, record) = book.records.anonymous(b"");
            book.certainly_create(key, &record).await;
            book.settled.push(key);
        }
        for _ in 0..GUESTS {
            let (key, record) = book.records.logged_in(&Subject::new("bob"), b"");
            book.certainly_create(key, &record).await;
            book.guests().push((key, record));
        }
        settle();
        let book = Arc::new(book);
        let mut tasks = JoinSet::new();
        for me in 0..TASKS {
            tasks.spawn(Arc::clone(&book).run(me));
        }
        Self { book, tasks }
    }

    pub(crate) async fn runs_for(&self, time: Duration) {
        sleep(time).await;
    }

    /// When the first read and the first write succeeded that were begun after `since`.
    pub(crate) async fn resumes(&self, since: Instant) -> (Instant, Instant) {
        let began = Instant::now();
        loop {
            {
                let pages = self.book.pages();
                let first = |calls: &[(Instant, Instant)]| {
                    calls.iter().find(|(began, _)| *began > since).map(|(_, ended)| *ended)
                };
                if let (Some(read), Some(write)) = (first(&pages.reads), first(&pages.writes)) {
                    return (read, write);
                }
            }
            assert!(began.elapsed() < PATIENCE, "traffic never resumes");
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends it, and sees what is there of what was acknowledged.
    pub(crate) async fn end(mut self) -> Lost {
        self.book.is_over.store(true, Ordering::Relaxed);
        while let Some(task) = self.tasks.join_next().await {
            task.unwrap();
        }
        let (book, pages) = (&self.book, std::mem::take(&mut *self.book.pages()));
        let mut lost = Lost {
            longest_call: pages.longest_call,
            errors: pages.errors,
            calls: pages.calls,
            acknowledged: pages.writes.len(),
            updates: pages.updates_gone,
            ..Lost::default()
        };
        for key in &pages.logins {
            lost.logins += usize::from(book.look(*key).await.is_none());
        }
        for key in &pages.visits {
            lost.visits += usize::from(book.look(*key).await.is_none());
        }
        for key in &pages.logouts {
            lost.logouts += usize::from(book.look(*key).await.is_some());
        }
        for key in &pages.rotations {
            let is_live = |record: Arc<Record>| record.header.state == State::Live;
            lost.rotations += usize::from(book.look(*key).await.is_some_and(is_live));
        }
        for (key, acknowledged) in &pages.counters {
            let count = book.look(*key).await.map_or(0, |record| book.count(key, &record));
            lost.updates += acknowledged.saturating_sub(count);
        }
        lost
    }
}

impl Book {
    async fn run(self: Arc<Self>, me: usize) {
        let mut counter = None;
        let mut turn = me;
        while !self.is_over.load(Ordering::Relaxed) {
            turn += 1;
            match turn % 4 {
                0 => self.log_in_and_out().await,
                1 => self.visit().await,
                2 => self.update(&mut counter).await,
                _ => self.read(self.settled[turn % SETTLED]).await,
            }
            sleep(Duration::from_millis(1)).await;
        }
        if let Some((key, _, count)) = counter {
            self.pages().counters.push((key, count));
        }
    }

    /// One comes, and two go: one ends, one leaves a remainder.
    async fn log_in_and_out(&self) {
        let (key, record) = self.records.logged_in(&Subject::new("alice"), b"");
        if self.write(self.store.create(key, record)).await == Some(Created::Created) {
            self.pages().logins.push(key);
        }
        let guest = || self.guests().pop();
        if let Some((key, _)) = guest()
            && self.write(self.store.remove(key)).await.is_some()
        {
            self.pages().logouts.push(key);
        }
        if let Some((key, record)) = guest() {
            let rest = self.records.remainder(&key, &record, SystemClock.now().after(PATIENCE * 3));
            let swap = self.store.replace(key, rest, record.header.version());
            if self.write(swap).await == Some(Replaced::Replaced) {
                self.pages().rotations.push(key);
            }
        }
    }

    async fn visit(&self) {
        let (key, record) = self.records.anonymous(b"");
        if self.write(self.store.create(key, record)).await == Some(Created::Created) {
            self.pages().visits.push(key);
        }
    }

    /// Counts on in a record of its own, from whatever count is there.
    async fn update(&self, counter: &mut Option<(StorageKey, Arc<Record>, u64)>) {
        let Some((key, current, acknowledged)) = counter else {
            let (key, record) = self.records.anonymous(&0u64.to_be_bytes());
            if self.write(self.store.create(key, record.clone())).await == Some(Created::Created) {
                self.pages().visits.push(key);
                *counter = Some((key, record.into(), 0));
            }
            return;
        };
        let count = self.count(key, current) + 1;
        let next = self.records.next(key, current, &count.to_be_bytes());
        match self.write(self.store.replace(*key, next.clone(), current.header.version())).await {
            Some(Replaced::Replaced) => (*current, *acknowledged) = (next.into(), count),
            // An earlier try that nobody answered, or a failover that took something back.
            Some(Replaced::Conflict(newer)) => {
                let count = self.count(key, &newer);
                self.pages().updates_gone += acknowledged.saturating_sub(count);
                (*current, *acknowledged) = (newer, (*acknowledged).min(count));
            }
            Some(Replaced::Missing) => {
                self.pages().updates_gone += *acknowledged;
                *counter = None;
            }
            None => {}
        }
    }

    /// An answer of "missing" for a session that was never ended would log its user out.
    async fn read(&self, key: StorageKey) {
        let began = Instant::now();
        if let Some(found) = self.call(self.store.load(key)).await {
            assert!(found.is_some(), "a session is reported missing");
            self.pages().reads.push((began, Instant::now()));
        }
    }

    async fn write<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
        let began = Instant::now();
        let answer = self.call(call).await?;
        self.pages().writes.push((began, Instant::now()));
        Some(answer)
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
        let began = Instant::now();
        let outcome = call.await;
        let mut pages = self.pages();
        pages.longest_call = pages.longest_call.max(began.elapsed());
        pages.calls += 1;
        match outcome {
            Ok(answer) => Some(answer),
            Err(error) => {
                let passes = [StoreErrorKind::Unavailable, StoreErrorKind::OutcomeUnknown];
                assert!(passes.contains(&error.kind()), "{}", story(&error));
                pages.errors += 1;
                None
            }
        }
    }

    async fn certainly_create(&self, key: StorageKey, record: &Record) {
        let began = Instant::now();
        while let Err(error) = self.store.create(key, record.clone()).await {
            assert!(began.elapsed() < PATIENCE, "{}", story(&error));
            sleep(Duration::from_millis(2)).await;
        }
    }

    async fn look(&self, key: StorageKey) -> Option<Arc<Record>> {
        let began = Instant::now();
        loop {
            match self.store.load(key).await {
                Ok(found) => return found,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{}", story(&error)),
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    fn count(&self, key: &StorageKey, record: &Record) -> u64 {
        let data = self.records.open(key, record);
        u64::from_be_bytes(data.try_into().expect("a counter has eight bytes"))
    }

    fn guests(&self) -> MutexGuard<'_, Vec<(StorageKey, Record)>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
