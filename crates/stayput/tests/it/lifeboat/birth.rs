//! Sessions that begin in an outage.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stayput::{Overflow, Policy, Session, SessionLimit, Subject};
use stayput_core::{Operation, SessionStore};
use stayput_testkit::{Fault, ManualClock, TellingStore};

use super::late::LateStore;
use super::{Fleet, born_adrift, journal, logged_in, policy, stored_key};
use crate::support::Server;

#[tokio::test]
async fn a_login_in_an_outage_is_one_everywhere_when_the_store_is_back() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = a.browser();
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.post("/login/alice").await.status, 200);
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.at(&b).get("/who").await.text, "alice");
    assert_eq!(browser.post("/count").await.text, "1");
    assert_eq!(browser.at(&b).post("/count").await.text, "2");
    fleet.mend(&[&a, &b]).await;
    assert_eq!(browser.at(&b).get("/who").await.text, "alice");
    browser.get("/who").await;
    assert_eq!(browser.at(&b).get("/number/n").await.text, "2");
    assert_eq!(browser.post("/set/secret/known").await.status, 200);
    assert_eq!(a.sessions.list(&Subject::new("alice")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_session_born_in_an_outage_lives_on_though_its_browser_keeps_the_lifeboat_of_its_birth() {
    let (fleet, a, browser) = born_adrift().await;
    fleet.mend(&[&a]).await;
    // It is put into the store, and the answer that says so is lost.
    assert_eq!(browser.tab().get("/who").await.text, "alice");
    fleet.clock.advance(fleet.policy.max_age + Duration::from_secs(1));
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_session_born_in_an_outage_and_ended_does_not_come_back() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = a.browser();
    fleet.break_down(&[&a]).await;
    browser.post("/login/alice").await;
    let stolen = browser.tab();
    fleet.mend(&[&a]).await;
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.post("/logout").await.status, 200);
    assert_eq!(stolen.get("/who").await.text, "nobody");
    // Nor one that nobody presented in time, nor one of a user who was disabled when the store was back.
    for disables in [false, true] {
        fleet.break_down(&[&a]).await;
        let late = a.browser();
        assert_eq!(late.post("/login/alice").await.status, 200);
        fleet.mend(&[&a]).await;
        if disables {
            a.sessions.end_all(&Subject::new("alice")).await.unwrap();
        } else {
            fleet.clock.advance(Duration::from_mins(15));
        }
        assert_eq!(late.get("/who").await.text, "nobody", "{disables}");
    }
}

#[tokio::test]
async fn a_session_born_in_an_outage_keeps_the_limit() {
    let one = std::num::NonZeroU32::MIN;
    let session_limit = Some(SessionLimit { most: one, overflow: stayput::Overflow::EndOldest });
    let fleet = Fleet::with(Policy { session_limit, ..policy() });
    let a = fleet.server("a").await;
    let first = logged_in(&a).await;
    fleet.break_down(&[&a]).await;
    let second = a.browser();
    assert_eq!(second.post("/login/alice").await.status, 200);
    fleet.mend(&[&a]).await;
    assert_eq!(second.get("/who").await.text, "alice");
    assert_eq!(first.get("/who").await.text, "nobody");
}

#[tokio::test]
async fn a_session_born_in_an_outage_is_counted_in_even_if_the_store_fails_in_the_middle_of_that() {
    let (fleet, a, browser) = born_adrift().await;
    fleet.mend(&[&a]).await;
    fleet.store.plan(Operation::Admit, Fault::Before);
    browser.get("/who").await;
    fleet.mend(&[&a]).await;
    assert_eq!(browser.get("/who").await.text, "alice");
    let admitted = fleet.store.count(Operation::Admit);
    assert!(admitted >= 2, "it was tried again");
    // And then no more.
    for _ in 0..5 {
        assert_eq!(browser.get("/who").await.text, "alice");
    }
    assert_eq!(fleet.store.count(Operation::Admit), admitted);
}

#[tokio::test]
async fn the_old_id_of_a_session_born_in_an_outage_is_worth_nothing_after_an_elevation() {
    let (fleet, a, browser) = born_adrift().await;
    let stolen = browser.tab();
    fleet.mend(&[&a]).await;
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.post("/elevate").await.status, 200);
    fleet.clock.advance(Duration::from_secs(31));
    assert_eq!(stolen.get("/who").await.text, "nobody");
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_client_that_goes_away_gets_no_session_above_the_limit_by_it() {
    let session_limit = Some(SessionLimit { most: NonZeroU32::MIN, overflow: Overflow::EndOldest });
    let fleet = Fleet::with(Policy { session_limit, ..policy() });
    let a = fleet.server("a").await;
    let first = logged_in(&a).await;
    fleet.break_down(&[&a]).await;
    let second = a.browser();
    assert_eq!(second.post("/login/alice").await.status, 200);
    fleet.mend(&[&a]).await;
    fleet.store.plan(Operation::Admit, Fault::Pause);
    let request = tokio::spawn({
        let second = second.clone();
        async move { second.get("/who").await }
    });
    fleet.store.paused().await;
    request.abort();
    let _ = request.await;
    fleet.store.resume();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(second.get("/who").await.text, "alice");
    assert_eq!(first.get("/who").await.text, "nobody");
}

#[tokio::test]
async fn a_login_in_an_outage_does_not_lose_what_it_is_to_carry_and_this_server_does_not_know() {
    let fleet = Fleet::with(Policy { carry: vec!["secret".into()], ..policy() });
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = a.browser();
    browser.post("/set/secret/cart").await;
    browser.get("/who").await;
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.at(&b).get("/read/secret").await.status, 503);
    assert_eq!(browser.at(&b).post("/login/alice").await.status, 503);
}

#[tokio::test]
async fn a_login_of_a_server_whose_clock_is_ahead_does_not_outlive_its_users_end() {
    // One server's clock is ahead.
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let ahead = Arc::new(ManualClock::default());
    ahead.advance(Duration::from_mins(10));
    let journal = journal(&fleet.dir.path().join("b")).await;
    let remote = Arc::new(TellingStore::new(fleet.store.clone()));
    let b = Server::near(remote, fleet.store.clone(), ahead, fleet.keyring.clone(), |builder| {
        builder.policy(fleet.policy.clone()).journal(journal)
    });
    let browser = a.browser().at(&b);
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.post("/login/alice").await.status, 200);
    fleet.mend(&[&a, &b]).await;
    // Disabled after the login.
    a.sessions.end_all(&Subject::new("alice")).await.unwrap();
    assert_eq!(browser.at(&a).get("/who").await.text, "nobody");
}

/// Handlers that wait for the end of a session are not to be told of it by the end of an outage.
#[tokio::test]
async fn a_session_born_in_an_outage_has_not_ended_when_the_store_is_back() {
    let (fleet, a, browser) = born_adrift().await;
    let store = fleet.store.clone();
    let own = a.handling(move |session: Session| {
        let store = store.clone();
        async move {
            session.subject().await?;
            store.mend();
            let waited = tokio::time::timeout(Duration::from_secs(8), session.ended()).await;
            assert!(waited.is_err(), "it is said to have ended");
            Ok(())
        }
    });
    assert_eq!(browser.at(&own).post("/own").await.status, 200);
}

#[tokio::test]
async fn a_birth_that_comes_late_brings_nothing_back() {
    let fleet = Fleet::with(Policy { store_timeout: Duration::from_millis(100), ..policy() });
    let late = Arc::new(LateStore::over(fleet.store.clone()));
    let journal = journal(&fleet.dir.path().join("a")).await;
    let remote = Arc::new(TellingStore::new(late.clone()));
    let a =
        Server::near(remote, fleet.store.clone(), fleet.clock.clone(), fleet.keyring.clone(), |builder| {
            builder.policy(fleet.policy.clone()).journal(journal)
        });
    let b = fleet.server("b").await;
    let browser = a.browser();
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.post("/login/alice").await.status, 200);
    let stolen = browser.tab();
    fleet.mend(&[&a, &b]).await;
    // What one server sends is on its way for longer than anybody waits; meanwhile another puts the session where it belongs.
    late.is_late.store(true, Ordering::SeqCst);
    browser.get("/who").await;
    let born = late.born.lock().unwrap().pop().expect("it was sent");
    let (browser, stolen) = (browser.at(&b), stolen.at(&b));
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.post("/elevate").await.status, 200);
    fleet.clock.advance(Duration::from_mins(16));
    let _ = fleet.store.create(born.0, born.1).await.unwrap();
    assert_eq!(stolen.get("/who").await.text, "nobody");
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn who_drops_the_lifeboat_of_a_birth_that_was_interrupted_has_no_session_above_the_limit() {
    let session_limit = Some(SessionLimit { most: NonZeroU32::MIN, overflow: Overflow::EndOldest });
    let fleet = Fleet::with(Policy { session_limit, ..policy() });
    let a = fleet.server("a").await;
    let first = logged_in(&a).await;
    fleet.break_down(&[&a]).await;
    let second = a.browser();
    assert_eq!(second.post("/login/alice").await.status, 200);
    fleet.mend(&[&a]).await;
    for _ in 0..2 {
        fleet.store.plan(Operation::Admit, Fault::Before);
    }
    assert_eq!(second.get("/who").await.status, 503);
    fleet.mend(&[&a]).await;
    let dropped = second.tab();
    dropped.jar.lock().unwrap().remove(super::LIFEBOAT);
    for _ in 0..4 {
        assert_eq!(dropped.get("/who").await.text, "nobody");
        assert_eq!(first.get("/who").await.text, "alice");
        fleet.clock.advance(Duration::from_mins(5));
    }
    assert_eq!(fleet.store.load(stored_key(&second, &a)).await.unwrap(), None);
}
