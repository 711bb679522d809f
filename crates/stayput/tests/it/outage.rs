//! The store is out: what is served, what is refused, and that nobody is logged out by it.

use std::sync::Arc;
use std::time::Duration;

use stayput::{Keyring, Outage, Policy, SharedKeyring, SystemRandom};
use stayput_core::Operation;
use stayput_stores::MemoryStore;
use stayput_testkit::{Fault, FaultyStore, ManualClock, TellingStore};

use crate::near::heard;
use crate::support::{Browser, SESSION, Server};

/// A server with a near cache, over a store that can be taken out.
fn server(outage: Outage) -> Server {
    let clock = Arc::new(ManualClock::default());
    let memory = MemoryStore::default().with_clock(clock.clone());
    let faults = Arc::new(FaultyStore::new(Arc::new(memory)));
    over(faults, clock, Arc::new(Keyring::generate(&SystemRandom)), outage)
}

fn over(
    faults: Arc<FaultyStore>,
    clock: Arc<ManualClock>,
    keyring: impl Into<SharedKeyring>,
    outage: Outage,
) -> Server {
    let policy = Policy { outage, ..Policy::web() };
    let store = Arc::new(TellingStore::new(faults.clone()));
    Server::near(store, faults, clock, keyring, |builder| builder.policy(policy))
}

/// Another server over the same store, from which this one hears nothing.
fn beside(server: &Server) -> Server {
    over(server.store.clone(), server.clock.clone(), server.keyring.clone(), server.sessions.policy().outage)
}

/// A browser that is logged in, whose session the server has a copy of that is too old to be used without asking.
async fn logged_in(server: &Server) -> Browser {
    let browser = server.browser();
    browser.post("/login/alice").await;
    browser.post("/set/color/red").await;
    heard().await;
    assert_eq!(browser.get("/read/color").await.text, "red");
    heard().await;
    assert_eq!(browser.get("/read/color").await.text, "red");
    server.clock.advance(Duration::from_secs(2));
    browser
}

#[tokio::test]
async fn in_an_outage_sessions_can_be_read_and_not_written() {
    let server = server(Outage::ReadOnly);
    let browser = logged_in(&server).await;
    server.store.break_down(Fault::Before);
    let cookies = browser.jar.lock().unwrap().clone();
    for _ in 0..10 {
        let reply = browser.get("/who").await;
        assert_eq!((reply.text.as_str(), reply.cookies.len()), ("alice", 0));
        for path in ["/count", "/set/color/blue", "/elevate", "/logout"] {
            let reply = browser.post(path).await;
            assert_eq!((reply.status.as_u16(), reply.cookies.len()), (503, 0), "{path}");
            assert!(reply.headers.contains_key("retry-after"), "{path}");
        }
    }
    assert_eq!(*browser.jar.lock().unwrap(), cookies);
    server.store.mend();
    back(&server).await;
    assert_eq!(browser.post("/count").await.text, "1");
    assert_eq!(browser.get("/read/color").await.text, "red");
}

#[tokio::test]
async fn who_refuses_in_an_outage_serves_no_copy_that_it_could_not_serve_without() {
    let server = server(Outage::Refuse);
    let browser = logged_in(&server).await;
    server.store.break_down(Fault::Before);
    for _ in 0..10 {
        let reply = browser.get("/who").await;
        assert_eq!((reply.status.as_u16(), reply.cookies.len()), (503, 0));
    }
    assert!(browser.cookie(SESSION).is_some());
}

#[tokio::test]
async fn a_session_that_was_confirmed_too_long_ago_is_not_served_and_not_logged_out() {
    let server = server(Outage::ReadOnly);
    let browser = logged_in(&server).await;
    server.store.break_down(Fault::Before);
    server.clock.advance(Duration::from_mins(15) - Duration::from_secs(3));
    assert_eq!(browser.get("/who").await.text, "alice");
    // That it was served is no confirmation.
    server.clock.advance(Duration::from_secs(1));
    let reply = browser.get("/who").await;
    assert_eq!((reply.status.as_u16(), reply.cookies.len()), (503, 0));
    server.store.mend();
    back(&server).await;
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_session_that_this_server_knows_nothing_of_is_not_served() {
    let server = server(Outage::ReadOnly);
    let browser = logged_in(&server).await;
    let other = beside(&server);
    server.store.break_down(Fault::Before);
    let reply = browser.at(&other).get("/who").await;
    assert_eq!((reply.status.as_u16(), reply.cookies.len()), (503, 0));
}

#[tokio::test]
async fn a_copy_older_than_what_its_client_has_seen_is_not_served() {
    let server = server(Outage::ReadOnly);
    let browser = logged_in(&server).await;
    let newer = browser.tab();
    newer.at(&beside(&server)).post("/set/color/blue").await;
    server.store.break_down(Fault::Before);
    assert_eq!(newer.get("/read/color").await.status, 503);
}

#[tokio::test]
async fn an_outage_soon_after_another_meets_the_copies_of_before() {
    let clock = Arc::new(ManualClock::default());
    let memory = MemoryStore::default().with_clock(clock.clone());
    let faults = Arc::new(FaultyStore::new(Arc::new(memory)));
    let store = Arc::new(TellingStore::new(faults.clone()));
    let keyring = Arc::new(Keyring::generate(&SystemRandom));
    let server = Server::near(store.clone(), faults, clock, keyring, |builder| builder);
    let browser = logged_in(&server).await;
    server.store.break_down(Fault::Before);
    assert_eq!(browser.get("/who").await.text, "alice");
    server.store.mend();
    // The stream is there again, and messages may be missing.
    store.lose();
    heard().await;
    server.store.break_down(Fault::Before);
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn an_ended_session_is_not_served_from_a_copy_by_who_ended_it() {
    let server = server(Outage::ReadOnly);
    let browser = logged_in(&server).await;
    let tab = browser.tab();
    browser.post("/logout").await;
    server.store.break_down(Fault::Before);
    assert_ne!(tab.get("/who").await.text, "alice");
    server.clock.advance(Duration::from_mins(1));
    assert_eq!(tab.get("/who").await.status, 503);
}

#[tokio::test]
async fn what_takes_the_store_itself_is_refused() {
    let server = server(Outage::ReadOnly);
    let browser = logged_in(&server).await;
    server.store.break_down(Fault::Before);
    assert_eq!(browser.at(&server.guarded()).get("/who").await.status, 503);
    let strict = server.handling(|session| async move {
        assert!(session.is_adrift().await?);
        assert!(session.fresh().await.is_err());
        session.recently_authenticated(Duration::from_hours(1)).await.map(|_| ())
    });
    assert_eq!(browser.at(&strict).post("/own").await.status, 503);
}

#[tokio::test]
async fn a_store_that_is_out_is_asked_for_nothing_until_it_is_back() {
    let server = server(Outage::ReadOnly);
    let browser = logged_in(&server).await;
    server.store.break_down(Fault::Before);
    for _ in 0..5 {
        browser.get("/who").await;
    }
    assert!(server.sessions.store_is_out());
    // It works again, and nobody has found out yet: a probe does.
    server.store.mend();
    assert_eq!(browser.at(&server.guarded()).get("/who").await.status, 503);
    back(&server).await;
    assert_eq!(browser.at(&server.guarded()).get("/who").await.text, "alice");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_out() {
    let server = server(Outage::ReadOnly);
    let browser = logged_in(&server).await;
    server.store.break_down(Fault::Hang);
    for _ in 0..5 {
        assert_eq!(browser.get("/who").await.text, "alice");
    }
    assert!(server.sessions.store_is_out());
    let begun = tokio::time::Instant::now();
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn one_user_who_waited_in_vain_is_enough_if_a_probe_does_too() {
    let server = server(Outage::ReadOnly);
    let browser = logged_in(&server).await;
    // An accident is none.
    server.store.plan(Operation::Load, Fault::Before);
    browser.get("/who").await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(!server.sessions.store_is_out());
    browser.get("/who").await;
    server.clock.advance(Duration::from_secs(2));

    server.store.break_down(Fault::Hang);
    assert_eq!(browser.get("/who").await.text, "alice");
    tokio::time::sleep(server.sessions.policy().store_timeout).await;
    heard().await;
    assert!(server.sessions.store_is_out());
}

#[tokio::test]
async fn a_store_that_is_busy_is_not_out_and_sets_nobody_adrift() {
    let server = server(Outage::ReadOnly);
    let browser = logged_in(&server).await;
    server.store.break_down(Fault::Overloaded);
    for _ in 0..20 {
        assert_eq!(browser.get("/who").await.status, 503);
    }
    assert!(!server.sessions.store_is_out());
}

#[tokio::test]
async fn an_outage_and_its_end_are_told() {
    let server = server(Outage::ReadOnly);
    let browser = logged_in(&server).await;
    server.take_events();
    server.store.break_down(Fault::Before);
    for _ in 0..10 {
        browser.get("/who").await;
    }
    server.store.mend();
    back(&server).await;
    let told: Vec<_> = server.take_events().into_iter().filter(|event| event.starts_with("store")).collect();
    assert_eq!(told, ["store_out", "store_back"]);
}

#[tokio::test]
async fn one_failed_write_is_not_served_as_if_it_was_done() {
    let server = server(Outage::ReadOnly);
    let browser = logged_in(&server).await;
    assert_eq!(browser.get("/read/color").await.text, "red");
    server.store.plan(Operation::Replace, Fault::Before);
    assert_eq!(browser.post("/set/color/blue").await.status, 503);
    assert_eq!(browser.get("/read/color").await.text, "red");
}

#[tokio::test]
async fn who_wrote_in_vain_when_it_began_reads_on() {
    let server = server(Outage::ReadOnly);
    let browser = logged_in(&server).await;
    server.store.plan(Operation::Replace, Fault::Before);
    assert_eq!(browser.post("/set/color/blue").await.status, 503);
    server.store.break_down(Fault::Before);
    assert_eq!(browser.get("/read/color").await.text, "red");
}

/// Returns when all traffic is back.
pub(crate) async fn back(server: &Server) {
    for _ in 0..10_000 {
        if !server.sessions.store_is_out() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The limit doubles with each answer.
    let browser = server.browser();
    for _ in 0..10 {
        browser.post("/count").await;
        browser.jar.lock().unwrap().clear();
    }
}
