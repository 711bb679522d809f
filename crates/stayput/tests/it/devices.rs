//! A subject's sessions: how many there may be, what their owner sees of them, and how they end.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use stayput::{Overflow, Policy, Session, SessionLimit, SessionStore, Subject};
use stayput_core::Operation;
use stayput_stores::{MemoryStore, SqliteStore};
use stayput_testkit::{Fault, FaultyStore, ManualClock};

use crate::support::{Browser, SESSION, Server, keyring};

fn limited(most: u32, overflow: Overflow) -> Policy {
    let most = NonZeroU32::new(most).unwrap();
    Policy {
        session_limit: Some(SessionLimit { most, overflow }),
        carry: vec!["cart".into()],
        ..Policy::web()
    }
}

async fn logged_in(server: &Server) -> Browser {
    let browser = server.browser();
    assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
    browser
}

async fn live(browsers: &[Browser]) -> usize {
    let mut live = 0;
    for browser in browsers {
        live += usize::from(browser.get("/who").await.text == "alice");
    }
    live
}

#[tokio::test]
async fn one_login_more_than_the_limit_ends_the_oldest() {
    let server = Server::with_policy(limited(2, Overflow::EndOldest));
    let first = logged_in(&server).await;
    let second = logged_in(&server).await;
    server.take_events();
    let third = logged_in(&server).await;
    assert_eq!(server.take_events(), ["ended limit", "logged_in"]);
    assert_eq!(first.get("/who").await.text, "nobody");
    assert_eq!(live(&[second.clone(), third.clone()]).await, 2);
    // To log in again on the same browser, to prove it again, or to log out, takes nobody else's place.
    third.post("/login/alice").await;
    third.post("/elevate").await;
    assert_eq!(live(&[second.clone(), third.clone()]).await, 2);
    third.post("/logout").await;
    let fourth = logged_in(&server).await;
    assert_eq!(live(&[second, fourth]).await, 2);
}

#[tokio::test]
async fn one_login_more_than_the_limit_is_rejected_and_leaves_the_visitor_as_they_were() {
    let server = Server::with_policy(limited(1, Overflow::Reject));
    let first = logged_in(&server).await;
    let second = server.browser();
    second.post("/set/cart/tea").await;
    server.take_events();
    let reply = second.post("/login/alice").await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    assert!(reply.text.contains("as many devices as you may"), "{}", reply.text);
    assert_eq!(server.take_events(), ["limit_reached"]);
    assert_eq!(second.post("/set/cart/coffee").await.status, StatusCode::OK);
    assert_eq!(second.get("/read/cart").await.text, "coffee");
    assert_eq!(first.get("/who").await.text, "alice");
    // Nothing is left of the attempt that would count, nor of a session that timed out.
    first.post("/logout").await;
    assert_eq!(second.post("/login/alice").await.status, StatusCode::OK);
    server.clock.advance(Duration::from_mins(31));
    assert_eq!(first.post("/login/alice").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_50_parallel_logins_with_limit_1_one_session_is_left() {
    let place = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let sqlite = SqliteStore::open_with_clock(place.path().join("s.db"), clock.clone()).await.unwrap();
    let stores: [Arc<dyn SessionStore>; 2] =
        [Arc::new(sqlite), Arc::new(MemoryStore::default().with_clock(clock.clone()))];
    for overflow in [Overflow::EndOldest, Overflow::Reject] {
        for store in &stores {
            let name = format!("{} {overflow:?}", store.name());
            let store = Arc::new(FaultyStore::new(Arc::clone(store)));
            let server = Server::over(store, clock.clone(), keyring(), limited(1, overflow));
            let browsers: Vec<_> = (0..50).map(|_| server.browser()).collect();
            let logins: Vec<_> = browsers
                .iter()
                .map(|browser| {
                    tokio::spawn({
                        let browser = browser.clone();
                        async move { browser.post("/login/alice").await.status }
                    })
                })
                .collect();
            for login in logins {
                login.await.unwrap();
            }
            assert_eq!(live(&browsers).await, 1, "{name}");
            assert_eq!(server.sessions.end_all(&Subject::new("alice")).await.unwrap(), 1, "{name}");
        }
    }
}

#[tokio::test]
async fn a_user_lists_their_sessions_with_what_they_are_recognised_by() {
    let server = Server::new();
    let phone = server.browser().with("user-agent", "Phone").from("192.0.2.1");
    phone.post("/remember/alice").await;
    server.clock.advance(Duration::from_mins(10));
    let laptop = server.browser().with("user-agent", "Laptop").from("2001:db8::1");
    laptop.post("/login/alice").await;
    server.browser().post("/login/bob").await;
    server.clock.advance(Duration::from_mins(10));
    laptop.get("/who").await;

    let listed = server.handling(|session: Session| async move {
        let list = session.list().await?;
        let seen: Vec<_> =
            list.iter().map(|info| (info.agent.as_str(), info.is_this, info.is_remembered)).collect();
        assert_eq!(seen, [("Laptop", true, false), ("Phone", false, true)]);
        assert_eq!(list[1].address, Some([192, 0, 2, 1].into()));
        assert_eq!(list[0].last_seen.since(list[0].created), Duration::from_mins(10));
        assert_eq!(list[0].created.since(list[1].created), Duration::from_mins(10));
        Ok(())
    });
    assert_eq!(laptop.at(&listed).post("/own").await.status, StatusCode::OK);
    assert_eq!(server.browser().at(&listed).post("/own").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_user_ends_one_session_or_all_others_and_never_somebody_elses() {
    let server = Server::new();
    let (one, two, three) = (logged_in(&server).await, logged_in(&server).await, logged_in(&server).await);
    let bob = server.browser();
    bob.post("/login/bob").await;
    let alice = Subject::new("alice");
    let handles = server.sessions.list(&alice).await.unwrap();
    assert_eq!(handles.len(), 3);
    let foreign = server.sessions.list(&Subject::new("bob")).await.unwrap()[0].handle;
    assert!(!server.sessions.end(&alice, &foreign).await.unwrap());

    let end_first_other = server.handling(|session: Session| async move {
        let other = session.list().await?.into_iter().find(|info| !info.is_this).unwrap();
        assert!(session.end(&other.handle).await?);
        assert!(!session.end(&other.handle).await?);
        Ok(())
    });
    one.at(&end_first_other).post("/own").await;
    assert_eq!(live(&[two.clone(), three.clone()]).await, 1);
    let end_others = server.handling(|session: Session| async move {
        assert_eq!(session.end_others().await?, 1);
        Ok(())
    });
    assert_eq!(one.at(&end_others).post("/own").await.status, StatusCode::OK);
    assert_eq!(live(&[one.clone(), two, three]).await, 1);
    assert_eq!(one.get("/who").await.text, "alice");
    let end_this = server.handling(|session: Session| async move {
        let this = session.list().await?.pop().unwrap();
        assert!(session.end(&this.handle).await?);
        Ok(())
    });
    one.at(&end_this).post("/own").await;
    assert_eq!(one.cookie(SESSION), None);
    assert_eq!(bob.get("/who").await.text, "bob");
}

#[tokio::test]
async fn a_disabled_users_sessions_end_on_every_server_with_what_a_login_left_behind() {
    let server = Server::new();
    let old = logged_in(&server).await;
    let before = old.sending(&[(SESSION, &old.cookie(SESSION).unwrap())]);
    old.post("/set/cart/tea").await;
    old.post("/login/alice").await;
    let other = logged_in(&server).await;
    assert_eq!(before.get("/read/cart").await.text, "tea");
    // Who has the old id, perhaps stolen, ends nobody's session with it.
    let end_others =
        server.handling(|session: Session| async move { session.end_others().await.map(|_| ()) });
    let end_all = server.handling(|session: Session| async move { session.end_all().await.map(|_| ()) });
    for ending in [&end_others, &end_all] {
        assert_eq!(before.at(ending).post("/own").await.status, StatusCode::CONFLICT);
    }
    assert_eq!(server.sessions.end_all(&Subject::new("alice")).await.unwrap(), 2);
    assert_eq!(server.take_events().last().unwrap(), "all_ended");
    assert_eq!(live(&[old.clone(), other]).await, 0);
    assert_eq!(before.get("/read/cart").await.text, "");
    // The cookie of a session that was ended elsewhere is not deleted: the browser may hold a newer one by then.
    assert!(old.cookie(SESSION).is_some());
}

#[tokio::test]
async fn a_login_under_way_when_all_sessions_are_ended_does_not_go_through() {
    let server = Server::new();
    let browser = server.browser();
    // The login stops after it read the epoch: its create hangs until the time limit, then is made again.
    server.store.plan(Operation::Create, Fault::Pause);
    let login = tokio::spawn({
        let browser = browser.clone();
        async move { browser.post("/login/alice").await.status }
    });
    server.store.paused().await;
    server.sessions.end_all(&Subject::new("alice")).await.unwrap();
    server.store.resume();
    assert_eq!(login.await.unwrap(), StatusCode::CONFLICT);
    assert_eq!(browser.cookie(SESSION), None);
    assert_eq!(server.sessions.list(&Subject::new("alice")).await.unwrap(), []);
    assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_elevation_survives_the_end_of_all_other_sessions() {
    let server = Server::new();
    let (browser, other) = (logged_in(&server).await, logged_in(&server).await);
    server.store.plan(Operation::Create, Fault::Pause);
    let elevation = tokio::spawn({
        let browser = browser.clone();
        async move { browser.post("/elevate").await.status }
    });
    server.store.paused().await;
    let end_others =
        server.handling(|session: Session| async move { session.end_others().await.map(|_| ()) });
    let beside = browser.sending(&[(SESSION, &browser.cookie(SESSION).unwrap())]);
    assert_eq!(beside.at(&end_others).post("/own").await.status, StatusCode::OK);
    server.store.resume();
    assert_eq!(elevation.await.unwrap(), StatusCode::OK);
    assert_eq!(live(&[browser.clone(), other]).await, 1);
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_failed_admission_leaves_no_session_and_one_in_doubt_is_made_again() {
    let server = Server::with_policy(limited(1, Overflow::Reject));
    let browser = server.browser();
    server.store.plan(Operation::Admit, Fault::Before);
    assert_eq!(browser.post("/login/alice").await.status, StatusCode::SERVICE_UNAVAILABLE);
    server.store.plan(Operation::Admit, Fault::After);
    assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
    assert_eq!(server.sessions.list(&Subject::new("alice")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn end_all_clears_the_browser_too() {
    let server = Server::new();
    let (one, other) = (logged_in(&server).await, logged_in(&server).await);
    let end_all = server.handling(|session: Session| async move {
        assert_eq!(session.end_all().await?, 2);
        Ok(())
    });
    let reply = one.at(&end_all).post("/own").await;
    assert_eq!(reply.headers["clear-site-data"], r#""cache", "storage""#);
    assert_eq!(one.cookie(SESSION), None);
    assert_eq!(live(&[one, other]).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_long_lived_handler_learns_that_its_session_ended_here_or_elsewhere() {
    let server = Server::new();
    let elsewhere = server.beside(server.keyring.clone());
    for (name, end) in [("logout", 0), ("elsewhere", 1), ("timeout", 2), ("login", 3)] {
        let browser = logged_in(&server).await;
        let (waits, mut waiting) = tokio::sync::mpsc::channel(1);
        let stream = server.handling(move |session: Session| {
            let waits = waits.clone();
            async move {
                // A store that fails meanwhile ends nothing.
                session.get::<String>("cart").await?;
                tokio::spawn(async move {
                    session.ended().await.unwrap();
                    waits.send(()).await.unwrap();
                });
                Ok(())
            }
        });
        browser.at(&stream).post("/own").await;
        server.store.plan(Operation::Load, Fault::Before);
        tokio::time::sleep(Duration::from_secs(12)).await;
        assert!(waiting.try_recv().is_err(), "{name}");
        match end {
            0 => drop(browser.post("/logout").await),
            1 => drop(elsewhere.sessions.end_all(&Subject::new("alice")).await.unwrap()),
            2 => server.clock.advance(Duration::from_mins(31)),
            _ => drop(browser.post("/login/alice").await),
        }
        let told = tokio::time::Instant::now();
        waiting.recv().await.unwrap();
        // What this very process ended is known at once.
        let limit = if end == 0 || end == 3 { Duration::ZERO } else { Duration::from_secs(5) };
        assert!(told.elapsed() <= limit, "{name} {:?}", told.elapsed());
    }
}
