//! Records for tests: sealed under a keyring of the test's own, at the time of its clock, in any of the formats.

use std::sync::Arc;
use std::time::Duration;

use stayput_core::{
    Clock, Header, Keyring, Random as _, Record, RecordFormat, SessionId, State, StorageKey, Subject,
    Timestamp, WriteTag,
};

use crate::{ManualClock, Seed, SeededRandom};

/// Makes records that differ from each other in key, write tag and ciphertext.
#[derive(Clone, Debug)]
pub struct Records {
    clock: Arc<ManualClock>,
    random: Arc<SeededRandom>,
    keyring: Arc<Keyring>,
}

/// Idle timeout of the records made here.
const IDLE: Duration = Duration::from_mins(30);
/// Absolute timeout of the records made here.
const ABSOLUTE: Duration = Duration::from_hours(12);

impl Records {
    /// Records by a clock of their own and a seed that is printed.
    pub fn seeded() -> Self {
        Self::new(Arc::default(), Seed::announce())
    }

    /// Records by `clock` and `seed`.
    pub fn new(clock: Arc<ManualClock>, seed: Seed) -> Self {
        let random = SeededRandom::new(seed);
        let keyring = Keyring::generate(&random);
        Self { clock, random: Arc::new(random), keyring: Arc::new(keyring) }
    }

    /// The clock.
    pub fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    /// A new anonymous session with 30 minutes to live, 12 hours at most.
    pub fn anonymous(&self, data: &[u8]) -> (StorageKey, Record) {
        self.keyed(None, data)
    }

    /// The same, logged in.
    pub fn logged_in(&self, subject: &Subject, data: &[u8]) -> (StorageKey, Record) {
        self.keyed(Some(subject), data)
    }

    /// The next write to `record`, with its deadlines as they are.
    pub fn next(&self, key: &StorageKey, record: &Record, data: &[u8]) -> Record {
        self.next_until(key, record, record.header.expires, data)
    }

    /// The next write to `record`, with the idle deadline `expires`.
    pub fn next_until(&self, key: &StorageKey, record: &Record, expires: Timestamp, data: &[u8]) -> Record {
        let mut header = record.header.next(WriteTag::generate(&*self.random));
        header.expires = expires.min(header.absolute);
        self.seal(key, header, data)
    }

    /// What is left of `record` after a rotation: it ends for good at `ends`.
    pub fn remainder(&self, key: &StorageKey, record: &Record, ends: Timestamp) -> Record {
        let mut header = record.header.next(WriteTag::generate(&*self.random));
        header.state = State::Remainder;
        (header.absolute, header.expires) = (ends, ends);
        self.seal(key, header, b"")
    }

    /// A new anonymous session under a key that is known already.
    pub fn under(&self, key: &StorageKey, data: &[u8]) -> Record {
        self.record(key, None, data)
    }

    /// The same, logged in.
    pub fn logged_in_under(&self, key: &StorageKey, subject: &Subject, data: &[u8]) -> Record {
        self.record(key, Some(subject), data)
    }

    /// What is sealed in `record`.
    ///
    /// # Panics
    ///
    /// If it can't be opened: some store changed it.
    pub fn open(&self, key: &StorageKey, record: &Record) -> Vec<u8> {
        record.open(key, &self.keyring).expect("a record comes back from a store as it went in")
    }

    fn keyed(&self, subject: Option<&Subject>, data: &[u8]) -> (StorageKey, Record) {
        let key = SessionId::generate(&*self.random).storage_key();
        (key, self.record(&key, subject, data))
    }

    fn record(&self, key: &StorageKey, subject: Option<&Subject>, data: &[u8]) -> Record {
        let (now, random) = (self.clock.now(), &*self.random);
        let mut header = Header::new(now, now.after(ABSOLUTE), now.after(IDLE), WriteTag::generate(random));
        header.subject = subject.map(Subject::key);
        header.authenticated = subject.map(|_| now);
        self.seal(key, header, data)
    }

    /// In any of the formats: a store sees all of them, one after another under the same key, too. Long ones are as they are, since tests
    /// of what a store has room for go by their length.
    fn seal(&self, key: &StorageKey, header: Header, data: &[u8]) -> Record {
        let mut chance = [0];
        self.random.fill(&mut chance);
        let is_newer = chance[0] % 2 == 1 && data.len() < 128;
        let format = if is_newer { RecordFormat::NEWEST } else { RecordFormat::V1 };
        Record::seal_as(format, key, header, data, &self.keyring, &*self.random)
    }
}
