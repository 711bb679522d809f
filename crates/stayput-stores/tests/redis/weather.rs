//! Random weather between the store and its server, from a seed: whatever the network does, no update is lost or made twice, an
//! error says no less than what happened, and limits are kept.

use std::sync::Arc;
use std::time::Duration;

use stayput_core::{
    Admission, Admitted, Created, Overflow, Record, Replaced, SessionLimit, SessionStore, StorageKey,
    StoreError, StoreErrorKind, Subject,
};
use stayput_stores::RedisStore;
use stayput_testkit::servers::{RedisClusterOptions, RedisSentinelsOptions, RedisServer};
use stayput_testkit::{FaultProxy, Records, Seed, Weather};
use tokio::time::{sleep, timeout};

use crate::support::{behind_proxies, behind_proxy, behind_sentinels_proxies, records};

const WRITERS: usize = 4;
const WRITES: u64 = 200;

/// How long a call may take.
const LIMIT: Duration = Duration::from_millis(150);

/// Slow enough for the weather to change now and then.
const PACE: Duration = Duration::from_millis(3);

/// A minute is for those whose machine is busy.
const PATIENCE: Duration = Duration::from_secs(50);

/// Changes the weather all the time, until it is dropped: at one place after the other, and for longer if there are several, since what
/// takes several nodes at once gets through only if all of them have been found again.
async fn bad_weather(proxies: &[FaultProxy]) {
    let mut rng = Seed::announce().rng();
    let millis = Duration::from_millis;
    loop {
        let weather = match rng.u8(..8) {
            0 => Weather::Hang,
            1 => Weather::Mute,
            2 => Weather::Reset,
            3 => Weather::HalfClose,
            4 => Weather::CutWithin(0..2_000),
            5 => Weather::Slow(millis(0)..millis(20)),
            _ => Weather::Fair,
        };
        clear_up(proxies);
        proxies[rng.usize(..proxies.len())].set(weather);
        sleep(millis(rng.u64(5..200)) * u32::try_from(proxies.len()).unwrap()).await;
    }
}

fn clear_up(proxies: &[FaultProxy]) {
    for proxy in proxies {
        proxy.set(Weather::Fair);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_weather_loses_an_update_or_makes_it_twice() {
    let server = RedisServer::plain();
    let (store, proxy) = behind_proxy(&server, LIMIT).await;
    updates_are_made_once(store, &[proxy]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_weather_in_a_cluster_loses_an_update_or_makes_it_twice() {
    let cluster = RedisClusterOptions::default().without_replicas().start();
    let (store, proxies) = behind_proxies(&cluster, LIMIT).await;
    updates_are_made_once(store, &proxies).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_weather_under_sentinel_loses_an_update_or_makes_it_twice() {
    let service = RedisSentinelsOptions::default().replicas(0).sentinels(1).start();
    let (store, proxies) = behind_sentinels_proxies(&service, LIMIT).await;
    updates_are_made_once(store, &proxies).await;
}

async fn updates_are_made_once(store: Arc<RedisStore>, proxies: &[FaultProxy]) {
    let records = records();
    let (key, record) = records.anonymous(&[0; 8 * WRITERS]);
    assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
    let writers: Vec<_> = (0..WRITERS)
        .map(|me| tokio::spawn(Writer { store: Arc::clone(&store), records: records.clone(), key, me }.run()))
        .collect();
    let all = async {
        for writer in writers {
            writer.await.unwrap();
        }
    };
    tokio::select! {
        () = bad_weather(proxies) => unreachable!("the weather goes on"),
        done = timeout(PATIENCE, all) => done.expect("the writers get through"),
    }
    clear_up(proxies);
    let record = until_answered(|| store.load(key)).await.unwrap();
    let writers = WRITERS as u64;
    assert_eq!(record.header.version().count, 1 + writers * WRITES);
    assert_eq!(records.open(&key, &record), [WRITES.to_be_bytes(); WRITERS].concat());
}

/// Counts in a place of its own in a record that it shares with others.
struct Writer {
    store: Arc<RedisStore>,
    records: Records,
    key: StorageKey,
    me: usize,
}

impl Writer {
    async fn run(self) {
        let mut current = until_answered(|| self.store.load(self.key)).await.unwrap();
        for count in 1..=WRITES {
            while self.count(&current) < count {
                current = self.write(current, count).await;
            }
            sleep(PACE).await;
        }
    }

    /// Makes one write, again and again the same, until it is known what became of it.
    async fn write(&self, current: Arc<Record>, count: u64) -> Arc<Record> {
        let mut data = self.records.open(&self.key, &current);
        data[8 * self.me..][..8].copy_from_slice(&count.to_be_bytes());
        let next = self.records.next(&self.key, &current, &data);
        let mut may_have_happened = false;
        loop {
            match self.store.replace(self.key, next.clone(), current.header.version()).await {
                Ok(Replaced::Replaced) => return next.into(),
                Ok(Replaced::Conflict(newer)) => {
                    assert!(may_have_happened || self.count(&newer) < count, "done, and said not to be");
                    return newer;
                }
                Ok(Replaced::Missing) => panic!("the record vanished"),
                Err(error) => may_have_happened |= is_in_doubt(&error),
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    fn count(&self, record: &Record) -> u64 {
        let data = self.records.open(&self.key, record);
        u64::from_be_bytes(data[8 * self.me..][..8].try_into().unwrap())
    }
}

fn is_in_doubt(error: &StoreError) -> bool {
    match error.kind() {
        StoreErrorKind::OutcomeUnknown => true,
        StoreErrorKind::Unavailable => false,
        kind => panic!("no network makes a store {kind:?}: {error:?}"),
    }
}

async fn until_answered<T, F: Future<Output = Result<T, StoreError>>>(call: impl Fn() -> F) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => {
                is_in_doubt(&error);
            }
        }
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_weather_leaves_more_sessions_than_the_limit() {
    let server = RedisServer::plain();
    let (store, proxy) = behind_proxy(&server, LIMIT).await;
    limits_are_kept(store, &[proxy], 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_weather_in_a_cluster_leaves_more_sessions_than_the_limit() {
    let cluster = RedisClusterOptions::default().without_replicas().start();
    let (store, proxies) = behind_proxies(&cluster, LIMIT).await;
    limits_are_kept(store, &proxies, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_weather_under_sentinel_leaves_more_sessions_than_the_limit() {
    let service = RedisSentinelsOptions::default().replicas(0).sentinels(1).start();
    let (store, proxies) = behind_sentinels_proxies(&service, LIMIT).await;
    limits_are_kept(store, &proxies, 20).await;
}

async fn limits_are_kept(store: Arc<RedisStore>, proxies: &[FaultProxy], rounds: u32) {
    let (records, alice) = (records(), Subject::new("alice"));
    let logins: Vec<_> = (0..8)
        .map(|_| {
            let (store, records, alice) = (Arc::clone(&store), records.clone(), alice.clone());
            tokio::spawn(async move {
                for _ in 0..rounds {
                    log_in(&store, &records, &alice).await;
                    sleep(PACE).await;
                }
            })
        })
        .collect();
    let all = async {
        for login in logins {
            login.await.unwrap();
        }
    };
    tokio::select! {
        () = bad_weather(proxies) => unreachable!("the weather goes on"),
        done = timeout(PATIENCE, all) => done.expect("the logins get through"),
    }
    clear_up(proxies);
    // Who comes next finds everything done.
    let last = log_in(&store, &records, &alice).await;
    assert_eq!(until_answered(|| store.subject_sessions(alice.key())).await, [last]);
}

async fn log_in(store: &RedisStore, records: &Records, subject: &Subject) -> StorageKey {
    let limit = SessionLimit { most: 1.try_into().unwrap(), overflow: Overflow::EndOldest };
    let admission = Admission { limit: Some(limit), ..Admission::default() };
    let (key, record) = records.logged_in(subject, b"");
    let _: Created = until_answered(|| store.create(key, record.clone())).await;
    // Another login may have ended this one before its own answer came.
    let _: Admitted = until_answered(|| store.admit(subject.key(), key, admission)).await;
    key
}
