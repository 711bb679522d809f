//! What a copy spares the store, and what it shows.

use std::time::Duration;

use stayput::NearCache;
use stayput_core::Operation;
use stayput_testkit::Fault;

use super::{Pair, VERSION, heard};
use crate::support::{ANONYMOUS, SESSION};

#[tokio::test]
async fn a_read_again_asks_the_store_for_nothing() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let calls = pair.store.calls();
    for _ in 0..10 {
        let reply = browser.get("/read/color").await;
        assert_eq!((reply.text.as_str(), reply.cookies.len()), ("red", 0));
    }
    assert_eq!(pair.store.calls(), calls);
}

#[tokio::test]
async fn a_write_takes_one_call_of_the_store_and_so_does_the_next() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    for n in 1..=10 {
        let calls = pair.store.calls();
        assert_eq!(browser.post("/count").await.text, n.to_string());
        heard().await;
        assert_eq!(pair.store.calls() - calls, 1, "at {n}");
    }
}

#[tokio::test]
async fn who_waits_for_answers_reads_their_own_writes_on_every_server() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    browser.at(&pair.b).get("/read/color").await;
    // Nobody hears anything from here on, and leases run.
    pair.store.hold();
    for n in 1..=10 {
        let (writer, reader) = if n % 2 == 0 { (&pair.a, &pair.b) } else { (&pair.b, &pair.a) };
        assert_eq!(browser.at(writer).post("/count").await.text, n.to_string());
        assert_eq!(browser.at(reader).get("/number/n").await.text, n.to_string());
    }
}

#[tokio::test]
async fn who_shows_two_sessions_reads_their_own_writes_to_the_second() {
    let pair = Pair::new();
    let other = pair.logged_in().await;
    let [session, version] = [SESSION, VERSION].map(|name| other.cookie(name).unwrap());
    other.post("/logout").await;
    let browser = pair.a.browser();
    browser.post("/set/color/red").await;
    heard().await;
    pair.pulse().await;
    browser.get("/read/color").await;
    browser.at(&pair.b).get("/read/color").await;
    heard().await;
    // Nobody hears of the change.
    pair.store.hold();
    browser.post("/set/color/blue").await;
    let anonymous = browser.cookie(ANONYMOUS).unwrap();
    let both = [(SESSION, &*session), (ANONYMOUS, &*anonymous), (VERSION, &*version)];
    assert_eq!(browser.sending(&both).at(&pair.b).get("/read/color").await.text, "blue");
}

#[tokio::test]
async fn a_write_that_changes_nothing_in_a_copy_is_made_again_on_what_there_is() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let other = browser.tab();
    pair.store.hold();
    other.at(&pair.b).post("/set/color/blue").await;
    // Its copy says that it is red already.
    browser.post("/set/color/red").await;
    assert_eq!(browser.at(&pair.b).get("/read/color").await.text, "red");
}

#[tokio::test]
async fn a_renewed_cookie_is_good_wherever_a_copy_is_from_before_the_renewal() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let interval = pair.a.sessions.policy().renewal_interval;
    pair.clock.advance(interval.saturating_sub(Duration::from_secs(1)));
    for _ in 0..2 {
        assert_eq!(browser.get("/read/color").await.text, "red");
    }
    pair.store.hold();
    pair.clock.advance(Duration::from_secs(1));
    let renewed = browser.at(&pair.b).get("/read/color").await;
    assert!(renewed.cookies.iter().any(|cookie| cookie.starts_with(crate::support::SESSION)), "{renewed:?}");
    // An answer that was late, or the browser, has it without the version that it came with.
    browser.jar.lock().unwrap().remove(VERSION);
    let (loads, reply) = pair.loads(browser.get("/read/color")).await;
    assert_eq!((loads, reply.text.as_str()), (1, "red"));
}

#[tokio::test]
async fn an_old_copy_hands_out_no_cookie_to_who_is_let_in_by_it_alone() {
    let lease = Duration::from_mins(10);
    let pair = Pair::with(&NearCache { lease, short_lease: lease, ..NearCache::default() });
    let browser = pair.logged_in().await;
    let stale = browser.sending(&[(SESSION, &browser.cookie(SESSION).unwrap())]);
    let policy = pair.a.sessions.policy();
    pair.clock.advance(policy.renewal_interval);
    browser.get("/who").await;
    heard().await;
    // The other server has a copy of the session as it was renewed, and hears of nothing from here on.
    assert_eq!(stale.tab().at(&pair.b).get("/who").await.text, "alice");
    pair.store.hold();
    browser.get("/who").await;
    pair.clock.advance(policy.grace);
    let (loads, reply) = pair.loads(stale.at(&pair.b).get("/who")).await;
    let is_given = reply.cookies.iter().any(|cookie| cookie.starts_with(SESSION));
    assert_eq!((&*reply.text, is_given, loads), ("alice", false, 1));
}

#[tokio::test]
async fn who_logged_in_elsewhere_is_not_put_back_by_a_late_answer_and_a_copy() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let before = browser.cookie(crate::support::SESSION).unwrap();
    pair.store.hold();
    browser.at(&pair.b).post("/login/bob").await;
    browser.jar.lock().unwrap().insert(crate::support::SESSION.to_owned(), before);
    assert_eq!(browser.get("/who").await.text, "bob");
}

#[tokio::test]
async fn what_a_failed_write_may_have_done_is_read_from_the_store() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let tab = browser.tab();
    pair.store.hold();
    // It is done, and looking for it fails.
    pair.faults.plan(Operation::Replace, Fault::After);
    pair.faults.plan(Operation::Replace, Fault::Before);
    assert_eq!(browser.post("/set/color/blue").await.status, 503);
    assert_eq!(tab.get("/read/color").await.text, "blue");
}

#[tokio::test]
async fn a_copy_past_its_deadline_is_none() {
    let day = Duration::from_hours(24);
    let pair = Pair::with(&NearCache { lease: day, short_lease: day, ..NearCache::default() });
    let browser = pair.logged_in().await;
    let idle = pair.a.sessions.policy().idle_timeout;
    pair.clock.advance(idle);
    pair.pulse().await;
    assert_eq!(browser.get("/who").await.text, "nobody");
}
