//! Servers of two versions over one store, that read different record formats: while a fleet is updated, told to write the newer
//! format, and taken back.

use std::sync::Arc;

use axum::http::StatusCode;
use fastrand::Rng;
use stayput::{Keyring, Policy, RecordFormat, SessionStore, SharedKeyring};
use stayput_core::{CookieValue, Record, StorageKey, StoreErrorKind};
use stayput_stores::MemoryStore;
use stayput_testkit::{FaultyStore, FormerStore, ManualClock, Seed};

use crate::support::{Browser, SESSION, Server, keyring};

/// A fleet over one store, and its users.
struct Fleet {
    rng: Rng,
    memory: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    keyring: SharedKeyring,
    /// Of before the newest format; one that reads it; and one that writes it, too.
    former: Server,
    careful: Server,
    told: Server,
    users: Vec<User>,
}

struct User {
    browser: Browser,
    name: String,
    /// What they count up, and read.
    count: u32,
    note: String,
}

impl Fleet {
    async fn new(seed: Seed) -> Self {
        let clock = Arc::new(ManualClock::default());
        let memory = Arc::new(MemoryStore::default().with_clock(clock.clone()));
        let keyring = SharedKeyring::from(keyring());
        let server = |store: Arc<dyn SessionStore>, record_format| {
            let policy = Policy { record_format, ..Policy::web() };
            Server::over(Arc::new(FaultyStore::new(store)), clock.clone(), keyring.clone(), policy)
        };
        let former = server(Arc::new(FormerStore::new(memory.clone())), RecordFormat::V1);
        let careful = server(memory.clone(), Policy::web().record_format);
        let told = server(memory.clone(), RecordFormat::NEWEST);
        let mut users = Vec::new();
        for number in 0..20 {
            let (browser, name) = (careful.browser(), format!("user{number}"));
            assert_eq!(browser.post(&format!("/login/{name}")).await.status, StatusCode::OK);
            users.push(User { browser, name, count: 0, note: String::new() });
        }
        Self { rng: seed.rng(), memory, clock, keyring, former, careful, told, users }
    }

    /// Users do this and that, each time on any of the servers: all of them know who they are, and what they did.
    async fn go_on(&mut self, servers: &[&Server]) {
        for _ in 0..300 {
            let user = &mut self.users[self.rng.usize(..20)];
            let browser = user.browser.at(servers[self.rng.usize(..servers.len())]);
            self.clock.advance(std::time::Duration::from_millis(self.rng.u64(..1_500)));
            match self.rng.u8(..4) {
                0 => {
                    user.count += 1;
                    assert_eq!(browser.post("/count").await.text, user.count.to_string());
                }
                1 => {
                    user.note = "so many words ".repeat(self.rng.usize(1..60)).trim().replace(' ', "-");
                    let set = browser.post(&format!("/set/note/{}", user.note)).await;
                    assert_eq!(set.status, StatusCode::OK);
                }
                2 => assert_eq!(browser.get("/read/note").await.text, user.note),
                _ => assert_eq!(browser.get("/who").await.text, user.name),
            }
        }
    }

    /// How the sessions are written by now.
    async fn records(&self) -> Vec<Arc<Record>> {
        let mut records = Vec::new();
        for user in &self.users {
            records.push(
                self.memory
                    .load(user.key(&self.keyring.current()))
                    .await
                    .unwrap()
                    .expect("nobody was logged out"),
            );
        }
        records
    }
}

impl User {
    fn key(&self, keyring: &Keyring) -> StorageKey {
        let cookie = self.browser.cookie(SESSION).unwrap();
        CookieValue::decode(SESSION, cookie.as_bytes(), keyring).unwrap().value.id.storage_key()
    }
}

#[tokio::test]
async fn while_a_fleet_is_updated_and_taken_back_nobody_loses_anything() {
    let mut fleet = Fleet::new(Seed::announce()).await;
    let (former, careful, told) = (fleet.former.clone(), fleet.careful.clone(), fleet.told.clone());
    // Updated one after another: the newer ones write what the others read.
    fleet.go_on(&[&former, &careful]).await;
    fleet.go_on(&[&former]).await;
    fleet.go_on(&[&careful]).await;
    assert!(fleet.records().await.iter().all(|record| record.format() == RecordFormat::V1));
    // Told to write the newer format, one after another, too; what tells whose keyring it is stays readable to all.
    told.sessions.check_keyring().await.unwrap();
    former.sessions.check_keyring().await.unwrap();
    fleet.go_on(&[&careful, &told]).await;
    fleet.go_on(&[&told]).await;
    assert!(fleet.records().await.iter().any(|record| record.format() == RecordFormat::V2));
    // Told to write the other one again; in the end everybody has written.
    fleet.go_on(&[&careful]).await;
    for user in &mut fleet.users {
        user.count += 1;
        assert_eq!(user.browser.at(&careful).post("/count").await.text, user.count.to_string());
    }
    assert!(fleet.records().await.iter().all(|record| record.format() == RecordFormat::V1));
    fleet.go_on(&[&former]).await;
}

#[tokio::test]
async fn a_server_that_was_taken_back_too_early_refuses_sessions_and_ends_none() {
    let mut fleet = Fleet::new(Seed::announce()).await;
    let (former, told) = (fleet.former.clone(), fleet.told.clone());
    for user in &mut fleet.users {
        user.count += 1;
        assert_eq!(user.browser.at(&told).post("/count").await.text, "1");
    }
    let records = fleet.records().await;
    for user in &fleet.users {
        let browser = user.browser.at(&former);
        for reply in [browser.get("/who").await, browser.post("/count").await, browser.post("/set/a/b").await]
        {
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
            assert!(reply.cookies.is_empty(), "{reply:?}");
        }
    }
    assert_eq!(fleet.records().await, records);
    fleet.go_on(&[&told]).await;
}

#[tokio::test]
async fn what_a_former_server_says_names_the_format() {
    let fleet = Fleet::new(Seed::announce()).await;
    let user = &fleet.users[0];
    user.browser.at(&fleet.told).post("/count").await;
    let former = FormerStore::new(fleet.memory.clone());
    let error = former.load(user.key(&fleet.keyring.current())).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unreadable);
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("format 2"));
}
