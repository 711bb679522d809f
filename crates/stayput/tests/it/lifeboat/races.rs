//! Lifeboats where two things happen at once, or one stops halfway: what random histories and reviews found, one interleaving each.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use stayput::{Builder, Error, OnWiped, Overflow, Policy, Session, SessionLimit, Subject};
use stayput_core::{Operation, SessionStore};
use stayput_testkit::{Fault, FaultyStore, ModelState, ModelStore};

use super::{Fleet, logged_in, policy, stored_key};

use crate::outage::back;
use crate::support::{Browser, SESSION, Server};

/// Whoever logs in last has the one session that there may be.
fn one_session() -> Policy {
    let session_limit = Some(SessionLimit { most: NonZeroU32::MIN, overflow: Overflow::EndOldest });
    Policy { session_limit, ..policy() }
}

/// Whether the session of `browser` counts among those of alice, of whom there may be one.
async fn gives_way(browser: &Browser, server: &Server) -> bool {
    assert_eq!(server.browser().post("/login/alice").await.status, 200);
    browser.tab().at(server).get("/who").await.text == "nobody"
}

#[tokio::test]
async fn who_comes_while_a_replay_writes_is_not_logged_out_for_want_of_a_touch() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.post("/count").await.text, "2");
    let key = stored_key(&browser, &a);
    // A renewal is due by then.
    fleet.clock.advance(fleet.policy.renewal_interval);
    fleet.store.plan(Operation::Replace, Fault::Pause);
    fleet.store.mend();
    fleet.store.paused().await;
    let read = fleet.store.load(key).await.unwrap().unwrap().header.version();
    // It has read the session before the replay writes it, and comes to write it afterwards.
    fleet.store.plan(Operation::Replace, Fault::Pause);
    let visit = tokio::spawn({
        let browser = browser.tab().at(&b);
        async move { browser.get("/who").await.text }
    });
    fleet.store.paused().await;
    fleet.store.resume();
    while fleet.store.load(key).await.unwrap().unwrap().header.version() == read {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    fleet.store.resume();
    assert_eq!(visit.await.unwrap(), "alice");
    fleet.clock.advance(fleet.policy.idle_timeout.mul_f64(0.95));
    assert_eq!(browser.tab().at(&b).get("/number/n").await.text, "2");
}

#[tokio::test]
async fn an_older_lifeboat_with_writes_hides_nothing_of_a_store_that_is_back() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.at(&b).post("/count").await.text, "2");
    assert_eq!(browser.at(&b).post("/set/color/blue").await.status, 200);
    let old = browser.tab();
    fleet.mend(&[&a, &b]).await;
    // What b took is in the store by then.
    assert_eq!(browser.at(&b).get("/number/n").await.text, "2");
    assert_eq!(browser.post("/count").await.text, "3");
    assert_eq!(browser.post("/set/color/green").await.status, 200);
    assert_eq!(old.tab().get("/number/n").await.text, "3");
    assert_eq!(old.tab().get("/read/color").await.text, "green");
    assert_eq!(old.post("/count").await.text, "4");
    fleet.clock.advance(Duration::from_secs(4));
    assert_eq!(browser.get("/number/n").await.text, "4");
}

#[tokio::test]
async fn a_restored_session_is_counted_in_even_if_the_store_fails_in_the_middle_of_that() {
    let fleet = Fleet::with(Policy { on_wiped: OnWiped::Restore, ..one_session() });
    let set = |builder: Builder| builder.readmit(|_, _| async { true });
    let browser = logged_in(&fleet.server_with("a", set).await).await;
    let fleet = fleet.wiped();
    let b = fleet.server_with("b", set).await;
    let browser = browser.at(&b);
    fleet.store.plan(Operation::Admit, Fault::Before);
    assert_eq!(browser.get("/who").await.status, 503);
    back(&b).await;
    assert_eq!(browser.get("/who").await.text, "alice");
    let admitted = fleet.store.count(Operation::Admit);
    // And then no more.
    for _ in 0..5 {
        assert_eq!(browser.get("/read/color").await.text, "red");
    }
    assert_eq!(fleet.store.count(Operation::Admit), admitted);
    assert!(gives_way(&browser, &b).await);
}

#[tokio::test]
async fn a_birth_that_was_interrupted_has_what_was_written_to_it_when_it_is_counted_in() {
    let fleet = Fleet::with(one_session());
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = a.browser();
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.post("/login/alice").await.status, 200);
    assert_eq!(browser.at(&b).post("/count").await.text, "1");
    fleet.mend(&[&a, &b]).await;
    fleet.store.plan(Operation::Admit, Fault::Before);
    assert_eq!(browser.get("/who").await.status, 503);
    // What another server took waits until the session is finished: nobody writes to it before.
    let (key, loads) = (stored_key(&browser, &a), fleet.store.count(Operation::Load));
    while fleet.store.count(Operation::Load) < loads + 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(fleet.store.load(key).await.unwrap().unwrap().header.version().count, 1);
    back(&a).await;
    assert_eq!(browser.get("/number/n").await.text, "1");
    assert!(gives_way(&browser, &a).await);
}

#[tokio::test]
async fn a_birth_that_was_interrupted_while_all_of_its_users_were_ended_is_over() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = a.browser();
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.post("/login/alice").await.status, 200);
    fleet.mend(&[&a, &b]).await;
    fleet.store.plan(Operation::Create, Fault::Pause);
    fleet.store.plan(Operation::Admit, Fault::Before);
    let visit = tokio::spawn({
        let browser = browser.tab();
        async move { browser.get("/who").await.status }
    });
    fleet.store.paused().await;
    b.sessions.end_all(&Subject::new("alice")).await.unwrap();
    fleet.store.resume();
    assert_eq!(visit.await.unwrap(), 503);
    back(&a).await;
    for server in [&a, &b] {
        assert_eq!(browser.tab().at(server).get("/who").await.text, "nobody");
    }
    assert_eq!(fleet.store.load(stored_key(&browser, &a)).await.unwrap(), None);
}

#[tokio::test]
async fn a_server_that_saw_a_birth_unfinished_sees_it_finished_at_once() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = a.browser();
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.post("/login/alice").await.status, 200);
    fleet.mend(&[&a, &b]).await;
    fleet.store.plan(Operation::Admit, Fault::Before);
    assert_eq!(browser.get("/who").await.status, 503);
    back(&a).await;
    let bare = browser.tab().at(&b);
    bare.jar.lock().unwrap().retain(|name, _| name == SESSION);
    assert_eq!(bare.tab().get("/who").await.text, "nobody");
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(bare.get("/who").await.text, "alice");
}

#[tokio::test]
async fn who_is_turned_away_late_ends_no_session_that_was_finished_meanwhile() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = a.browser();
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.post("/login/alice").await.status, 200);
    fleet.mend(&[&a, &b]).await;
    // One has put it into the store and read the epoch, and is to have it counted in; another does all of that.
    fleet.store.plan(Operation::Admit, Fault::Pause);
    let visit = tokio::spawn({
        let browser = browser.tab();
        async move { browser.get("/who").await.text }
    });
    fleet.store.paused().await;
    let other = browser.tab().at(&b);
    assert_eq!(other.get("/who").await.text, "alice");
    let own = b.handling(|session: Session| async move { session.end_others().await.map(drop) });
    assert_eq!(other.at(&own).post("/own").await.status, 200);
    fleet.store.resume();
    assert_eq!(visit.await.unwrap(), "alice");
    assert_eq!(other.get("/who").await.text, "alice");
}

#[tokio::test]
async fn who_asks_the_store_after_half_a_logout_has_no_session() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    let (store, other) = (fleet.store.clone(), browser.tab());
    let own = b.handling(move |session: Session| {
        let (store, other) = (store.clone(), other.clone());
        async move {
            assert!(session.subject().await?.is_some());
            let removals = store.count(Operation::Remove);
            store.plan(Operation::Remove, Fault::Hang);
            let logout = tokio::spawn(async move { other.post("/logout").await.status });
            while store.count(Operation::Remove) == removals {
                tokio::task::yield_now().await;
            }
            logout.abort();
            assert!(matches!(session.fresh().await, Err(Error::Ended)));
            Ok(())
        }
    });
    browser.at(&own).post("/own").await;
}

#[tokio::test]
async fn a_server_that_ended_a_session_brings_it_into_no_store_that_forgot_that() {
    let fleet = Fleet::new();
    let model = Arc::new(ModelStore::new(fleet.clock.clone()));
    let fleet = Fleet { store: Arc::new(FaultyStore::new(model.clone())), ..fleet };
    let a = fleet.server("a").await;
    let browser = a.browser();
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.post("/login/alice").await.status, 200);
    let stolen = browser.tab();
    fleet.mend(&[&a]).await;
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.post("/logout").await.status, 200);
    model.put_back(ModelState::default());
    assert_eq!(stolen.get("/who").await.text, "nobody");
}
