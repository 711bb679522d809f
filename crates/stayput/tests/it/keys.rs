//! What is forged, foreign, or under another key.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use stayput::{Keyring, Session, Timestamp};
use stayput_core::{CookieValue, Created, Generation, SessionStore, StorageKey};
use stayput_stores::MemoryStore;
use stayput_testkit::FaultyStore;

use crate::support::{ANONYMOUS, SESSION, Server, keyring};

#[tokio::test]
async fn who_can_write_to_the_store_cannot_make_a_session_outlive_its_absolute_deadline() {
    let text = keyring().danger_to_text();
    let server = Server::new().beside(Keyring::parse(&text).unwrap());
    let browser = server.browser();
    browser.post("/login/alice").await;
    let cookie = browser.cookie(SESSION).unwrap();
    let cookie = CookieValue::decode(SESSION, cookie.as_bytes(), &Keyring::parse(&text).unwrap()).unwrap();
    let key = cookie.value.id.storage_key();
    let mut record = Arc::unwrap_or_clone(server.store.load(key).await.unwrap().unwrap());
    record.header.expires = Timestamp::MAX;
    // A store of theirs, which checks nothing.
    let memory = Arc::new(MemoryStore::default().with_clock(server.clock.clone()));
    assert_eq!(memory.create(key, record).await.unwrap(), Created::Created);
    let store = Arc::new(FaultyStore::new(memory));
    let policy = server.sessions.policy().clone();
    let theirs = Server::over(store, server.clock.clone(), Keyring::parse(&text).unwrap(), policy);
    let browser = browser.at(&theirs);

    server.clock.advance(Duration::from_mins(12 * 60 - 1));
    assert_eq!(browser.get("/who").await.text, "alice");
    server.clock.advance(Duration::from_mins(1));
    assert_eq!(browser.get("/who").await.text, "nobody");
}

#[tokio::test]
async fn hostile_cookies_are_anonymous_and_never_adopted() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/login/alice").await;
    let good = browser.cookie(SESSION).unwrap();
    let mut flipped = good.clone().into_bytes();
    flipped[20] ^= 1;
    let flipped = String::from_utf8(flipped).unwrap();
    let long = "A".repeat(65_536);
    let made_up = "A".repeat(64);
    let doubled = format!("{good}; {SESSION}={good}");
    for value in ["", "x", &made_up, &good[..63], &flipped, &long, &doubled] {
        let stranger = browser.sending(&[(SESSION, value)]);
        let reply = stranger.get("/who").await;
        assert_eq!((reply.status, &*reply.text), (StatusCode::OK, "nobody"), "{value:.80}");
        assert_eq!(reply.cookies.len(), 0);
        // A write gets an id of the server's own, in the anonymous cookie.
        let reply = stranger.post("/count").await;
        assert_eq!(reply.cookies.len(), 1);
        assert!(reply.cookies[0].starts_with(ANONYMOUS), "{}", reply.cookies[0]);
    }
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_cookie_of_another_kind_than_its_session_is_refused_though_it_is_signed_and_one_of_a_forgotten_renewal_is_not()
 {
    let text = keyring().danger_to_text();
    let (server, keyring) =
        (Server::new().beside(Keyring::parse(&text).unwrap()), Keyring::parse(&text).unwrap());
    let browser = server.browser();
    browser.post("/login/alice").await;
    let cookie = browser.cookie(SESSION).unwrap();
    let good = CookieValue::decode(SESSION, cookie.as_bytes(), &keyring).unwrap().value;
    let newer = CookieValue { generation: Generation(1), ..good.clone() };
    for (name, value, who) in
        [(SESSION, &good, "alice"), (SESSION, &newer, "alice"), (ANONYMOUS, &good, "nobody")]
    {
        let reply = browser.sending(&[(name, &value.encode(name, &keyring))]).get("/who").await;
        assert_eq!(reply.text, who, "{name} {:?}", value.generation);
    }
    let visitor = server.browser();
    visitor.post("/set/cart/tea").await;
    let cookie = visitor.cookie(ANONYMOUS).unwrap();
    let value = CookieValue::decode(ANONYMOUS, cookie.as_bytes(), &keyring).unwrap().value;
    for (name, cart) in [(ANONYMOUS, "tea"), (SESSION, "")] {
        let reply = visitor.sending(&[(name, &value.encode(name, &keyring))]).get("/read/cart").await;
        assert_eq!(reply.text, cart, "{name}");
    }
}

#[tokio::test]
async fn a_server_with_another_keyring_is_found_before_it_turns_users_away() {
    let server = Server::new();
    server.sessions.check_keyring().await.unwrap();
    server.sessions.check_keyring().await.unwrap();
    let stranger = server.beside(keyring());
    let check = stranger.sessions.check_keyring().await;
    assert!(matches!(check, Err(stayput::Error::Keyring(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyring_check_that_can_not_mark_the_store_ends_with_an_error() {
    let server = Server::new();
    server.store.remove(StorageKey::named("keyring canary")).await.unwrap();
    let sessions = server.sessions.clone();
    let check = tokio::spawn(async move { sessions.check_keyring().await });
    let stop = check.abort_handle();
    let checked = tokio::time::timeout(Duration::from_secs(5), check).await;
    stop.abort();
    assert!(matches!(checked, Ok(Ok(Err(stayput::Error::Conflict)))), "{checked:?}");
}

#[tokio::test]
async fn the_cookie_of_an_id_that_a_login_left_behind_is_not_issued_again() {
    let old = keyring().danger_to_text();
    let server = Server::new().beside(Keyring::parse(&old).unwrap());
    let browser = server.browser();
    browser.post("/login/alice").await;
    let left = browser.sending(&[(SESSION, &browser.cookie(SESSION).unwrap())]);
    server.clock.advance(Duration::from_mins(6));
    browser.post("/login/alice").await;
    let both = Keyring::parse(&format!("{}{old}", keyring().danger_to_text())).unwrap();
    let server = server.beside(both);
    let reply = left.at(&server).get("/who").await;
    assert_eq!((&*reply.text, reply.cookies.len()), ("alice", 0));

    // Nor when the login comes between the loading and the answer, be there something to write or not.
    for (writes, status) in [(true, StatusCode::CONFLICT), (false, StatusCode::OK)] {
        let left = browser.sending(&[(SESSION, &browser.cookie(SESSION).unwrap())]);
        server.clock.advance(Duration::from_mins(6));
        let browser = browser.clone();
        let slow = server.handling(move |session: Session| {
            let other = browser.clone();
            async move {
                session.subject().await?;
                assert_eq!(other.post("/login/alice").await.status, StatusCode::OK);
                if writes { session.insert("cart", "late") } else { Ok(()) }
            }
        });
        let reply = left.at(&slow).post("/own").await;
        assert_eq!((reply.status, reply.cookies.len()), (status, 0));
    }
}

#[tokio::test]
async fn a_new_primary_key_logs_nobody_out_and_cookies_move_to_it() {
    let old = keyring().danger_to_text();
    let server = Server::new().beside(Keyring::parse(&old).unwrap());
    server.sessions.check_keyring().await.unwrap();
    let browser = server.browser();
    browser.post("/login/alice").await;

    let new = keyring().danger_to_text();
    let both = server.beside(Keyring::parse(&format!("{new}{old}")).unwrap());
    both.sessions.check_keyring().await.unwrap();
    let before = browser.cookie(SESSION);
    assert_eq!(browser.at(&both).get("/who").await.text, "alice");
    // As soon as a renewal may follow the last one: ten graces.
    server.clock.advance(Duration::from_mins(5));
    let reply = browser.at(&both).get("/who").await;
    assert_eq!((&*reply.text, reply.cookies.len()), ("alice", 1));
    assert_ne!(browser.cookie(SESSION), before);
    assert_eq!(browser.at(&both).get("/who").await.cookies.len(), 0);

    // The renewal sealed the record under the new key, too; from then on the old one is needed for nothing.
    let only_new = server.beside(Keyring::parse(&new).unwrap());
    only_new.sessions.check_keyring().await.unwrap();
    assert_eq!(browser.at(&only_new).get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_record_under_a_key_that_this_server_lacks_is_unavailable_not_logged_out() {
    let (old, new) = (keyring().danger_to_text(), keyring().danger_to_text());
    let both = |a: &str, b: &str| Keyring::parse(&format!("{a}{b}")).unwrap();
    let server = Server::new().beside(both(&new, &old));
    let browser = server.browser();
    browser.post("/login/alice").await;
    // The cookie is under the new key; a server that has yet to promote it seals the record under the old one.
    browser.at(&server.beside(both(&old, &new))).post("/set/cart/tea").await;
    let only_new = server.beside(Keyring::parse(&new).unwrap());
    let reply = browser.at(&only_new).get("/who").await;
    assert_eq!((reply.status, reply.cookies.len()), (StatusCode::SERVICE_UNAVAILABLE, 0));
}
