//! Readers who come whether or not others are answered, and writers who make each write until they know what became of it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use stayput_core::{
    Created, Record, Replaced, SessionStore, StorageKey, StoreError, StoreErrorKind, WriteTag,
};
use stayput_stores::RedisStore;
use stayput_testkit::Records;
use tokio::task::JoinSet;
use tokio::time::sleep;

const SESSIONS: usize = 4;
/// Of each session.
const WRITERS: usize = 4;

pub(super) struct Load {
    calls: Arc<Calls>,
    keys: Vec<StorageKey>,
    reader: tokio::task::JoinHandle<()>,
    writers: JoinSet<Written>,
}

/// What became of calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) succeeded: usize,
    pub(super) failed: usize,
    /// At once, because too many were under way.
    pub(super) refused: usize,
    /// Of a call.
    pub(super) longest: Duration,
    /// How many were under way at a time.
    pub(super) most: usize,
}

impl Tally {
    fn add(&mut self, under_way: usize) {
        self.most = self.most.max(under_way);
    }
}

/// Writes whose outcome was unknown.
#[derive(Default)]
pub(super) struct Doubts {
    pub(super) all: usize,
    pub(super) made: usize,
}

struct Written {
    session: usize,
    me: usize,
    count: u64,
    doubts: Doubts,
}

struct Calls {
    store: Arc<RedisStore>,
    records: Records,
    is_over: AtomicBool,
    under_way: AtomicUsize,
    writes_under_way: AtomicUsize,
    tally: Mutex<Tally>,
    /// When the last read and the last write that succeeded began, and when they ended.
    last: Mutex<[Option<(Instant, Instant)>; 2]>,
}

/// Its place in [`Calls::last`], and how many writes it is.
#[derive(Clone, Copy)]
enum Kind {
    Read = 0,
    Write = 1,
}

impl Load {
    pub(super) async fn start(store: &Arc<RedisStore>, records: &Records) -> Self {
        let calls = Arc::new(Calls {
            store: Arc::clone(store),
            records: records.clone(),
            is_over: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            writes_under_way: AtomicUsize::new(0),
            tally: Mutex::default(),
            last: Mutex::default(),
        });
        let (mut keys, mut writers) = (Vec::new(), JoinSet::new());
        for session in 0..SESSIONS {
            let (key, record) = records.anonymous(&[0; 8 * WRITERS]);
            assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
            keys.push(key);
            for me in 0..WRITERS {
                let doubts = Doubts::default();
                let writer = Writer { calls: Arc::clone(&calls), key, me, doubts };
                writers.spawn(writer.run(session));
            }
        }
        let reader = tokio::spawn(Arc::clone(&calls).read_on(keys[0]));
        Self { calls, keys, reader, writers }
    }

    /// Returns when half of the writers wait for an answer.
    pub(super) async fn writers_wait(&self) {
        let began = Instant::now();
        while self.calls.writes_under_way.load(Ordering::SeqCst) < SESSIONS * WRITERS / 2 {
            assert!(began.elapsed() < PATIENCE, "they are answered");
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// So many reads at once; returns when all have ended.
    pub(super) async fn burst(&self, count: usize) {
        let mut reads = JoinSet::new();
        for _ in 0..count {
            reads.spawn(Arc::clone(&self.calls).read(self.keys[0]));
        }
        while reads.join_next().await.is_some() {}
    }

    /// What happened since this was last asked.
    pub(super) fn tally(&self) -> Tally {
        std::mem::take(&mut self.calls.tally())
    }

    /// When the first read and the first write of those that began after `since` had succeeded.
    pub(super) async fn resumes(&self, since: Instant) -> (Instant, Instant) {
        let (mut read, mut write) = (None, None);
        while read.is_none() || write.is_none() {
            assert!(since.elapsed() < PATIENCE, "traffic never resumes");
            sleep(Duration::from_millis(1)).await;
            let of = |kind: Kind| {
                let last = self.calls.last.lock().unwrap_or_else(PoisonError::into_inner)[kind as usize];
                last.filter(|(began, _)| *began > since).map(|(_, ended)| ended)
            };
            read = read.or_else(|| of(Kind::Read));
            write = write.or_else(|| of(Kind::Write));
        }
        (read.expect("there is one"), write.expect("there is one"))
    }

    /// Ends it, and says how often each writer of each session wrote.
    pub(super) async fn end(mut self) -> (Vec<(StorageKey, [u64; WRITERS])>, Doubts) {
        self.calls.is_over.store(true, Ordering::Relaxed);
        self.reader.await.unwrap();
        let mut outcomes: Vec<_> = self.keys.iter().map(|key| (*key, [0; WRITERS])).collect();
        let mut all = Doubts::default();
        while let Some(written) = self.writers.join_next().await {
            let Written { session, me, count, doubts } = written.unwrap();
            outcomes[session].1[me] = count;
            all.all += doubts.all;
            all.made += doubts.made;
        }
        (outcomes, all)
    }
}

impl Calls {
    /// Two hundred a second, as visitors come.
    async fn read_on(self: Arc<Self>, key: StorageKey) {
        let mut reads = JoinSet::new();
        while !self.is_over.load(Ordering::Relaxed) {
            reads.spawn(Arc::clone(&self).read(key));
            while reads.try_join_next().is_some() {}
            sleep(Duration::from_millis(5)).await;
        }
        while reads.join_next().await.is_some() {}
    }

    async fn read(self: Arc<Self>, key: StorageKey) {
        if let Ok(found) = self.call(Kind::Read, self.store.load(key)).await {
            assert!(found.is_some(), "a session is reported missing");
        }
    }

    async fn call<T>(
        &self,
        kind: Kind,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let began = Instant::now();
        let mut call = pin!(call);
        // What is refused at once is never under way.
        let outcome = match poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
                self.tally().add(under_way);
                self.writes_under_way.fetch_add(kind as usize, Ordering::SeqCst);
                let outcome = call.await;
                self.writes_under_way.fetch_sub(kind as usize, Ordering::SeqCst);
                self.under_way.fetch_sub(1, Ordering::SeqCst);
                outcome
            }
        };
        let ended = Instant::now();
        let mut tally = self.tally();
        tally.longest = tally.longest.max(ended - began);
        match &outcome {
            Ok(_) => {
                tally.succeeded += 1;
                self.last.lock().unwrap_or_else(PoisonError::into_inner)[kind as usize] =
                    Some((began, ended));
            }
            Err(error) => match error.kind() {
                StoreErrorKind::Overloaded => tally.refused += 1,
                StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown => tally.failed += 1,
                kind => panic!("a server that hangs is not {kind:?}: {error:?}"),
            },
        }
        outcome
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer {
    calls: Arc<Calls>,
    key: StorageKey,
    me: usize,
    doubts: Doubts,
}

impl Writer {
    async fn run(mut self, session: usize) -> Written {
        let (mut count, mut current) = (0, None);
        while !self.calls.is_over.load(Ordering::Relaxed) {
            let Some(base) = current.take() else {
                current = self.calls.call(Kind::Read, self.calls.store.load(self.key)).await.ok().flatten();
                sleep(PACE).await;
                continue;
            };
            let newer = self.write(base, count + 1).await;
            count = counts(&self.calls.records, &self.key, &newer)[self.me];
            current = Some(newer);
            sleep(PACE).await;
        }
        Written { session, me: self.me, count, doubts: self.doubts }
    }

    /// Makes one write, again and again the same, until it is known what became of it.
    async fn write(&mut self, base: Arc<Record>, count: u64) -> Arc<Record> {
        let mut data = counts(&self.calls.records, &self.key, &base);
        data[self.me] = count;
        let data: Vec<u8> = data.iter().flat_map(|count| count.to_be_bytes()).collect();
        let next = self.calls.records.next(&self.key, &base, &data);
        let (version, mut is_in_doubt) = (base.header.version(), false);
        let (newer, is_made) = loop {
            let swap = self.calls.store.replace(self.key, next.clone(), version);
            match self.calls.call(Kind::Write, swap).await {
                Ok(Replaced::Replaced) => break (next.into(), true),
                Ok(Replaced::Conflict(newer)) => {
                    let is_made = self.is_made(&newer, count, next.header.version().tag);
                    assert!(!is_made || is_in_doubt, "done, and said not to be");
                    break (newer, is_made);
                }
                Ok(Replaced::Missing) => panic!("the record vanished"),
                Err(error) => is_in_doubt |= error.kind() == StoreErrorKind::OutcomeUnknown,
            }
            sleep(PACE).await;
        };
        self.doubts.all += usize::from(is_in_doubt);
        self.doubts.made += usize::from(is_in_doubt && is_made);
        newer
    }

    /// Its tag says whether a write was made, as long as that is remembered; what it counted does in any case.
    fn is_made(&self, newer: &Record, count: u64, tag: WriteTag) -> bool {
        let is_made = counts(&self.calls.records, &self.key, newer)[self.me] == count;
        assert!(is_made || !newer.header.includes(tag), "a tag without its write");
        is_made
    }
}

/// How often each writer of a session wrote.
pub(super) fn counts(records: &Records, key: &StorageKey, record: &Record) -> [u64; WRITERS] {
    let data = records.open(key, record);
    let mut counts =
        data.chunks_exact(8).map(|bytes| u64::from_be_bytes(bytes.try_into().expect("there are eight")));
    std::array::from_fn(|_| counts.next().expect("there is one of each writer"))
}

const PACE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(20);
