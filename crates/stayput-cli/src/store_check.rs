//! `stayput store check`: whether a store does what sessions need of it, and how fast.
//!
//! It touches nothing but sessions of its own, under keys that nobody else can have; they end within a minute, and what their
//! removal leaves within an hour.

use std::fmt::Display;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stayput::{Keyring, SystemRandom};
use stayput_core::{
    Admission, Admitted, Clock, Created, Header, Overflow, Record, Replaced, SessionId, SessionLimit,
    SessionStore, StorageKey, StoreError, Subject, SystemClock, Touched, WriteTag,
};
use stayput_stores::StoreUrl;

use crate::failure::Failure;

pub(crate) async fn run(url: &StoreUrl) -> Result<(), Failure> {
    let failed = |error| Failure::other(format!("cannot open the session store {url}")).because(error);
    let probe = Probe { store: url.open().await.map_err(failed)?, keyring: Keyring::generate(&SystemRandom) };
    say(url);
    let verdicts = [
        ("keeps a session, and tells of a key that is taken", probe.keeps().await),
        ("swaps only the version that was read", probe.swaps().await),
        ("moves a session's deadline forward only", probe.touches().await),
        ("ends a session at its deadline", probe.expires().await),
        ("removes a session for good", probe.removes().await),
        ("lists, limits and ends a user's sessions", probe.subjects().await),
        ("has a marker to tell when it was wiped", probe.is_marked().await),
    ];
    for (promise, verdict) in &verdicts {
        match verdict {
            Ok(()) => say(format!("  ok    {promise}")),
            Err(trouble) => say(format!("  FAIL  {promise}: {}", trouble.0)),
        }
    }
    if verdicts.iter().any(|(_, verdict)| verdict.is_err()) {
        return Err(Failure::other(format!("{url} is not fit to keep sessions")));
    }
    let (read, write) = probe.speed().await.map_err(|trouble| Failure::other(trouble.0))?;
    say(format!("  speed one call at a time: read {read}, write {write}"));
    if !url.is_shared() {
        say("  note  its sessions end with the process that holds them");
    }
    Ok(())
}

struct Probe {
    store: Arc<dyn SessionStore>,
    keyring: Keyring,
}

/// What went wrong.
struct Trouble(String);

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        let mut text = error.to_string();
        let mut next = std::error::Error::source(&error);
        while let Some(cause) = next {
            text = format!("{text}: {cause}");
            next = cause.source();
        }
        Self(text)
    }
}

type Verdict = Result<(), Trouble>;

impl Probe {
    async fn keeps(&self) -> Verdict {
        let (key, record) = self.created(None, LIFETIME).await?;
        expect(self.store.load(key).await?.as_deref() == Some(&record), "it came back changed")?;
        expect(self.store.create(key, record).await? == Created::Exists, "it was overwritten")
    }

    async fn swaps(&self) -> Verdict {
        let (key, first) = self.created(None, LIFETIME).await?;
        let version = first.header.version();
        let (second, late) = (self.next(&key, &first), self.next(&key, &first));
        expect(self.store.replace(key, second, version).await? == Replaced::Replaced, "it was not swapped")?;
        let refused = matches!(self.store.replace(key, late, version).await?, Replaced::Conflict(_));
        expect(refused, "a late write overwrote another's")
    }

    async fn touches(&self) -> Verdict {
        let (key, record) = self.created(None, LIFETIME / 2).await?;
        let later = record.header.expires.after(Duration::from_secs(5));
        for deadline in [later, record.header.expires] {
            expect(self.store.touch(key, deadline).await? == Touched::Touched, "it was not found")?;
        }
        let moved = self.store.load(key).await?.is_some_and(|record| record.header.expires == later);
        expect(moved, "its deadline is another than it was moved to")
    }

    async fn expires(&self) -> Verdict {
        let (key, _) = self.created(None, BRIEF).await?;
        tokio::time::sleep(2 * BRIEF).await;
        let gone = self.store.load(key).await?.is_none();
        expect(gone, "it outlived its deadline; compare the store's clock with this machine's")
    }

    async fn removes(&self) -> Verdict {
        let (key, record) = self.created(None, LIFETIME).await?;
        self.store.remove(key).await?;
        expect(self.store.load(key).await?.is_none(), "it is still there")?;
        expect(self.store.create(key, record).await? == Created::Exists, "it could be brought back")
    }

    async fn subjects(&self) -> Verdict {
        let unique = SessionId::generate(&SystemRandom).storage_key();
        let subject = Subject::new(format!("stayput store check {:02x?}", unique.as_bytes()));
        let limit = SessionLimit { most: std::num::NonZeroU32::MIN, overflow: Overflow::EndOldest };
        let (first, _) = self.created(Some(&subject), LIFETIME).await?;
        let (second, _) = self.created(Some(&subject), LIFETIME).await?;
        let epoch = self.store.subject_epoch(subject.key()).await?;
        let admission = Admission { epoch, limit: Some(limit), replaces: None };
        for (key, ended) in [(first, vec![]), (second, vec![first])] {
            let admitted = self.store.admit(subject.key(), key, admission).await?;
            expect(admitted == Admitted::Admitted { ended }, "the limit was not kept")?;
        }
        expect(self.store.subject_sessions(subject.key()).await?.contains(&second), "one is not listed")?;
        expect(self.store.end_subject(subject.key(), None).await? == Some(1), "they were not ended")?;
        expect(self.store.load(second).await?.is_none(), "one that was ended is still there")
    }

    async fn is_marked(&self) -> Verdict {
        expect(self.store.marker().await?.is_some(), "it has none")
    }

    /// How long reads and writes take: in the middle and at the 99th percentile.
    async fn speed(&self) -> Result<(String, String), Trouble> {
        let (key, mut record) = self.created(None, LIFETIME).await?;
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for _ in 0..CALLS {
            let began = Instant::now();
            self.store.load(key).await?;
            reads.push(began.elapsed());
            let (next, version) = (self.next(&key, &record), record.header.version());
            let began = Instant::now();
            let _: Replaced = self.store.replace(key, next.clone(), version).await?;
            writes.push(began.elapsed());
            record = next;
        }
        self.store.remove(key).await?;
        Ok((percentiles(reads), percentiles(writes)))
    }

    async fn created(
        &self,
        subject: Option<&Subject>,
        lifetime: Duration,
    ) -> Result<(StorageKey, Record), Trouble> {
        let (key, now) = (SessionId::generate(&SystemRandom).storage_key(), SystemClock.now());
        let mut header =
            Header::new(now, now.after(LIFETIME), now.after(lifetime), WriteTag::generate(&SystemRandom));
        header.subject = subject.map(Subject::key);
        let record = Record::seal(&key, header, DATA, &self.keyring, &SystemRandom);
        let created = self.store.create(key, record.clone()).await?;
        expect(created == Created::Created, "a new key is taken")?;
        Ok((key, record))
    }

    fn next(&self, key: &StorageKey, record: &Record) -> Record {
        let header = record.header.next(WriteTag::generate(&SystemRandom));
        Record::seal(key, header, DATA, &self.keyring, &SystemRandom)
    }
}

fn expect(holds: bool, trouble: &str) -> Verdict {
    if holds { Ok(()) } else { Err(Trouble(trouble.to_owned())) }
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| format!("{:.1?}", times[times.len() * percent / 100]);
    format!("{} (99%: {})", at(50), at(99))
}

fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// About what a small session holds.
const DATA: &[u8] = &[0; 100];

const LIFETIME: Duration = Duration::from_mins(1);
const BRIEF: Duration = Duration::from_millis(200);
const CALLS: usize = 200;
