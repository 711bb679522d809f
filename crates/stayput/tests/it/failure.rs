//! Stores that fail, hang, or leave a write in doubt: nobody is logged out, and nothing happens twice.

use std::time::Duration;

use axum::http::StatusCode;
use stayput::Session;
use stayput_core::{Operation, SessionStore};
use stayput_testkit::Fault;

use crate::support::{SESSION, Server};

#[tokio::test]
async fn a_failing_store_is_unavailable_and_never_logged_out() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/login/alice").await;
    for operation in [Operation::Load, Operation::Replace, Operation::Remove] {
        if operation == Operation::Remove {
            // A logout closes the session first; where that fails, removing it does as well.
            server.store.plan(Operation::Replace, Fault::Before);
        }
        server.store.plan(operation, Fault::Before);
        let path = if operation == Operation::Remove { "/logout" } else { "/set/cart/tea" };
        // A load is needed first, since inserting alone needs none until the commit.
        let reply = browser.post(path).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{operation}");
        assert_eq!(reply.cookies.len(), 0, "{operation}");
        assert!(reply.headers.contains_key("retry-after"));
    }
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_store_ends_at_its_time_limit() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/login/alice").await;
    server.store.plan(Operation::Load, Fault::Hang);
    assert_eq!(browser.get("/who").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_write_whose_outcome_is_unknown_happens_once() {
    let server = Server::new();
    let browser = server.browser();
    server.store.plan(Operation::Create, Fault::After);
    assert_eq!(browser.post("/count").await.text, "1");
    server.store.plan(Operation::Replace, Fault::After);
    assert_eq!(browser.post("/count").await.text, "2");
    server.store.plan(Operation::Replace, Fault::After);
    assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test(start_paused = true)]
async fn a_write_in_doubt_that_others_have_buried_is_not_made_again() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/set/user/alice").await;
    server.store.plan(Operation::Replace, Fault::HangAfter);
    let others = async {
        // More writes than a record remembers.
        for _ in 0..5 {
            assert_eq!(browser.post("/count").await.status, StatusCode::OK);
        }
    };
    let (doubtful, ()) = tokio::join!(browser.post("/count"), others);
    assert_eq!(doubtful.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(browser.get("/number/n").await.text, "6");
}

#[tokio::test]
async fn an_undecodable_value_does_not_lock_the_user_out_of_the_others() {
    let browser = Server::new().browser();
    browser.post("/login/alice").await;
    browser.post("/set/n/text").await;
    browser.post("/set/cart/tea").await;
    assert_eq!(browser.get("/number/n").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(browser.get("/read/cart").await.text, "tea");
    assert_eq!(browser.post("/set/n/again").await.status, StatusCode::OK);
}

#[tokio::test]
async fn who_has_an_unreadable_record_can_log_in_again_and_log_out() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/login/alice").await;
    server.store.plan(Operation::Load, Fault::Unreadable);
    assert_eq!(browser.get("/who").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    server.store.plan(Operation::Load, Fault::Unreadable);
    assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
    assert_eq!(browser.get("/who").await.text, "alice");

    let cookie = browser.cookie(SESSION).unwrap();
    server.store.plan(Operation::Load, Fault::Unreadable);
    assert_eq!(browser.post("/logout").await.status, StatusCode::OK);
    assert_eq!(browser.sending(&[(SESSION, &cookie)]).get("/who").await.text, "nobody");
}

#[tokio::test]
async fn after_a_failed_commit_the_head_has_left_too() {
    let (send, mut received) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::new().handling(move |session: Session| {
        let send = send.clone();
        async move {
            session.insert("a", 1)?;
            send.send(session).map_err(|_| stayput::Error::Ended)
        }
    });
    server.store.plan(Operation::Create, Fault::Before);
    assert_eq!(server.browser().post("/own").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let session = received.recv().await.unwrap();
    assert!(matches!(session.insert("a", 1), Err(stayput::Error::Committed)));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_sweep_is_not_the_last_one() {
    let server = Server::new();
    server.browser().post("/set/cart/tea").await;
    server.clock.advance(Duration::from_mins(22));
    server.store.plan(Operation::Sweep, Fault::Hang);
    tokio::time::sleep(Duration::from_mins(4)).await;
    assert_eq!(server.store.sweep(100).await.unwrap(), 0, "nothing is left to sweep");
}
