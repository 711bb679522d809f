//! A session's id changes with who it belongs to, and neither parallel requests nor thieves profit from that.

use std::time::Duration;

use axum::http::StatusCode;
use stayput::{Policy, Session, Subject};
use stayput_core::Operation;
use stayput_testkit::Fault;

use crate::support::{ANONYMOUS, SESSION, Server};

#[tokio::test]
async fn a_login_changes_the_id_carries_what_is_declared_and_drops_the_anonymous_cookie() {
    let browser = Server::new().browser();
    browser.post("/set/cart/tea").await;
    browser.post("/set/other/secret").await;
    let anonymous = browser.cookie(ANONYMOUS).unwrap();
    let reply = browser.post("/login/alice").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(browser.cookie(ANONYMOUS), None);
    assert_ne!(browser.cookie(SESSION).unwrap()[5..38], anonymous[5..38]);
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.get("/read/cart").await.text, "tea");
    assert_eq!(browser.get("/read/other").await.text, "");
}

#[tokio::test]
async fn one_users_values_are_not_carried_into_anothers_session() {
    let browser = Server::new().browser();
    browser.post("/login/alice").await;
    browser.post("/set/cart/tea").await;
    browser.post("/login/alice").await;
    assert_eq!(browser.get("/read/cart").await.text, "tea");
    browser.post("/login/bob").await;
    assert_eq!(browser.get("/who").await.text, "bob");
    assert_eq!(browser.get("/read/cart").await.text, "");
}

#[tokio::test]
async fn who_planted_the_id_before_a_login_gains_nothing_even_within_the_grace() {
    let server = Server::new();
    let attacker = server.browser();
    attacker.post("/set/cart/planted").await;
    let planted = attacker.cookie(ANONYMOUS).unwrap();
    let victim = server.browser().sending(&[(ANONYMOUS, &planted)]);
    victim.post("/login/alice").await;

    assert_eq!(attacker.get("/who").await.text, "nobody");
    assert_eq!(attacker.post("/set/cart/again").await.status, StatusCode::CONFLICT);
    assert_eq!(attacker.get("/read/cart").await.text, "planted");
    // Nor does the planted id work under the other cookie's name.
    assert_eq!(attacker.sending(&[(SESSION, &planted)]).get("/read/cart").await.text, "");
    server.clock.advance(Duration::from_secs(30));
    assert_eq!(attacker.get("/read/cart").await.text, "");
    assert_eq!(victim.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_request_under_way_during_a_login_does_not_keep_the_old_id_alive_past_the_grace() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/set/cart/tea").await;
    let old = browser.sending(&[(ANONYMOUS, &browser.cookie(ANONYMOUS).unwrap())]);
    // Late enough that the slow request owes the session a touch.
    server.clock.advance(Duration::from_mins(5));
    let other = browser.clone();
    let slow = server.handling(move |session: Session| {
        let other = other.clone();
        async move {
            session.get::<String>("cart").await?;
            assert_eq!(other.post("/login/alice").await.status, StatusCode::OK);
            Ok(())
        }
    });
    assert_eq!(old.at(&slow).post("/own").await.status, StatusCode::OK);
    assert_eq!(old.get("/read/cart").await.text, "tea");
    server.clock.advance(Duration::from_secs(30));
    assert_eq!(old.get("/read/cart").await.text, "");
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_login_needs_next_to_no_grace() {
    let store_timeout = Duration::from_millis(1);
    let policy = Policy { grace: store_timeout * 2, store_timeout, ..Policy::web() };
    let browser = Server::with_policy(policy).browser();
    browser.post("/set/cart/tea").await;
    assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_commit_that_fails_after_a_login_does_not_keep_the_new_cookie_from_the_browser() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/login/alice").await;
    let store = server.store.clone();
    let again = server.handling(move |session: Session| {
        let store = store.clone();
        async move {
            session.login(Subject::new("alice")).await?;
            session.insert("cart", "tea")?;
            store.plan(Operation::Replace, Fault::Before);
            Ok(())
        }
    });
    assert_eq!(browser.at(&again).post("/own").await.status, StatusCode::SERVICE_UNAVAILABLE);
    // The old id is over; only the new cookie keeps the user logged in.
    server.clock.advance(Duration::from_secs(30));
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn what_a_parallel_request_wrote_just_before_a_login_comes_along() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/set/cart/tea").await;
    let other = browser.clone();
    let login = server.handling(move |session: Session| {
        let other = other.clone();
        async move {
            session.get::<String>("cart").await?;
            assert_eq!(other.post("/set/cart/milk").await.status, StatusCode::OK);
            session.login(Subject::new("alice")).await
        }
    });
    assert_eq!(browser.at(&login).post("/own").await.status, StatusCode::OK);
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.get("/read/cart").await.text, "milk");
}

#[tokio::test]
async fn a_late_anonymous_answer_does_not_undo_a_login() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/login/alice").await;
    // Another tab's first write was answered late: its cookie is beside the login's.
    let stranger = server.browser();
    stranger.post("/set/cart/late").await;
    let late = stranger.cookie(ANONYMOUS).unwrap();
    browser.jar.lock().unwrap().insert(ANONYMOUS.to_owned(), late);
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.get("/read/cart").await.text, "");
}

#[tokio::test]
async fn after_logout_the_cookie_is_worth_nothing_and_the_browser_is_cleared() {
    let browser = Server::new().browser();
    browser.post("/login/alice").await;
    let stolen = browser.cookie(SESSION).unwrap();
    let reply = browser.post("/logout").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.headers["clear-site-data"], r#""cache", "storage""#);
    assert!(browser.jar.lock().unwrap().is_empty());
    assert_eq!(browser.sending(&[(SESSION, &stolen)]).get("/who").await.text, "nobody");
}

#[tokio::test]
async fn a_slower_request_does_not_undo_a_logout() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/login/alice").await;
    let stolen = browser.cookie(SESSION).unwrap();
    let other = browser.clone();
    let slow = server.handling(move |session: Session| {
        let other = other.clone();
        async move {
            session.get::<String>("cart").await?;
            session.insert("cart", "late")?;
            assert_eq!(other.post("/logout").await.status, StatusCode::OK);
            Ok(())
        }
    });
    let late = browser.sending(&[(SESSION, &stolen)]);
    assert_eq!(late.at(&slow).post("/own").await.status, StatusCode::CONFLICT);
    assert_eq!(late.get("/who").await.text, "nobody");
}

#[tokio::test]
async fn an_elevation_undoes_neither_a_parallel_logout_nor_a_parallel_login() {
    for (path, after) in [("/logout", "nobody"), ("/login/alice", "alice")] {
        let server = Server::new();
        let browser = server.browser();
        browser.post("/login/alice").await;
        let slow = browser.sending(&[(SESSION, &browser.cookie(SESSION).unwrap())]);
        let other = browser.clone();
        let elevate = server.handling(move |session: Session| {
            let other = other.clone();
            async move {
                session.subject().await?;
                assert_eq!(other.post(path).await.status, StatusCode::OK);
                session.elevate().await
            }
        });
        let reply = slow.at(&elevate).post("/own").await;
        assert_eq!((reply.status, reply.cookies.len()), (StatusCode::CONFLICT, 0), "{path}");
        assert_eq!(browser.get("/who").await.text, after);
    }
}

#[tokio::test]
async fn an_elevation_changes_the_id_keeps_all_values_and_renews_the_proof() {
    let server = Server::new();
    let browser = server.browser();
    let recent = server.handling(|session| async move {
        session.recently_authenticated(Duration::from_mins(5)).await.map(|_| ())
    });
    let elevate = server.handling(|session| async move { session.elevate().await });
    assert_eq!(browser.at(&recent).post("/own").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.at(&elevate).post("/own").await.status, StatusCode::UNAUTHORIZED);
    browser.post("/login/alice").await;
    browser.post("/set/any/value").await;
    server.clock.advance(Duration::from_mins(5));
    assert_eq!(browser.at(&recent).post("/own").await.status, StatusCode::OK);
    server.clock.advance(Duration::from_millis(1));
    assert_eq!(browser.at(&recent).post("/own").await.status, StatusCode::FORBIDDEN);

    let stolen = browser.sending(&[(SESSION, &browser.cookie(SESSION).unwrap())]);
    assert_eq!(browser.at(&elevate).post("/own").await.status, StatusCode::OK);
    assert_eq!(browser.at(&recent).post("/own").await.status, StatusCode::OK);
    assert_eq!((&*browser.get("/who").await.text, &*browser.get("/read/any").await.text), ("alice", "value"));

    // The old id can be read for the grace, without the new proof, and gets nobody at a live session.
    assert_eq!(stolen.at(&recent).post("/own").await.status, StatusCode::FORBIDDEN);
    assert_eq!(stolen.at(&elevate).post("/own").await.status, StatusCode::CONFLICT);
    server.clock.advance(Duration::from_secs(30));
    assert_eq!(stolen.get("/who").await.text, "nobody");
}
