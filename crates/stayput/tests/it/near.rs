//! The near cache: what it spares the store, and what it must never answer.

mod copies;
mod fresh;
mod shared;
mod told;

use std::sync::Arc;

use stayput::{Builder, Keyring, NearCache, SystemRandom};
use stayput_core::Operation;
use stayput_stores::MemoryStore;
use stayput_testkit::{Fault, FaultyStore, ManualClock, TellingStore};
use tokio::task::JoinHandle;

use crate::support::{Browser, Server};

/// Two servers with near caches over one store that tells of changes.
struct Pair {
    a: Server,
    b: Server,
    store: Arc<TellingStore>,
    faults: Arc<FaultyStore>,
    clock: Arc<ManualClock>,
}

const VERSION: &str = "__Host-stayput-version";

impl Pair {
    fn new() -> Self {
        Self::with(&NearCache::default())
    }

    fn with(near_cache: &NearCache) -> Self {
        let clock = Arc::new(ManualClock::default());
        let memory = MemoryStore::default().with_clock(clock.clone());
        let faults = Arc::new(FaultyStore::new(Arc::new(memory)));
        let store = Arc::new(TellingStore::new(faults.clone()));
        let keyring = Arc::new(Keyring::generate(&SystemRandom));
        let server = || {
            let set = |builder: Builder| builder.near_cache(near_cache.clone());
            Server::near(store.clone(), faults.clone(), clock.clone(), keyring.clone(), set)
        };
        let (a, b) = (server(), server());
        Self { a, b, store, faults, clock }
    }

    /// Has the store say that it tells everything, and everybody hear it.
    async fn pulse(&self) {
        self.store.pulse();
        heard().await;
    }

    /// A browser that is logged in, and whose session `a` holds a copy of.
    async fn logged_in(&self) -> Browser {
        let browser = self.a.browser();
        browser.post("/login/alice").await;
        browser.post("/set/color/red").await;
        heard().await;
        self.pulse().await;
        // The cookie was never presented before: that is written down, too.
        assert_eq!(browser.get("/read/color").await.text, "red");
        heard().await;
        assert_eq!(browser.get("/read/color").await.text, "red");
        browser
    }

    /// A read by `browser` that the store has answered, and whose answer is on its way to `a` until the faults are resumed.
    async fn slow_read(&self, browser: &Browser) -> JoinHandle<String> {
        self.store.lose();
        heard().await;
        self.faults.plan(Operation::Load, Fault::PauseAfter);
        let slow = tokio::spawn(read(browser.tab()));
        self.faults.paused().await;
        slow
    }

    /// How often the store was asked for a record meanwhile.
    async fn loads<T>(&self, work: impl Future<Output = T>) -> (usize, T) {
        let before = self.store.loads();
        let outcome = work.await;
        (self.store.loads() - before, outcome)
    }
}

/// Lets the tasks that follow the store take what they were told.
pub(crate) async fn heard() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn read(browser: Browser) -> String {
    browser.get("/read/color").await.text
}

#[tokio::test]
async fn the_memory_of_copies_is_bounded() {
    let pair = Pair::with(&NearCache { bytes: 64 << 10, ..NearCache::default() });
    let mut browsers = Vec::new();
    for _ in 0..200 {
        browsers.push(pair.logged_in().await);
    }
    let (loads, ()) = pair
        .loads(async {
            for browser in &browsers {
                assert_eq!(browser.get("/read/color").await.text, "red");
            }
        })
        .await;
    // 64 KiB hold some 50 small sessions.
    assert!((100..200).contains(&loads), "{loads}");
}

#[tokio::test]
async fn a_local_store_needs_no_copies_and_no_version_cookie() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/login/alice").await;
    assert_eq!(browser.cookie(VERSION), None);
}
