//! Who is served from a lifeboat, and who is not.

use std::time::Duration;

use stayput_core::Operation;
use stayput_testkit::Fault;

use super::{Fleet, LIFEBOAT, logged_in, one_server};
use crate::near::heard;
use crate::support::{Reply, SESSION};

#[tokio::test]
async fn a_server_that_never_saw_a_session_serves_it_from_its_lifeboat() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a, &b]).await;
    let elsewhere = browser.at(&b);
    assert_eq!(elsewhere.get("/who").await.text, "alice");
    assert_eq!(elsewhere.get("/read/name").await.text, "Alice");
    assert_eq!(elsewhere.get("/read/color").await.text, "red");
    // What wasn't declared is not taken for something that isn't there.
    assert_eq!(elsewhere.get("/read/secret").await.status, 503);
    // Where there is a copy, all of it is there.
    assert_eq!(browser.get("/read/secret").await.text, "s3cret");
}

#[tokio::test]
async fn of_a_copy_and_a_lifeboat_the_newer_one_is_served() {
    let (fleet, a, browser) = one_server().await;
    // Not what a lifeboat carries, so the one there is stays.
    let boat = browser.cookie(LIFEBOAT);
    assert_eq!(browser.post("/set/secret/newer").await.status, 200);
    assert_eq!(browser.cookie(LIFEBOAT), boat);
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.get("/read/secret").await.text, "newer");
}

#[tokio::test]
async fn a_server_without_copies_serves_from_lifeboats() {
    let fleet = Fleet::new();
    let server = fleet.server_with("a", |builder| builder.near_cache(None)).await;
    let browser = logged_in(&server).await;
    fleet.break_down(&[&server]).await;
    for _ in 0..10 {
        assert_eq!(browser.get("/who").await.text, "alice");
    }
    assert_eq!(browser.post("/count").await.text, "2");
    fleet.mend(&[&server]).await;
    assert_eq!(browser.get("/number/n").await.text, "2");
}

#[tokio::test]
async fn who_comes_first_in_an_outage_is_served_too_unless_it_is_unknown_whether_they_were() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let (browser, leaver) = (logged_in(&a).await, logged_in(&a).await);
    // What surely wasn't done is done here.
    fleet.store.plan(Operation::Replace, Fault::Before);
    assert_eq!(browser.post("/count").await.text, "2");
    assert_eq!(browser.get("/number/n").await.text, "2");
    // What may have been done would be done twice.
    for fault in [Fault::Before, Fault::After] {
        fleet.store.plan(Operation::Replace, Fault::After);
        fleet.store.plan(Operation::Replace, fault);
        assert_eq!(browser.post("/count").await.status, 503, "{fault:?}");
    }
    assert_eq!(browser.post("/count").await.text, "5");
    // A logout may be done twice.
    fleet.store.plan(Operation::Remove, Fault::After);
    assert_eq!(leaver.post("/logout").await.status, 200);
    let stolen = leaver.tab();
    assert_eq!(stolen.get("/who").await.text, "nobody");
}

#[tokio::test]
async fn nothing_adrift_makes_a_session_live_longer_than_max_age() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a, &b]).await;
    for minute in 0..14 {
        assert_eq!(browser.at(&b).get("/who").await.text, "alice", "{minute}");
        assert_eq!(browser.at(&b).post("/count").await.status, 200, "{minute}");
        assert_eq!(browser.post("/count").await.status, 200, "{minute}");
        fleet.clock.advance(Duration::from_mins(1));
    }
    fleet.clock.advance(Duration::from_mins(1));
    let cookie = browser.cookie(SESSION);
    for server in [&a, &b] {
        for reply in [browser.at(server).get("/who").await, browser.at(server).post("/count").await] {
            assert_eq!((reply.status.as_u16(), reply.cookies.len()), (503, 0));
        }
    }
    assert_eq!(browser.cookie(SESSION), cookie);
    fleet.mend(&[&a, &b]).await;
    // What was done before is there.
    browser.get("/who").await;
    assert_eq!(browser.at(&b).get("/number/n").await.text, "29");
}

#[tokio::test]
async fn lifeboats_are_sealed_anew_while_their_users_are_active_and_not_with_every_request() {
    let (fleet, a, browser) = one_server().await;
    let boats = |reply: &Reply| reply.cookies.iter().filter(|cookie| cookie.starts_with(LIFEBOAT)).count();
    for _ in 0..10 {
        assert_eq!(boats(&browser.get("/who").await), 0);
    }
    // A write of something else leaves it as it is.
    assert_eq!(boats(&browser.post("/set/secret/new").await), 0);
    assert_eq!(boats(&browser.post("/set/color/blue").await), 1);
    assert_eq!(boats(&browser.post("/count").await), 1);
    fleet.clock.advance(Duration::from_mins(4));
    assert_eq!(boats(&browser.get("/who").await), 0);
    fleet.clock.advance(Duration::from_mins(1));
    assert_eq!(boats(&browser.get("/who").await), 1);
    fleet.clock.advance(Duration::from_mins(11));
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.at(&fleet.server("b").await).get("/read/color").await.text, "blue");
}

#[tokio::test]
async fn a_lifeboat_is_worth_nothing_without_its_sessions_cookie_or_with_anothers() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let (alice, bob) = (logged_in(&a).await, a.browser());
    bob.post("/login/bob").await;
    let (boat, cookie) = (alice.cookie(LIFEBOAT).unwrap(), alice.cookie(SESSION).unwrap());
    fleet.break_down(&[&a, &b]).await;
    let only = alice.sending(&[(LIFEBOAT, &boat)]).at(&b);
    assert_eq!(only.get("/who").await.text, "nobody");
    let anothers = alice.sending(&[(LIFEBOAT, &bob.cookie(LIFEBOAT).unwrap()), (SESSION, &cookie)]).at(&b);
    assert_eq!(anothers.get("/who").await.status, 503);
    let mut changed = boat.into_bytes();
    for place in 0..changed.len() {
        let kept = changed[place];
        changed[place] = if kept == b'1' { b'2' } else { b'1' };
        let value = String::from_utf8(changed.clone()).unwrap();
        let reply = alice.sending(&[(LIFEBOAT, &value), (SESSION, &cookie)]).at(&b).get("/who").await;
        assert_eq!((reply.status.as_u16(), reply.cookies.len()), (503, 0), "{place}");
        changed[place] = kept;
    }
}

#[tokio::test]
async fn values_that_have_no_room_are_not_taken_for_missing() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    let long = "x".repeat(2000);
    assert_eq!(browser.post(&format!("/set/color/{long}")).await.status, 200);
    assert!(browser.cookie(LIFEBOAT).unwrap().len() <= 2048);
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.at(&b).get("/read/name").await.text, "Alice");
    assert_eq!(browser.at(&b).get("/read/color").await.status, 503);
    assert_eq!(browser.at(&b).post("/set/color/blue").await.status, 503);
}

#[tokio::test]
async fn a_session_that_this_server_ended_is_not_served_from_its_lifeboat_when_the_store_is_out_then() {
    let (fleet, a, browser) = one_server().await;
    let stolen = browser.tab();
    assert_eq!(browser.post("/logout").await.status, 200);
    fleet.break_down(&[&a]).await;
    let reply = stolen.get("/who").await;
    assert_ne!(reply.text, "alice");
    assert_ne!(stolen.post("/count").await.status, 200);
}

#[tokio::test]
async fn an_id_that_this_server_knows_was_left_behind_is_not_served_from_its_lifeboat() {
    let (fleet, a, browser) = one_server().await;
    let stolen = browser.tab();
    assert_eq!(browser.post("/elevate").await.status, 200);
    heard().await;
    stolen.get("/who").await;
    heard().await;
    fleet.break_down(&[&a]).await;
    for _ in 0..2 {
        assert_ne!(stolen.post("/count").await.status, 200);
        fleet.clock.advance(Duration::from_secs(31));
    }
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_server_that_reads_that_a_session_was_ended_serves_it_no_more() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    assert_eq!(browser.at(&b).get("/who").await.text, "alice");
    let (cookie, stolen) = (browser.cookie(SESSION).unwrap(), browser.tab());
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.post("/logout").await.status, 200);
    // A late answer put it back.
    let ended = browser.cookie(LIFEBOAT).unwrap();
    let late = browser.sending(&[(SESSION, &cookie), (LIFEBOAT, &ended)]).at(&b);
    assert_eq!(late.get("/who").await.text, "nobody");
    assert_eq!(stolen.at(&b).get("/who").await.text, "nobody");
}

/// Any bytes may stand in the cookie.
#[tokio::test]
async fn hostile_lifeboats_are_none() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    let (boat, cookie) = (browser.cookie(LIFEBOAT).unwrap(), browser.cookie(SESSION).unwrap());
    let tag = boat.split('.').next().unwrap();
    let long = "A".repeat(5000);
    let most = format!("{tag}.{}.{}.{}.AAAA", u64::MAX, u32::MAX, u64::MAX);
    let hostile = [
        "",
        ".",
        "ended.",
        "ended",
        "ended.AAAA",
        "....",
        "ended..",
        &long,
        &format!("ended.{long}"),
        &most,
        &format!("{tag}.+1.0.0."),
        &format!("{tag}.1.4294967296.0.AA"),
        &format!("{tag}....."),
        &format!("{tag}.18446744073709551616.0.0.AA"),
        &format!("{boat}."),
        &format!(".{boat}"),
    ];
    for value in hostile {
        let reply = browser.sending(&[(SESSION, &cookie), (LIFEBOAT, value)]).get("/who").await;
        assert_eq!(reply.text, "alice", "{value}");
    }
    fleet.break_down(&[&a, &b]).await;
    for value in hostile {
        let reply = browser.sending(&[(SESSION, &cookie), (LIFEBOAT, value)]).at(&b).get("/who").await;
        assert_eq!((reply.status.as_u16(), reply.cookies.len()), (503, 0), "{value}");
    }
}

/// A made-up label keeps nobody without a lifeboat for longer than it takes to see that it can't be true.
#[tokio::test]
async fn a_lifeboat_from_the_future_is_replaced() {
    let (_fleet, _a, browser) = one_server().await;
    let (boat, cookie) = (browser.cookie(LIFEBOAT).unwrap(), browser.cookie(SESSION).unwrap());
    let label: Vec<_> = boat.split('.').collect();
    let made_up = format!("{}.{}.0.{}.AAAA", label[0], label[1], u64::MAX);
    let reply = browser.sending(&[(SESSION, &cookie), (LIFEBOAT, &made_up)]).get("/who").await;
    assert!(reply.cookies.iter().any(|cookie| cookie.starts_with(LIFEBOAT)));
}
