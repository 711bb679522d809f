//! The lifeboat: while the store is out, sessions go on wherever their users come, and what they did is in the store afterwards.

mod birth;
mod late;
mod logout;
mod marked;
mod races;
mod replay;
mod serving;
mod wiped;
mod writes;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stayput::{
    Builder, Journal, Keyring, LifeboatKey, Merge, NearCache, OnWiped, Outage, Policy, Sessions, Subject,
    SystemRandom,
};
use stayput_core::{CookieValue, SessionStore, StorageKey};
use stayput_stores::MemoryStore;
use stayput_testkit::{Fault, FaultyStore, ManualClock, TellingStore};

use crate::outage::back;
use crate::support::{Browser, SESSION, Server};

pub(crate) const LIFEBOAT: &str = "__Host-stayput-lifeboat";

/// Several servers over one store, each with a journal.
pub(crate) struct Fleet {
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) policy: Policy,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn policy() -> Policy {
    let lifeboat = vec![
        LifeboatKey::written("n", Merge::Add),
        LifeboatKey::written("color", Merge::IfUnchanged),
        LifeboatKey::read("name"),
    ];
    Policy { outage: Outage::Lifeboat, lifeboat, ..Policy::web() }
}

impl Fleet {
    pub(crate) fn new() -> Self {
        Self::with(policy())
    }

    pub(crate) fn with(policy: Policy) -> Self {
        let clock = Arc::new(ManualClock::default());
        let memory = MemoryStore::default().with_clock(clock.clone());
        let store = Arc::new(FaultyStore::new(Arc::new(memory)));
        let (keyring, dir) = (Arc::new(Keyring::generate(&SystemRandom)), tempfile::tempdir().unwrap());
        Self { store, clock, keyring, policy, dir }
    }

    /// The fleet over another store, which has nothing.
    pub(crate) fn wiped(self) -> Self {
        let memory = MemoryStore::default().with_clock(self.clock.clone());
        Self { store: Arc::new(FaultyStore::new(Arc::new(memory))), ..self }
    }

    pub(crate) async fn server(&self, name: &str) -> Server {
        self.server_with(name, |builder| builder.near_cache(NearCache::default())).await
    }

    pub(crate) async fn server_with(&self, name: &str, set: impl FnOnce(Builder) -> Builder) -> Server {
        let remote = Arc::new(TellingStore::new(self.store.clone()));
        let journal = journal(&self.dir.path().join(name)).await;
        Server::near(remote, self.store.clone(), self.clock.clone(), self.keyring.clone(), |builder| {
            set(builder.policy(self.policy.clone()).journal(journal))
        })
    }

    /// Takes the store out, and has the servers notice.
    pub(crate) async fn break_down(&self, servers: &[&Server]) {
        self.store.break_down(Fault::Before);
        for server in servers {
            while !server.sessions.store_is_out() {
                assert_eq!(server.browser().post("/count").await.status, 503);
            }
        }
    }

    pub(crate) async fn mend(&self, servers: &[&Server]) {
        self.store.mend();
        for server in servers {
            back(server).await;
        }
    }
}

/// The journal of a server, when the one before has let it go.
pub(crate) async fn journal(path: &Path) -> Journal {
    loop {
        match Journal::open(path) {
            Ok(journal) => return journal,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A browser that is logged in as alice, who is called so, likes red and has counted to one.
pub(crate) async fn logged_in(server: &Server) -> Browser {
    let browser = server.browser();
    browser.post("/login/alice").await;
    for path in ["/set/name/Alice", "/set/color/red", "/set/secret/s3cret"] {
        assert_eq!(browser.post(path).await.status, 200);
    }
    assert_eq!(browser.post("/count").await.text, "1");
    // Nothing of the session is due any more.
    browser.get("/who").await;
    browser
}

/// Asks until the answer is `text`, for two seconds; the copies of `server` age meanwhile.
async fn becomes(server: &Server, browser: &Browser, path: &str, text: &str) -> bool {
    for _ in 0..200 {
        if browser.at(server).get(path).await.text == text {
            return true;
        }
        server.clock.advance(Duration::from_millis(50));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Has `sessions` notice that the store is out.
async fn notice(sessions: &Sessions) {
    while !sessions.store_is_out() {
        let _ = sessions.list(&Subject::new("nobody")).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A server and a [browser that is logged in](logged_in) there.
async fn one_server() -> (Fleet, Server, Browser) {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = logged_in(&a).await;
    (fleet, a, browser)
}

/// The same, and the store has gone out since.
async fn adrift() -> (Fleet, Server, Browser) {
    let (fleet, a, browser) = one_server().await;
    fleet.break_down(&[&a]).await;
    (fleet, a, browser)
}

/// A server and a browser that logged in as alice while the store was out.
async fn born_adrift() -> (Fleet, Server, Browser) {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = a.browser();
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.post("/login/alice").await.status, 200);
    (fleet, a, browser)
}

fn stored_key(browser: &Browser, server: &Server) -> StorageKey {
    let cookie = browser.cookie(SESSION).unwrap();
    let decoded = CookieValue::decode(SESSION, cookie.as_bytes(), &server.keyring.current()).unwrap();
    decoded.value.id.storage_key()
}

#[tokio::test]
async fn what_the_builder_is_not_given_is_named() {
    let lifeboat = vec![LifeboatKey::written("cart", Merge::Own), LifeboatKey::read("cart")];
    let policy = Policy { lifeboat, on_wiped: OnWiped::Restore, ..policy() };
    let built = stayput::Sessions::builder(MemoryStore::default()).policy(policy.clone()).build();
    assert!(built.unwrap_err().mistakes()[0].starts_with("lifeboat must name each key once"));
    let policy = Policy { lifeboat: policy.lifeboat[..1].to_vec(), ..policy };
    let built = stayput::Sessions::builder(MemoryStore::default()).policy(policy).build();
    let mistakes = built.unwrap_err().mistakes().to_vec();
    assert!(
        mistakes[0].contains("Builder::merge") && mistakes[1].contains("Builder::readmit"),
        "{mistakes:?}"
    );
}

#[tokio::test]
async fn a_journal_without_lifeboats_is_a_mistake() {
    let fleet = Fleet::with(Policy { outage: Outage::ReadOnly, lifeboat: Vec::new(), ..policy() });
    let journal = journal(&fleet.dir.path().join("a")).await;
    let built = Sessions::builder_shared(fleet.store.clone() as Arc<dyn SessionStore>)
        .policy(fleet.policy.clone())
        .journal(journal)
        .build();
    assert!(built.unwrap_err().mistakes()[0].contains("journal"));
}
