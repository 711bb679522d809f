//! A session's cookie changes on a schedule, and nobody is logged out by it: not by lost answers, not by late ones, not
//! by a hundred requests at once. What is old enough is dead.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{ANONYMOUS, Browser, Reply, SESSION, Server};
use axum::http::StatusCode;
use stayput::Policy;
use stayput_core::Operation;
use stayput_testkit::{Fault, Seed};
use tokio::sync::Notify;

const INTERVAL: Duration = Duration::from_mins(15);
const GRACE: Duration = Duration::from_secs(30);

async fn logged_in(server: &Server) -> Browser {
    let browser = server.browser();
    browser.post("/login/alice").await;
    browser.post("/set/cart/tea").await;
    browser
}

/// A browser that has kept the cookie of now, whatever becomes of the other.
fn with_cookie_of(browser: &Browser) -> Browser {
    browser.sending(&[(SESSION, &browser.cookie(SESSION).unwrap())])
}

#[tokio::test]
async fn a_renewal_gives_the_same_session_a_new_cookie() {
    let server = Server::new();
    let browser = logged_in(&server).await;
    let before = browser.cookie(SESSION).unwrap();
    server.clock.advance(Duration::from_mins(14));
    assert_eq!(browser.get("/who").await.cookies.len(), 0);
    server.clock.advance(Duration::from_mins(1));
    let reply = browser.get("/who").await;
    assert_eq!((&*reply.text, reply.cookies.len()), ("alice", 1));
    assert_eq!(reply.headers["cache-control"], "no-store");
    assert_ne!(browser.cookie(SESSION).unwrap(), before);
    assert_eq!(browser.get("/read/cart").await.text, "tea");
}

#[tokio::test]
async fn the_previous_cookie_is_answered_with_the_newest_until_the_grace_after_that_was_used() {
    let server = Server::new();
    let browser = logged_in(&server).await;
    let stale = with_cookie_of(&browser);
    server.clock.advance(INTERVAL);
    browser.get("/who").await;
    // Its cookie has not been presented: the answer may have been lost.
    server.clock.advance(Duration::from_mins(10));
    assert_eq!(with_cookie_of(&stale).get("/who").await.text, "alice");

    browser.get("/who").await;
    server.clock.advance(Duration::from_secs(29));
    let late = with_cookie_of(&stale);
    assert_eq!(late.get("/who").await.text, "alice");
    assert_eq!(late.cookie(SESSION), browser.cookie(SESSION), "it is given the newest");
    server.clock.advance(Duration::from_secs(1));
    let reply = stale.get("/who").await;
    assert_eq!((&*reply.text, reply.cookies.len()), ("nobody", 0));
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_cookie_two_renewals_old_is_dead() {
    let server = Server::new();
    let browser = logged_in(&server).await;
    let stolen = with_cookie_of(&browser);
    for _ in 0..2 {
        server.clock.advance(INTERVAL);
        browser.get("/who").await;
        browser.get("/who").await;
    }
    assert_eq!(stolen.get("/who").await.text, "nobody");
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_write_confirms_the_newest_cookie_as_well_as_a_read() {
    let server = Server::new();
    let browser = logged_in(&server).await;
    let stale = with_cookie_of(&browser);
    server.clock.advance(INTERVAL);
    assert_eq!(browser.post("/set/cart/milk").await.cookies.len(), 1, "a write renews, too");
    browser.post("/set/cart/cake").await;
    server.clock.advance(GRACE);
    assert_eq!(stale.get("/who").await.text, "nobody");
    assert_eq!(browser.get("/read/cart").await.text, "cake");
}

#[tokio::test]
async fn anonymous_sessions_are_renewed_too() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/set/cart/tea").await;
    let before = browser.cookie(ANONYMOUS);
    server.clock.advance(INTERVAL);
    assert_eq!(browser.get("/read/cart").await.text, "tea");
    assert_ne!(browser.cookie(ANONYMOUS), before);
    assert_eq!(browser.get("/read/cart").await.text, "tea");
}

#[tokio::test]
async fn a_renewal_that_fails_fails_no_request_and_is_made_up_for() {
    let server = Server::new();
    let browser = logged_in(&server).await;
    server.clock.advance(INTERVAL);
    server.store.plan(Operation::Replace, Fault::Before);
    let reply = browser.get("/who").await;
    assert_eq!((reply.status, reply.cookies.len()), (StatusCode::OK, 0));
    assert_eq!(browser.get("/who").await.cookies.len(), 1);
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn renewals_closer_than_ten_graces_are_refused() {
    let policy = Policy { renewal_interval: GRACE * 9, ..Policy::web() };
    assert!(policy.validate().unwrap_err().to_string().contains("renewal_interval"));
}

/// A hundred tabs that send what the browser sends now, one of them `changing`. Their answers, in the order of sending.
async fn a_hundred(browser: &Browser, changing: Option<&'static str>) -> Vec<Reply> {
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let tab = browser.tab();
            tokio::spawn(async move {
                match (n, changing) {
                    (50, Some(path)) => tab.post(path).await,
                    _ if n % 2 == 0 => tab.post("/count").await,
                    _ => tab.get("/who").await,
                }
            })
        })
        .collect();
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(task.await.unwrap());
    }
    replies
}

/// The answers come in, in any order.
fn receive(browser: &Browser, mut replies: Vec<Reply>, rng: &mut fastrand::Rng) {
    rng.shuffle(&mut replies);
    for cookie in replies.iter().flat_map(|reply| &reply.cookies) {
        browser.keep(cookie);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_requests_across_a_renewal_leave_a_working_cookie_whatever_order_the_answers_come_in() {
    let mut rng = Seed::announce().rng();
    for _ in 0..10 {
        let server = Server::new();
        let browser = logged_in(&server).await;
        server.clock.advance(INTERVAL);
        let mut replies = a_hundred(&browser, None).await;
        assert!(replies.iter().all(|reply| reply.status == StatusCode::OK));
        // Some of the answers are lost.
        replies.retain(|_| rng.u8(..4) > 0);
        receive(&browser, replies, &mut rng);
        for _ in 0..3 {
            assert_eq!(browser.get("/who").await.text, "alice");
            server.clock.advance(GRACE);
        }
        assert_eq!(browser.get("/number/n").await.text, "50");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_requests_across_a_login_leave_a_working_cookie_whatever_order_the_answers_come_in() {
    let mut rng = Seed::announce().rng();
    for (was_logged_in, login) in [(false, "/login/alice"), (true, "/login/alice"), (true, "/elevate")] {
        for _ in 0..10 {
            let server = Server::new();
            let browser = if was_logged_in { logged_in(&server).await } else { server.browser() };
            browser.post("/set/cart/tea").await;
            server.clock.advance(INTERVAL);
            let replies = a_hundred(&browser, Some(login)).await;
            // Who comes to write after the login is told to come again with its cookie.
            let statuses = [StatusCode::OK, StatusCode::CONFLICT];
            assert!(replies.iter().all(|reply| statuses.contains(&reply.status)));
            receive(&browser, replies, &mut rng);
            for _ in 0..3 {
                assert_eq!(browser.get("/who").await.text, "alice", "{login}");
                server.clock.advance(GRACE);
            }
            assert_eq!(browser.get("/read/cart").await.text, "tea");
        }
    }
}

/// Answers are on their way for up to a grace. A session is not renewed while one may be that has its cookie of now.
#[tokio::test]
async fn a_session_is_not_renewed_while_an_answer_to_the_cookie_before_may_be_under_way() {
    let server = Server::new();
    let browser = logged_in(&server).await;
    let stale = with_cookie_of(&browser);
    server.clock.advance(INTERVAL);
    browser.get("/who").await;
    // The new cookie is first presented when the next renewal is due already.
    server.clock.advance(INTERVAL);
    assert_eq!(browser.get("/who").await.cookies.len(), 0);
    server.clock.advance(Duration::from_secs(29));
    let late = stale.get("/who").await;
    assert_eq!((&*late.text, late.cookies.len()), ("alice", 1));
    server.clock.advance(Duration::from_secs(1));
    for _ in 0..2 {
        assert_eq!(browser.get("/who").await.text, "alice");
        server.clock.advance(GRACE / 2);
    }
    browser.keep(&late.cookies[0]);
    server.clock.advance(2 * GRACE);
    let reply = browser.get("/who").await;
    assert_eq!((&*reply.text, reply.cookies.len()), ("alice", 1), "and by now it is renewed");
}

#[tokio::test]
async fn a_slow_handlers_answer_puts_no_cookie_over_the_next_ones() {
    let server = Server::new();
    let (slow, loaded, go) = waiting(&server);
    let browser = logged_in(&server).await;
    let stale = with_cookie_of(&browser);
    server.clock.advance(INTERVAL);
    browser.get("/who").await;
    server.clock.advance(INTERVAL);
    let request = tokio::spawn(async move { stale.at(&slow).post("/own").await });
    loaded.notified().await;
    // It is at work for as long as there is to the next renewal, and that comes before its answer.
    browser.get("/who").await;
    server.clock.advance(Duration::from_secs(119));
    go.notify_one();
    let late = request.await.unwrap();
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(browser.get("/who").await.cookies.len(), 1);
    assert_eq!(browser.get("/who").await.text, "alice");
    late.cookies.iter().for_each(|cookie| browser.keep(cookie));
    server.clock.advance(GRACE);
    assert_eq!(browser.get("/who").await.text, "alice");
}

/// Who presents it first may be long at work, and write it down when others were given it just now.
#[tokio::test]
async fn the_grace_begins_when_the_newest_cookie_is_written_down_as_presented() {
    let server = Server::new();
    let (slow, loaded, go) = waiting(&server);
    let browser = logged_in(&server).await;
    let stale = with_cookie_of(&browser);
    server.clock.advance(INTERVAL);
    browser.get("/who").await;
    server.clock.advance(INTERVAL);
    let first = browser.tab();
    let request = tokio::spawn(async move { first.at(&slow).post("/own").await });
    loaded.notified().await;
    server.clock.advance(4 * GRACE);
    let late = stale.get("/who").await;
    assert_eq!((&*late.text, late.cookies.len()), ("alice", 1));
    go.notify_one();
    request.await.unwrap();
    for _ in 0..2 {
        assert_eq!(browser.get("/who").await.text, "alice");
        server.clock.advance(GRACE / 2);
    }
    browser.keep(&late.cookies[0]);
    server.clock.advance(GRACE);
    assert_eq!(browser.get("/who").await.text, "alice");
}

/// The server with a handler that has found its session, says so, and waits.
fn waiting(server: &Server) -> (Server, Arc<Notify>, Arc<Notify>) {
    let (loaded, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (l, g) = (loaded.clone(), go.clone());
    let slow = server.handling(move |session| {
        let (l, g) = (l.clone(), g.clone());
        async move {
            session.subject().await?;
            l.notify_one();
            g.notified().await;
            Ok(())
        }
    });
    (slow, loaded, go)
}
