//! What ends a copy: word of a change, the lack of word, and what was done here.

use std::time::Duration;

use stayput::Subject;
use stayput_core::Operation;
use stayput_testkit::Fault;

use super::{Pair, heard, read};
use crate::support::{ANONYMOUS, SESSION};

#[tokio::test]
async fn what_others_change_shows_when_it_is_told() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let other = browser.tab();
    pair.store.hold();
    other.at(&pair.b).post("/set/color/blue").await;
    let (loads, reply) = pair.loads(browser.get("/read/color")).await;
    assert_eq!((loads, reply.text.as_str()), (0, "red"));
    pair.store.release();
    heard().await;
    assert_eq!(browser.get("/read/color").await.text, "blue");
}

#[tokio::test]
async fn what_is_not_told_shows_when_the_lease_is_over() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let other = browser.tab();
    pair.store.hold();
    other.at(&pair.b).post("/set/color/blue").await;
    pair.clock.advance(Duration::from_millis(999));
    assert_eq!(browser.get("/read/color").await.text, "red");
    // The pulse is over, so the short lease counts; and over it is soon, too.
    pair.clock.advance(Duration::from_millis(1001));
    assert_eq!(browser.get("/read/color").await.text, "blue");
}

#[tokio::test]
async fn a_logout_elsewhere_counts_when_it_is_told_or_the_lease_is_over() {
    for is_told in [true, false] {
        let pair = Pair::new();
        let browser = pair.logged_in().await;
        let other = browser.tab();
        pair.store.hold();
        other.at(&pair.b).post("/logout").await;
        assert_eq!(browser.get("/who").await.text, "alice");
        if is_told {
            pair.store.release();
            heard().await;
        } else {
            pair.clock.advance(Duration::from_secs(2));
        }
        assert_eq!(browser.get("/who").await.text, "nobody");
    }
}

#[tokio::test]
async fn a_logout_here_counts_at_once_even_if_the_store_forgets_it() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let tab = browser.tab();
    browser.post("/logout").await;
    let (loads, reply) = pair.loads(tab.get("/who")).await;
    assert_eq!((loads, reply.text.as_str()), (0, "nobody"));
    // A break of the stream makes no difference to that.
    pair.store.lose();
    heard().await;
    let (loads, reply) = pair.loads(tab.get("/who")).await;
    assert_eq!((loads, reply.text.as_str()), (0, "nobody"));
}

#[tokio::test]
async fn a_logout_here_counts_where_no_copy_will_do_too() {
    let pair = Pair::new();
    let other = pair.logged_in().await;
    let session = other.cookie(SESSION).unwrap();
    other.post("/logout").await;
    let browser = pair.a.browser();
    browser.post("/set/color/red").await;
    let anonymous = browser.cookie(ANONYMOUS).unwrap();
    browser.post("/logout").await;
    // The second has no version cookie: copies of it may be too old, and the store is asked. One that failed over may have
    // forgotten the logout.
    let both = browser.sending(&[(SESSION, &*session), (ANONYMOUS, &*anonymous)]);
    let (loads, reply) = pair.loads(both.get("/read/color")).await;
    assert_eq!((loads, reply.text.as_str()), (0, ""));
}

#[tokio::test]
async fn who_ends_all_sessions_of_a_subject_ends_their_copies() {
    let pair = Pair::new();
    let (browser, other) = (pair.logged_in().await, pair.logged_in().await);
    pair.store.hold();
    pair.a.sessions.end_all(&Subject::new("alice")).await.unwrap();
    for browser in [browser, other] {
        assert_eq!(browser.get("/who").await.text, "nobody");
    }
}

#[tokio::test]
async fn who_ends_all_sessions_of_a_subject_at_the_second_try_ends_their_copies() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    pair.store.hold();
    pair.faults.plan(Operation::EndSubject, Fault::After);
    pair.a.sessions.end_all(&Subject::new("alice")).await.unwrap();
    assert_eq!(browser.get("/who").await.text, "nobody");
}

#[tokio::test]
async fn a_lost_message_makes_all_copies_worthless() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let other = browser.tab();
    pair.store.hold();
    other.at(&pair.b).post("/set/color/blue").await;
    pair.store.drop_waiting();
    pair.store.release();
    pair.store.lose();
    heard().await;
    assert_eq!(browser.get("/read/color").await.text, "blue");
}

#[tokio::test]
async fn a_lease_runs_from_when_the_store_was_asked() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let slow = pair.slow_read(&browser).await;
    pair.clock.advance(Duration::from_millis(1900));
    pair.faults.resume();
    assert_eq!(slow.await.unwrap(), "red");
    pair.clock.advance(Duration::from_millis(100));
    let (loads, _) = pair.loads(read(browser.tab())).await;
    assert_eq!(loads, 1);
}

#[tokio::test]
async fn long_leases_need_a_pulse_and_end_by_themselves() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    for _ in 0..29 {
        pair.clock.advance(Duration::from_secs(1));
        pair.pulse().await;
        let (loads, _) = pair.loads(browser.get("/read/color")).await;
        assert_eq!(loads, 0);
    }
    pair.clock.advance(Duration::from_secs(1));
    pair.pulse().await;
    let (loads, _) = pair.loads(browser.get("/read/color")).await;
    assert_eq!(loads, 1);
}
