//! Loading and writing: lazily, atomically, for as long as the policy says.

use std::time::Duration;

use axum::http::StatusCode;
use stayput::{Policy, Session, Subject};
use stayput_core::Operation;
use stayput_testkit::Fault;

use crate::support::{ANONYMOUS, Server, keyring};

#[tokio::test]
async fn a_request_that_ignores_its_session_asks_the_store_nothing_and_gets_no_cookie() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/count").await;
    server.store.plan(Operation::Load, Fault::Before);
    let reply = browser.get("/plain").await;
    assert_eq!((reply.status, reply.cookies.len()), (StatusCode::OK, 0));
    // The planned fault is still there: nothing was loaded until now.
    assert_eq!(browser.get("/who").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_visitor_who_stores_nothing_gets_no_cookie() {
    let browser = Server::new().browser();
    assert_eq!(browser.get("/read/cart").await.cookies.len(), 0);
    assert_eq!(browser.get("/who").await.cookies.len(), 0);
}

#[tokio::test]
async fn the_first_write_sets_a_host_bound_cookie_that_no_cache_keeps() {
    let browser = Server::new().browser();
    let reply = browser.post("/set/cart/tea").await;
    let cookie = &reply.cookies[0];
    assert_eq!(reply.cookies.len(), 1);
    assert!(cookie.starts_with(&format!("{ANONYMOUS}=")));
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
    assert_eq!(reply.headers["cache-control"], "no-store");
    assert_eq!(browser.get("/read/cart").await.text, "tea");
    assert_eq!(browser.post("/set/cart/milk").await.cookies.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_200_parallel_increments_none_is_lost() {
    let browser = Server::new().browser();
    browser.post("/set/user/alice").await;
    let requests: Vec<_> = (0..200)
        .map(|_| {
            let browser = browser.clone();
            tokio::spawn(async move { browser.post("/count").await.status })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(browser.get("/number/n").await.text, "200");
}

#[tokio::test]
async fn parallel_requests_that_set_different_keys_keep_both() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/set/a/0").await;
    let other = browser.clone();
    let slow = server.handling(move |session: Session| {
        let other = other.clone();
        async move {
            session.get::<String>("a").await?;
            session.insert("b", "slow")?;
            assert_eq!(other.post("/set/a/fast").await.status, StatusCode::OK);
            Ok(())
        }
    });
    assert_eq!(browser.at(&slow).post("/own").await.status, StatusCode::OK);
    assert_eq!(browser.get("/read/a").await.text, "fast");
    assert_eq!(browser.get("/read/b").await.text, "slow");
}

#[tokio::test(start_paused = true)]
async fn two_updates_in_one_first_request_make_one_session() {
    let server = Server::new();
    // The first one waits for the store while the second one could overtake it.
    server.store.plan(Operation::Create, Fault::HangAfter);
    let server = server.handling(|session| async move {
        let once = || session.update("n", |n: &mut u32| *n += 1);
        let (first, second) = tokio::join!(once(), once());
        first.and(second).map(|_| ())
    });
    let browser = server.browser();
    assert_eq!(browser.post("/own").await.cookies.len(), 1);
    assert_eq!(browser.at(&server.beside(keyring())).get("/plain").await.text, "plain");
    let value = browser.cookie(ANONYMOUS).unwrap();
    let reader = server.handling(|session| async move {
        assert_eq!(session.get::<u32>("n").await?, Some(2));
        Ok(())
    });
    assert_eq!(reader.browser().sending(&[(ANONYMOUS, &value)]).post("/own").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_session_ends_after_idle_and_absolute_timeout_whatever_the_client_sends() {
    let server = Server::new();
    let (idle, busy) = (server.browser(), server.browser());
    idle.post("/login/idle").await;
    busy.post("/login/busy").await;
    for minute in 1..12 * 60 {
        server.clock.advance(Duration::from_mins(1));
        assert_eq!(busy.get("/who").await.text, "busy", "minute {minute}");
        if minute == 26 {
            let late = idle.clone();
            assert_eq!(late.get("/who").await.text, "idle");
        }
        if minute == 26 + 30 {
            assert_eq!(idle.get("/who").await.text, "nobody");
        }
    }
    server.clock.advance(Duration::from_mins(1));
    let reply = busy.get("/who").await;
    assert_eq!(reply.text, "nobody");
    assert_eq!(reply.cookies.len(), 0, "a dead session's cookie is left alone");
}

#[tokio::test]
async fn a_touch_is_written_only_when_a_tenth_of_the_timeout_has_passed() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/login/alice").await;
    // The fault waits for the first touch; that one fails, and hurts nobody.
    server.store.plan(Operation::Touch, Fault::Before);
    server.clock.advance(Duration::from_secs(179));
    browser.get("/who").await;
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(browser.get("/who").await.text, "alice");
    server.clock.advance(Duration::from_mins(26));
    assert_eq!(browser.get("/who").await.text, "alice");
    server.clock.advance(Duration::from_mins(29));
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn writing_what_is_there_already_counts_as_activity() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/login/alice").await;
    for _ in 0..6 {
        browser.post("/set/page/home").await;
        server.clock.advance(Duration::from_mins(10));
    }
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_session_that_would_grow_too_large_is_refused_and_keeps_what_it_has() {
    let policy = Policy { max_data: 100, ..Policy::web() };
    let browser = Server::with_policy(policy).browser();
    browser.post("/set/a/small").await;
    let reply = browser.post(&format!("/set/b/{}", "x".repeat(100))).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(browser.get("/read/a").await.text, "small");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_value_that_is_taken_is_given_to_one_request_only() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/set/once/token").await;
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = taken.clone();
    let taking = server.handling(move |session: Session| {
        let counter = counter.clone();
        async move {
            if session.take::<String>("once").await?.is_some() {
                counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
            Ok(())
        }
    });
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let tab = browser.at(&taking);
            tokio::spawn(async move { tab.post("/own").await.status })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(taken.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_eq!(browser.get("/read/once").await.text, "");
}

#[tokio::test]
async fn changes_after_the_head_has_left_are_an_error_or_committed_at_once() {
    let (send, mut received) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::new().handling(move |session: Session| {
        let send = send.clone();
        async move {
            session.update("n", |n: &mut u32| *n += 1).await?;
            send.send(session).map_err(|_| stayput::Error::Ended)
        }
    });
    let browser = server.browser();
    browser.post("/own").await;
    let session = received.recv().await.unwrap();
    assert!(matches!(session.insert("a", 1), Err(stayput::Error::Committed)));
    assert!(matches!(session.login(Subject::new("alice")).await, Err(stayput::Error::Committed)));
    assert_eq!(session.update("n", |n: &mut u32| *n += 1).await.unwrap(), 2);
}

#[tokio::test]
async fn a_session_first_used_after_the_head_has_left_says_so() {
    let (send, mut received) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::new().handling(move |session: Session| {
        let send = send.clone();
        async move { send.send(session).map_err(|_| stayput::Error::Ended) }
    });
    server.browser().post("/own").await;
    let session = received.recv().await.unwrap();
    assert!(matches!(session.insert("a", 1), Err(stayput::Error::Committed)));
    assert!(matches!(session.login(Subject::new("alice")).await, Err(stayput::Error::Committed)));
}
