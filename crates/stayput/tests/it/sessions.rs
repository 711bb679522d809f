//! Loading, writing, login, logout, keys: what holds whatever else happens at the same time.

use std::time::Duration;

use crate::support::{ANONYMOUS, SESSION, Server};
use axum::http::StatusCode;
use stayput::{Keyring, Policy, Session, Subject, SystemRandom, Timestamp};
use stayput_core::{CookieValue, Generation, Operation, Replaced, SessionStore, StorageKey};
use stayput_testkit::Fault;

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
async fn a_login_needs_no_grace() {
    let browser = Server::with_policy(Policy { grace: Duration::ZERO, ..Policy::web() }).browser();
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
async fn who_can_write_to_the_store_cannot_make_a_session_outlive_its_absolute_deadline() {
    let text = keyring().danger_to_text();
    let server = Server::new().beside(Keyring::parse(&text).unwrap());
    let browser = server.browser();
    browser.post("/login/alice").await;
    let cookie = browser.cookie(SESSION).unwrap();
    let cookie = CookieValue::decode(SESSION, cookie.as_bytes(), &Keyring::parse(&text).unwrap()).unwrap();
    let key = cookie.value.id.storage_key();
    let mut record = server.store.load(key).await.unwrap().unwrap();
    let version = record.header.version();
    record.header.expires = Timestamp::MAX;
    assert_eq!(server.store.replace(key, record, version).await.unwrap(), Replaced::Replaced);

    server.clock.advance(Duration::from_mins(12 * 60 - 1));
    assert_eq!(browser.get("/who").await.text, "alice");
    server.clock.advance(Duration::from_mins(1));
    assert_eq!(browser.get("/who").await.text, "nobody");
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
async fn a_cookie_of_another_generation_or_kind_than_its_session_is_refused_though_it_is_signed() {
    let text = keyring().danger_to_text();
    let (server, keyring) =
        (Server::new().beside(Keyring::parse(&text).unwrap()), Keyring::parse(&text).unwrap());
    let browser = server.browser();
    browser.post("/login/alice").await;
    let cookie = browser.cookie(SESSION).unwrap();
    let good = CookieValue::decode(SESSION, cookie.as_bytes(), &keyring).unwrap().value;
    let newer = CookieValue { generation: Generation(1), ..good.clone() };
    for (name, value, who) in
        [(SESSION, &good, "alice"), (SESSION, &newer, "nobody"), (ANONYMOUS, &good, "nobody")]
    {
        let reply = browser.sending(&[(name, &value.encode(name, &keyring))]).get("/who").await;
        assert_eq!(reply.text, who, "{name} {:?}", value.generation);
    }
}

#[tokio::test]
async fn a_failing_store_is_unavailable_and_never_logged_out() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/login/alice").await;
    for operation in [Operation::Load, Operation::Replace, Operation::Remove] {
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
async fn a_cancelled_login_still_happens_wholly() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/set/cart/tea").await;
    let (send, received) = tokio::sync::oneshot::channel();
    let send = std::sync::Arc::new(std::sync::Mutex::new(Some(send)));
    let login = server.handling(move |session: Session| {
        let send = send.clone();
        async move {
            // Cancelled at its first wait, as a closed connection would.
            tokio::select! {
                biased;
                outcome = session.login(Subject::new("alice")) => outcome?,
                () = std::future::ready(()) => {}
            }
            while session.subject().await?.is_none() {
                tokio::task::yield_now().await;
            }
            let _ = send.lock().unwrap().take().unwrap().send(());
            Ok(())
        }
    });
    assert_eq!(browser.at(&login).post("/own").await.status, StatusCode::OK);
    received.await.unwrap();
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.get("/read/cart").await.text, "tea");
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

fn keyring() -> Keyring {
    Keyring::generate(&SystemRandom)
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
