//! What a review of the lifeboat found wrong. Each of these failed once.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stayput::{
    Builder, LifeboatKey, Merge, Outage, Overflow, Policy, Session, SessionLimit, Sessions, Subject, Written,
};
use stayput_core::{
    Admission, Admitted, CookieValue, Created, Epoch, Invalidations, Marker, Operation, Record, Replaced,
    SessionStore, StorageKey, StoreFuture, SubjectKey, Timestamp, Touched, Version,
};
use stayput_testkit::{Fault, FaultyStore, ManualClock, TellingStore};

use crate::lifeboat::{Fleet, LIFEBOAT, journal, logged_in, policy};
use crate::near::heard;
use crate::outage::back;
use crate::support::{Browser, SESSION, Server};

/// Asks until the answer is `text`, for two seconds; the copies of `server` age meanwhile.
async fn becomes(server: &Server, browser: &Browser, path: &str, text: &str) -> bool {
    for _ in 0..200 {
        if browser.at(server).get(path).await.text == text {
            return true;
        }
        server.clock.advance(Duration::from_millis(50));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Has `sessions` notice that the store is out.
async fn notice(sessions: &Sessions) {
    while !sessions.store_is_out() {
        let _ = sessions.list(&Subject::new("nobody")).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn the_old_id_of_a_session_born_in_an_outage_is_worth_nothing_after_an_elevation() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = a.browser();
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.post("/login/alice").await.status, 200);
    let stolen = browser.tab();
    fleet.mend(&[&a]).await;
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.post("/elevate").await.status, 200);
    fleet.clock.advance(Duration::from_secs(31));
    assert_eq!(stolen.get("/who").await.text, "nobody");
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn what_a_login_in_an_outage_took_the_place_of_is_ended_in_the_store_too() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    let stolen = browser.tab();
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.post("/login/bob").await.status, 200);
    fleet.mend(&[&a, &b]).await;
    assert!(becomes(&b, &stolen, "/who", "nobody").await);
}

#[tokio::test]
async fn a_session_that_this_server_ended_is_not_served_from_its_lifeboat_when_the_store_is_out_then() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = logged_in(&a).await;
    let stolen = browser.tab();
    assert_eq!(browser.post("/logout").await.status, 200);
    fleet.break_down(&[&a]).await;
    let reply = stolen.get("/who").await;
    assert_ne!(reply.text, "alice");
    assert_ne!(stolen.post("/count").await.status, 200);
}

#[tokio::test]
async fn an_id_that_this_server_knows_was_left_behind_is_not_served_from_its_lifeboat() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = logged_in(&a).await;
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
async fn a_copy_that_is_newer_by_something_undeclared_hides_no_write_of_another_server() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    // The lifeboat stays as it is.
    assert_eq!(browser.post("/set/secret/new").await.status, 200);
    heard().await;
    browser.get("/who").await;
    heard().await;
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.get("/read/secret").await.text, "new");
    assert_eq!(browser.at(&b).post("/count").await.text, "2");
    assert_eq!(browser.get("/number/n").await.text, "2");
    assert_eq!(browser.post("/count").await.text, "3");
    assert_eq!(browser.at(&b).get("/number/n").await.text, "3");
}

#[tokio::test]
async fn a_commit_whose_outcome_is_unknown_is_not_made_again_adrift() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = logged_in(&a).await;
    let (store, sessions) = (fleet.store.clone(), a.sessions.clone());
    let own = a.handling(move |session: Session| {
        let (store, sessions) = (store.clone(), sessions.clone());
        async move {
            session.insert("n", 2)?;
            store.break_down(Fault::After);
            assert!(session.save().await.is_err());
            notice(&sessions).await;
            Ok(())
        }
    });
    let reply = browser.at(&own).post("/own").await;
    fleet.mend(&[&a]).await;
    assert_eq!((browser.get("/number/n").await.text.as_str(), reply.status.as_u16()), ("2", 503));
}

#[tokio::test]
async fn what_was_read_from_the_store_for_want_of_trust_in_copies_is_not_written_adrift() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = logged_in(&a).await;
    let (store, sessions) = (fleet.store.clone(), a.sessions.clone());
    let own = a.handling(move |session: Session| {
        let (store, sessions) = (store.clone(), sessions.clone());
        async move {
            session.fresh().await?;
            store.break_down(Fault::Before);
            notice(&sessions).await;
            session.update("n", |n: &mut u32| *n += 1).await.map(|_| ())
        }
    });
    assert_eq!(browser.at(&own).post("/own").await.status, 503);
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
async fn a_write_that_has_no_room_in_the_lifeboat_is_not_unseen_on_another_server() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    assert_eq!(browser.at(&b).get("/read/color").await.text, "red");
    fleet.break_down(&[&a, &b]).await;
    let long = "x".repeat(2000);
    let written = browser.post(&format!("/set/color/{long}")).await;
    let seen = browser.at(&b).get("/read/color").await;
    // Either it is refused, or it isn't known elsewhere; but not both accepted and forgotten.
    assert!(written.status == 503 || seen.text != "red", "{} {}", written.status, seen.text);
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

#[tokio::test]
async fn what_a_client_began_that_goes_away_reaches_the_store() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let (writer, leaver) = (logged_in(&a).await, logged_in(&a).await);
    let stolen = leaver.tab();
    fleet.break_down(&[&a, &b]).await;
    for (browser, path) in [(&writer, "/count"), (&leaver, "/logout")] {
        let mut request = Box::pin(browser.post(path));
        // Usually it waits for the journal now.
        let _ = futures_util::FutureExt::now_or_never(&mut request);
    }
    fleet.mend(&[&a, &b]).await;
    assert!(becomes(&b, &stolen, "/who", "nobody").await);
    assert!(becomes(&b, &writer, "/number/n", "2").await);
}

#[tokio::test]
async fn a_merge_that_panics_stops_nobody_elses_replay() {
    let lifeboat = vec![LifeboatKey::written("n", Merge::Add), LifeboatKey::written("color", Merge::Own)];
    let fleet = Fleet::with(Policy { lifeboat, ..policy() });
    let set = |builder: Builder| {
        builder.merge("color", |written: Written<String>| {
            assert_eq!(written.before, written.stored, "planned by the test");
            written.after
        })
    };
    let (a, b) = (fleet.server_with("a", set).await, fleet.server_with("b", set).await);
    let browser = logged_in(&a).await;
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(logged_in(&a).await);
    }
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.post("/set/color/blue").await.status, 200);
    for other in &others {
        assert_eq!(other.post("/count").await.text, "2");
    }
    fleet.store.mend();
    browser.tab().at(&b).post("/set/color/green").await;
    back(&a).await;
    for other in &others {
        assert!(becomes(&b, &other.tab(), "/number/n", "2").await);
    }
    assert_eq!(browser.get("/read/color").await.text, "green");
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
async fn a_swap_that_comes_late_is_not_made_twice() {
    let fleet = Fleet::with(Policy { store_timeout: Duration::from_millis(100), ..policy() });
    let late = Arc::new(LateStore::over(fleet.store.clone()));
    let journal = journal(&fleet.dir.path().join("a")).await;
    let remote = Arc::new(TellingStore::new(late.clone()));
    let a =
        Server::near(remote, fleet.store.clone(), fleet.clock.clone(), fleet.keyring.clone(), |builder| {
            builder.policy(fleet.policy.clone()).journal(journal)
        });
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.post("/count").await.text, "2");
    // The replay's swap, both tries of it, is on its way for longer than anybody waits.
    late.is_late.store(true, Ordering::SeqCst);
    fleet.mend(&[&a]).await;
    while late.waiting.lock().unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    late.is_late.store(false, Ordering::SeqCst);
    back(&a).await;
    while !late.waiting.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    back(&a).await;
    assert_eq!(browser.get("/number/n").await.text, "2");
}

#[tokio::test]
async fn writes_to_a_session_that_can_not_be_read_any_more_are_given_up() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.post("/count").await.text, "2");
    let key = stored_key(&browser, &a);
    let record = {
        fleet.store.mend();
        let record = fleet.store.load(key).await.unwrap().unwrap();
        fleet.store.break_down(Fault::Before);
        record
    };
    // Somebody changed its bytes.
    let mut bytes = record.encode();
    *bytes.last_mut().unwrap() ^= 1;
    let next = Record::decode(&bytes).unwrap();
    fleet.store.mend();
    let _ = fleet.store.replace(key, next, record.header.version()).await.unwrap();
    back(&a).await;
    for _ in 0..500 {
        if a.take_events().contains(&"not_replayed ended".to_owned()) {
            assert_eq!(browser.get("/who").await.text, "nobody");
            return;
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    panic!("it waits for good, and its user with it: {}", browser.get("/who").await.status);
}

fn stored_key(browser: &Browser, server: &Server) -> StorageKey {
    let cookie = browser.cookie(SESSION).unwrap();
    let decoded = CookieValue::decode(SESSION, cookie.as_bytes(), &server.keyring.current()).unwrap();
    decoded.value.id.storage_key()
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

#[tokio::test]
async fn a_logout_with_the_id_left_behind_takes_no_newer_cookie_away() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = logged_in(&a).await;
    let late = browser.tab();
    assert_eq!(browser.post("/elevate").await.status, 200);
    heard().await;
    late.get("/who").await;
    heard().await;
    fleet.break_down(&[&a]).await;
    let reply = late.post("/logout").await;
    assert_eq!((reply.status.as_u16(), reply.cookies.len()), (409, 0));
}

#[test]
fn what_a_journal_has_is_replayed_by_sessions_that_were_built_outside_of_a_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fleet = Fleet::new();
    let first = runtime();
    let stolen = first.block_on(async {
        let a = fleet.server("a").await;
        let browser = logged_in(&a).await;
        let stolen = browser.tab().jar;
        fleet.break_down(&[&a]).await;
        assert_eq!(browser.post("/logout").await.status, 200);
        stolen
    });
    drop(first);
    fleet.store.mend();
    let journal = runtime().block_on(journal(&fleet.dir.path().join("a")));
    let remote = Arc::new(TellingStore::new(fleet.store.clone()));
    let a =
        Server::near(remote, fleet.store.clone(), fleet.clock.clone(), fleet.keyring.clone(), |builder| {
            builder.policy(fleet.policy.clone()).journal(journal)
        });
    runtime().block_on(async {
        let b = fleet.server("b").await;
        let somebody = logged_in(&b).await;
        assert_eq!(somebody.at(&a).get("/who").await.text, "alice");
        assert!(becomes(&b, &b.browser_with(stolen), "/who", "nobody").await);
    });
}

#[tokio::test]
async fn the_last_of_three_writes_on_two_servers_is_the_one_that_stays() {
    for is_a_first in [false, true] {
        let fleet = Fleet::new();
        let (a, b) = (fleet.server("a").await, fleet.server("b").await);
        let browser = logged_in(&a).await;
        fleet.break_down(&[&a, &b]).await;
        for (server, color) in [(&a, "blue"), (&b, "green"), (&a, "yellow")] {
            assert_eq!(browser.at(server).post(&format!("/set/color/{color}")).await.status, 200);
        }
        let order = if is_a_first { [&a, &b] } else { [&b, &a] };
        fleet.store.mend();
        for server in order {
            back(server).await;
            browser.tab().at(server).get("/who").await;
        }
        assert_eq!(browser.tab().get("/read/color").await.text, "yellow", "{is_a_first}");
    }
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
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = logged_in(&a).await;
    let (boat, cookie) = (browser.cookie(LIFEBOAT).unwrap(), browser.cookie(SESSION).unwrap());
    let label: Vec<_> = boat.split('.').collect();
    let made_up = format!("{}.{}.0.{}.AAAA", label[0], label[1], u64::MAX);
    let reply = browser.sending(&[(SESSION, &cookie), (LIFEBOAT, &made_up)]).get("/who").await;
    assert!(reply.cookies.iter().any(|cookie| cookie.starts_with(LIFEBOAT)));
}

#[tokio::test]
async fn a_server_that_died_between_a_swap_and_its_note_makes_it_once() {
    for fault in [Fault::Pause, Fault::PauseAfter] {
        let fleet = Fleet::new();
        let a = fleet.server("a").await;
        let browser = logged_in(&a).await;
        fleet.break_down(&[&a]).await;
        assert_eq!(browser.post("/count").await.text, "2");
        fleet.store.plan(Operation::Replace, fault);
        fleet.store.mend();
        fleet.store.paused().await;
        // The journal as it would be found.
        std::fs::copy(fleet.dir.path().join("a"), fleet.dir.path().join("c")).unwrap();
        let c = fleet.server("c").await;
        for _ in 0..2 {
            assert_eq!(browser.tab().at(&c).get("/number/n").await.text, "2", "{fault:?}");
            fleet.store.resume();
            back(&a).await;
        }
        assert!(becomes(&a, &browser.tab(), "/number/n", "2").await, "{fault:?}");
    }
}

/// Handlers that wait for the end of a session are not to be told of it by the end of an outage.
#[tokio::test]
async fn a_session_born_in_an_outage_has_not_ended_when_the_store_is_back() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = a.browser();
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.post("/login/alice").await.status, 200);
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
async fn a_journal_without_lifeboats_is_a_mistake() {
    let fleet = Fleet::with(Policy { outage: Outage::ReadOnly, lifeboat: Vec::new(), ..policy() });
    let journal = journal(&fleet.dir.path().join("a")).await;
    let built = Sessions::builder_shared(fleet.store.clone() as Arc<dyn SessionStore>)
        .policy(fleet.policy.clone())
        .journal(journal)
        .build();
    assert!(built.unwrap_err().mistakes()[0].contains("journal"));
}

#[tokio::test]
async fn what_waits_for_the_store_is_seen_however_long_ago_it_was_written() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.post("/count").await.text, "2");
    fleet.clock.advance(Duration::from_mins(16));
    // From here on the store answers who reads, and takes no writes.
    for _ in 0..1_000 {
        fleet.store.plan(Operation::Replace, Fault::Before);
    }
    fleet.mend(&[&a]).await;
    let mut reply = browser.get("/number/n").await;
    while reply.status == 503 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        reply = browser.get("/number/n").await;
    }
    assert_eq!(reply.text, "2");
}

#[tokio::test]
async fn a_logout_that_was_given_up_in_the_middle_lets_no_lifeboat_bring_the_session_back() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = a.browser();
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.post("/login/alice").await.status, 200);
    let stolen = browser.tab();
    fleet.mend(&[&a]).await;
    assert_eq!(browser.post("/count").await.text, "1");
    fleet.store.plan(Operation::Remove, Fault::Hang);
    let removals = fleet.store.count(Operation::Remove);
    let logout = tokio::spawn({
        let browser = browser.tab();
        async move { browser.post("/logout").await.status }
    });
    while fleet.store.count(Operation::Remove) == removals {
        tokio::task::yield_now().await;
    }
    logout.abort();
    let _ = logout.await;
    heard().await;
    assert_eq!(stolen.get("/who").await.text, "nobody");
    assert_eq!(browser.at(&fleet.server("b").await).get("/who").await.text, "nobody");
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

/// A store whose swaps can be on their way for a long time: they are made before the next one. What is to be created then is
/// left to the test.
#[derive(Debug)]
struct LateStore {
    store: Arc<FaultyStore>,
    is_late: AtomicBool,
    waiting: Mutex<VecDeque<(StorageKey, Record, Version)>>,
    born: Mutex<Vec<(StorageKey, Record)>>,
}

impl LateStore {
    fn over(store: Arc<FaultyStore>) -> Self {
        let (waiting, born) = (Mutex::default(), Mutex::default());
        Self { store, is_late: AtomicBool::new(false), waiting, born }
    }
}

impl SessionStore for LateStore {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn create(&self, key: StorageKey, record: Record) -> StoreFuture<'_, Created> {
        if self.is_late.load(Ordering::SeqCst) {
            self.born.lock().unwrap().push((key, record));
            return StoreFuture::new(std::future::pending());
        }
        self.store.create(key, record)
    }

    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Arc<Record>>> {
        self.store.load(key)
    }

    fn replace(&self, key: StorageKey, record: Record, expected: Version) -> StoreFuture<'_, Replaced> {
        if self.is_late.load(Ordering::SeqCst) {
            self.waiting.lock().unwrap().push_back((key, record, expected));
            return StoreFuture::new(std::future::pending());
        }
        StoreFuture::new(async move {
            loop {
                let next = self.waiting.lock().unwrap().pop_front();
                let Some((key, record, expected)) = next else { break };
                let _ = self.store.replace(key, record, expected).await?;
            }
            self.store.replace(key, record, expected).await
        })
    }

    fn touch(&self, key: StorageKey, expires: Timestamp) -> StoreFuture<'_, Touched> {
        self.store.touch(key, expires)
    }

    fn remove(&self, key: StorageKey) -> StoreFuture<'_, ()> {
        self.store.remove(key)
    }

    fn admit(&self, subject: SubjectKey, key: StorageKey, admission: Admission) -> StoreFuture<'_, Admitted> {
        self.store.admit(subject, key, admission)
    }

    fn subject_sessions(&self, subject: SubjectKey) -> StoreFuture<'_, Vec<StorageKey>> {
        self.store.subject_sessions(subject)
    }

    fn end_subject(&self, subject: SubjectKey, except: Option<StorageKey>) -> StoreFuture<'_, Option<usize>> {
        self.store.end_subject(subject, except)
    }

    fn subject_epoch(&self, subject: SubjectKey) -> StoreFuture<'_, Epoch> {
        self.store.subject_epoch(subject)
    }

    fn sweep(&self, limit: usize) -> StoreFuture<'_, usize> {
        self.store.sweep(limit)
    }

    fn marker(&self) -> StoreFuture<'_, Option<Marker>> {
        self.store.marker()
    }

    fn invalidations(&self) -> Option<Invalidations> {
        self.store.invalidations()
    }
}
