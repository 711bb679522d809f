//! A keyring that changes under a running server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use stayput::{Keyring, KeyringSourceError, Session, SharedKeyring, SystemRandom, Timestamp};
use stayput_core::Key;
use tempfile::TempDir;

use crate::support::{SESSION, Server, keyring};

/// A keyring's file, as an operator changes it.
struct File {
    path: PathBuf,
    _dir: TempDir,
}

impl File {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = Self { path: dir.path().join("keyring"), _dir: dir };
        file.write(&keyring().danger_to_text());
        file
    }

    fn write(&self, text: &str) {
        fs::write(&self.path, text).unwrap();
    }

    fn read(&self) -> Keyring {
        Keyring::parse(&fs::read_to_string(&self.path).unwrap()).unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Keyring)) {
        let mut keyring = self.read();
        change(&mut keyring);
        self.write(&keyring.danger_to_text());
    }

    /// A new key becomes the primary one.
    fn promote_another(&self) {
        self.change(|keyring| {
            let key = Key::generate(&SystemRandom);
            let id = key.id();
            keyring.add(key, Timestamp::default()).unwrap();
            keyring.promote(id, Timestamp::default()).unwrap();
        });
    }

    fn retire_the_former(&self) {
        self.change(|keyring| keyring.retire(keyring.keys()[1].id()).unwrap());
    }
}

#[tokio::test]
async fn a_changed_file_is_taken_over_by_all_that_share_it_and_an_unchanged_one_changes_nothing() {
    let file = File::new();
    let shared = SharedKeyring::from_file(&file.path).unwrap();
    let (server, other) = (shared.clone(), shared.current());
    assert!(!shared.reload().unwrap());
    assert!(Arc::ptr_eq(&other, &shared.current()));
    file.promote_another();
    assert!(shared.reload().unwrap());
    assert_eq!(server.current().fingerprint(), file.read().fingerprint());
    assert!(!SharedKeyring::from(keyring()).reload().unwrap(), "it has no file");
}

#[tokio::test]
async fn a_file_that_can_not_be_used_leaves_the_keyring_in_force() {
    let file = File::new();
    let shared = SharedKeyring::from_file(&file.path).unwrap();
    let before = shared.current();
    let key = file.read().danger_to_text().lines().last().unwrap().to_owned();
    for (text, words) in [
        ("", "no key in it"),
        (&key[..30], "line 1"),
        (&format!("{key} secret=1"), "line 1"),
        (&keyring().danger_to_text(), "shares no key"),
    ] {
        file.write(text);
        let error = shared.reload().unwrap_err();
        let told = format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
        assert!(told.contains(words) && told.contains(file.path.to_str().unwrap()), "{told}");
        assert!(!told.contains("secret") && !told.contains(&key[15..30]), "{told}");
        assert!(Arc::ptr_eq(&before, &shared.current()), "{told}");
    }
    fs::remove_file(&file.path).unwrap();
    assert!(matches!(shared.reload(), Err(KeyringSourceError::Unreadable { .. })));
    assert!(Arc::ptr_eq(&before, &shared.current()));
    assert!(SharedKeyring::from_file(&file.path).is_err());
}

#[tokio::test]
async fn a_complaint_is_logged_once_until_it_changes() {
    let file = File::new();
    let shared = SharedKeyring::from_file(&file.path).unwrap();
    let errors = Errors::default();
    tracing::subscriber::with_default(errors.clone(), || {
        let right = fs::read_to_string(&file.path).unwrap();
        for (text, logged) in [("", 1), ("", 1), ("wrong", 2), ("wrong", 2), (&right, 2), ("wrong", 3)] {
            file.write(text);
            let _ = shared.reload();
            assert_eq!(errors.0.load(Ordering::Relaxed), logged, "{text}");
        }
    });
}

#[test]
fn a_keyring_from_the_environment_is_named_by_its_variable() {
    let error = SharedKeyring::from_env("STAYPUT_TEST_NO_SUCH_VARIABLE").unwrap_err();
    assert!(error.to_string().contains("$STAYPUT_TEST_NO_SUCH_VARIABLE"), "{error}");
    // Cargo sets this one, and it holds no keyring.
    let error = SharedKeyring::from_env("CARGO_MANIFEST_DIR").unwrap_err();
    assert!(matches!(error, KeyringSourceError::Invalid { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_running_server_follows_its_file_and_stops_following_when_it_is_gone() {
    let file = File::new();
    let shared = SharedKeyring::from_file(&file.path).unwrap();
    let server = Server::new().beside(shared.clone());
    file.promote_another();
    until_taken_over(&shared, &file.path).await;

    drop(server);
    let before = shared.current();
    file.promote_another();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(Arc::ptr_eq(&before, &shared.current()));
}

#[tokio::test]
async fn a_request_under_way_while_keys_are_exchanged_is_answered_as_ever() {
    let file = File::new();
    let shared = SharedKeyring::from_file(&file.path).unwrap();
    let server = Server::new().beside(shared.clone());
    let browser = server.browser();
    browser.post("/login/alice").await;
    let path = Arc::new(file);
    let during = server.handling(move |session: Session| {
        let (file, shared) = (path.clone(), shared.clone());
        async move {
            assert!(session.subject().await?.is_some());
            file.promote_another();
            shared.reload().unwrap();
            session.update("n", |n: &mut u32| *n += 1).await?;
            file.retire_the_former();
            shared.reload().unwrap();
            session.update("n", |n: &mut u32| *n += 1).await.map(drop)
        }
    });
    assert_eq!(browser.at(&during).post("/own").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_retired_keys_cookies_are_refused_and_those_of_the_others_are_not() {
    let file = File::new();
    let shared = SharedKeyring::from_file(&file.path).unwrap();
    let server = Server::new().beside(shared.clone());
    let browser = server.browser();
    browser.post("/login/alice").await;
    let old = browser.cookie(SESSION).unwrap();
    let kept = || browser.sending(&[(SESSION, &old)]);

    file.promote_another();
    shared.reload().unwrap();
    server.clock.advance(Duration::from_mins(5));
    assert_eq!(browser.get("/who").await.cookies.len(), 1, "renewed under the new key");
    assert_eq!(kept().get("/who").await.text, "alice", "within the grace");
    file.retire_the_former();
    shared.reload().unwrap();
    assert_eq!(kept().get("/who").await.text, "nobody");
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_starts_after_a_key_was_retired_finds_the_store_its_own() {
    let file = File::new();
    let shared = SharedKeyring::from_file(&file.path).unwrap();
    let server = Server::new().beside(shared.clone());
    server.sessions.check_keyring().await.unwrap();

    // One step after another, as the watch sees them.
    file.promote_another();
    until_taken_over(&shared, &file.path).await;
    file.retire_the_former();
    until_taken_over(&shared, &file.path).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    server.beside(file.read()).sessions.check_keyring().await.unwrap();

    // Both between two of its looks.
    file.promote_another();
    shared.reload().unwrap();
    file.retire_the_former();
    shared.reload().unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    server.beside(file.read()).sessions.check_keyring().await.unwrap();
}

async fn until_taken_over(shared: &SharedKeyring, file: &Path) {
    let wanted = Keyring::parse(&fs::read_to_string(file).unwrap()).unwrap().fingerprint();
    let wait = async {
        while shared.current().fingerprint() != wanted {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(6), wait).await.expect("the watch looks every five seconds");
}

/// Counts what is logged as an error.
#[derive(Clone, Default)]
struct Errors(Arc<AtomicUsize>);

impl tracing::Subscriber for Errors {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
