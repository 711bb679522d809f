//! Requests whose client went away in the middle: what they began is finished, or never happened.

use axum::http::StatusCode;
use stayput::Subject;
use stayput_core::Operation;
use stayput_testkit::Fault;

use crate::support::{ANONYMOUS, Server};

#[tokio::test]
async fn a_login_whose_request_is_dropped_while_the_store_works_still_happens_wholly() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/set/cart/tea").await;
    let before = browser.sending(&[(ANONYMOUS, &browser.cookie(ANONYMOUS).unwrap())]);
    server.take_events();
    // The new session is there and admitted; the old one is about to be closed.
    server.store.plan(Operation::Replace, Fault::Pause);
    let login = tokio::spawn(async move { browser.post("/login/alice").await.status });
    server.store.paused().await;
    login.abort();
    assert!(login.await.unwrap_err().is_cancelled());
    server.store.resume();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.take_events(), ["logged_in"]);
    assert_eq!(server.sessions.list(&Subject::new("alice")).await.unwrap().len(), 1);
    assert_eq!(before.post("/set/cart/milk").await.status, StatusCode::CONFLICT);
}
