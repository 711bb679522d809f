//! Fills a Redis server with sessions of the same content, for `redis_memory.py` to see what each takes.
//!
//! The content is that of the applications here after a login. The peer's own store writes the peer's; `plain` are Stayput's
//! records under the peer's keys, by `SET` with an expiry and nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use stayput_core::{
    Admission, Clock, Header, Keyring, Record, SessionId, SessionStore, StorageKey, Subject, SystemClock,
    SystemRandom, Timestamp, WriteTag,
};
use tower_sessions_0_14::SessionStore as _;
use tower_sessions_0_14::session::{Id, Record as PeerRecord};
use tower_sessions_redis_store::fred::prelude::*;

use crate::apps::{CSRF, USER};

/// How many calls are under way at a time.
const TOGETHER: usize = 256;

/// Long enough for none to end meanwhile.
const IDLE: Duration = Duration::from_secs(6 * 3600);

pub(crate) async fn fill(what: &str, count: usize, url: &str) {
    let filler = Arc::new(Filler::connect(what, url).await);
    let tasks: Vec<_> = (0..TOGETHER)
        .map(|first| {
            let filler = Arc::clone(&filler);
            tokio::spawn(async move {
                for number in (first..count).step_by(TOGETHER) {
                    filler.put(number).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("the server takes all of them");
    }
}

struct Filler {
    kind: Kind,
    ours: stayput_stores::RedisStore,
    pool: Pool,
    keyring: Keyring,
}

enum Kind {
    Tower,
    Plain,
    Anonymous,
    /// The same of subjects.
    PlainSubject,
    /// So many sessions of each subject.
    Subject(usize),
}

impl Filler {
    async fn connect(what: &str, url: &str) -> Self {
        let kind = match what {
            "tower" => Kind::Tower,
            "plain" => Kind::Plain,
            "plain-subject" => Kind::PlainSubject,
            "anonymous" => Kind::Anonymous,
            _ => Kind::Subject(
                what.parse().expect("tower, plain, plain-subject, anonymous, or sessions of a subject"),
            ),
        };
        let ours = stayput_stores::RedisStore::connect(url).await.expect("a Redis server at BENCH_STORE");
        let pool =
            Pool::new(Config::from_url(url).expect("a Redis URL"), None, None, None, 1).expect("a pool");
        pool.connect();
        pool.wait_for_connect().await.expect("a Redis server at the URL");
        Self { kind, ours, pool, keyring: Keyring::generate(&SystemRandom) }
    }

    async fn put(&self, number: usize) {
        match self.kind {
            Kind::Tower => {
                let data = [("user", USER.into()), ("csrf", CSRF.into()), ("n", 0.into())];
                let data: HashMap<_, _> =
                    data.map(|(name, value): (&str, serde_json::Value)| (name.to_owned(), value)).into();
                let expiry_date = time::OffsetDateTime::now_utc() + IDLE;
                let store = tower_sessions_redis_store::RedisStore::new(self.pool.clone());
                store
                    .create(&mut PeerRecord { id: Id::default(), data, expiry_date })
                    .await
                    .expect("it is created");
            }
            Kind::Plain | Kind::PlainSubject => {
                let subject = Subject::new(format!("user-{number:07}"));
                let is_anonymous = matches!(self.kind, Kind::Plain);
                let (_, record) = self.record(Some(&subject).filter(|_| !is_anonymous));
                let expires = i64::try_from(record.header.expires.as_millis()).expect("a time of this age");
                let (name, value) = (Id::default().to_string(), record.encode());
                let set = self.pool.set(name, value.as_slice(), Some(Expiration::PXAT(expires)), None, false);
                let _: () = set.await.expect("it is set");
            }
            Kind::Anonymous => {
                let (key, record) = self.record(None);
                let _ = self.ours.create(key, record).await.expect("it is created");
            }
            Kind::Subject(each) => {
                let subject = Subject::new(format!("user-{:07}", number / each));
                let (key, record) = self.record(Some(&subject));
                let _ = self.ours.create(key, record).await.expect("it is created");
                let admitted = self.ours.admit(subject.key(), key, Admission::default()).await;
                let _ = admitted.expect("it is admitted");
            }
        }
    }

    fn record(&self, subject: Option<&Subject>) -> (StorageKey, Record) {
        let key = SessionId::generate(&SystemRandom).storage_key();
        let now = SystemClock.now();
        let absolute: Timestamp = now.after(2 * IDLE);
        let mut header = Header::new(now, absolute, now.after(IDLE), WriteTag::generate(&SystemRandom));
        header.subject = subject.map(Subject::key);
        header.authenticated = subject.map(|_| now);
        let name = subject.map_or(0, |_| "user-0000000".len());
        (key, Record::seal(&key, header, &data(name), &self.keyring, &SystemRandom))
    }
}

/// As docs/format.md has it: an owner, if there is one, with a name so long and a device that told nothing; and the pairs.
fn data(name: usize) -> Vec<u8> {
    let part =
        |bytes: &[u8]| [&u32::try_from(bytes.len()).expect("it is short").to_be_bytes()[..], bytes].concat();
    let mut data = match name {
        0 => vec![0],
        name => [vec![1], part(&vec![b'u'; name]), part(&[0; 2])].concat(),
    };
    let text =
        |text: &str| [&[0xd9, u8::try_from(text.len()).expect("it is short")], text.as_bytes()].concat();
    for (name, value) in [("user", text(USER)), ("csrf", text(CSRF)), ("n", vec![0])] {
        let lengths =
            [name.len(), value.len()].map(|len| u32::try_from(len).expect("it is short").to_be_bytes());
        data.extend([lengths.concat(), name.as_bytes().to_vec(), value].concat());
    }
    data
}
