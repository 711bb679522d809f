//! What is written in an outage is in the store afterwards, once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stayput::{Policy, Session};
use stayput_core::{Operation, Record, SessionStore};
use stayput_testkit::{Fault, TellingStore};

use super::late::LateStore;
use super::{Fleet, adrift, journal, logged_in, notice, one_server, policy, stored_key};
use crate::near::heard;
use crate::outage::back;
use crate::support::Server;

#[tokio::test]
async fn what_was_written_in_an_outage_is_in_the_store_afterwards_exactly_once() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a, &b]).await;
    for number in 2..=5 {
        assert_eq!(browser.post("/count").await.text, number.to_string());
        assert_eq!(browser.get("/number/n").await.text, number.to_string());
    }
    assert_eq!(browser.post("/set/color/blue").await.status, 200);
    assert_eq!(browser.get("/read/color").await.text, "blue");
    fleet.mend(&[&a, &b]).await;
    assert_eq!(browser.get("/number/n").await.text, "5");
    assert_eq!(browser.at(&b).get("/number/n").await.text, "5");
    assert_eq!(browser.at(&b).get("/read/color").await.text, "blue");
    assert_eq!(browser.post("/count").await.text, "6");
    assert!(!a.take_events().iter().any(|event| event.starts_with("not_replayed")));
}

#[tokio::test]
async fn writes_of_several_servers_in_one_outage_all_count() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a, &b]).await;
    for number in 2..=7 {
        let server = if number % 2 == 0 { &a } else { &b };
        assert_eq!(browser.at(server).post("/count").await.text, number.to_string());
    }
    assert_eq!(browser.at(&b).post("/set/color/blue").await.status, 200);
    assert_eq!(browser.at(&a).post("/set/color/green").await.status, 200);
    assert_eq!(browser.at(&b).get("/read/color").await.text, "green");
    // Whichever is back first.
    fleet.mend(&[&a, &b]).await;
    browser.at(&b).get("/who").await;
    browser.at(&a).get("/who").await;
    assert_eq!(browser.at(&b).get("/number/n").await.text, "7");
    assert_eq!(browser.at(&b).get("/read/color").await.text, "green");
}

#[tokio::test]
async fn what_another_server_has_yet_to_replay_is_not_gone_meanwhile() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.post("/count").await.text, "2");
    // The one that took it dies, and the store is back.
    let jar = browser.jar.clone();
    drop((a, browser));
    let browser = b.browser_with(jar);
    fleet.mend(&[&b]).await;
    assert_eq!(browser.get("/number/n").await.text, "2");
    // It isn't there again in time: what it took is in its journal, and not in the store.
    fleet.clock.advance(Duration::from_secs(5));
    assert_eq!(browser.get("/number/n").await.text, "1");
    let _a = fleet.server("a").await;
    while browser.get("/number/n").await.text != "2" {
        tokio::time::sleep(Duration::from_millis(1)).await;
        fleet.clock.advance(Duration::from_secs(2));
    }
}

#[tokio::test]
async fn parallel_writes_of_an_outage_all_count() {
    let (fleet, a, browser) = adrift().await;
    let tabs: Vec<_> = (0..20).map(|_| browser.tab()).collect();
    let counted = tabs.iter().map(|tab| tab.post("/count"));
    for reply in futures_util::future::join_all(counted).await {
        assert_eq!(reply.status, 200);
    }
    assert_eq!(browser.get("/number/n").await.text, "21");
    fleet.mend(&[&a]).await;
    assert_eq!(browser.get("/number/n").await.text, "21");
}

#[tokio::test]
async fn what_has_no_merge_is_refused_and_nothing_of_it_happens() {
    let (fleet, a, browser) = adrift().await;
    for path in ["/set/name/Bob", "/set/secret/other", "/set/new/value", "/elevate"] {
        let reply = browser.post(path).await;
        assert_eq!((reply.status.as_u16(), reply.cookies.len()), (503, 0), "{path}");
    }
    fleet.mend(&[&a]).await;
    assert_eq!(browser.get("/read/name").await.text, "Alice");
    assert_eq!(browser.get("/read/secret").await.text, "s3cret");
}

#[tokio::test]
async fn a_write_that_does_not_fit_what_the_store_has_by_then_is_given_up_and_said() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    browser.at(&b).get("/who").await;
    // Only this server notices.
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.post("/set/color/blue").await.status, 200);
    assert_eq!(browser.post("/count").await.text, "2");
    fleet.store.mend();
    browser.at(&b).tab().post("/set/color/green").await;
    back(&a).await;
    assert_eq!(browser.get("/read/color").await.text, "green");
    assert_eq!(browser.get("/number/n").await.text, "2");
    let lost: Vec<_> =
        a.take_events().into_iter().filter(|event| event.starts_with("not_replayed")).collect();
    assert_eq!(lost, ["not_replayed unmerged"]);
}

#[tokio::test]
async fn a_replay_whose_outcome_is_unknown_does_not_count_twice() {
    let (fleet, a, browser) = one_server().await;
    for fault in [Fault::After, Fault::Before] {
        let before: u32 = browser.get("/number/n").await.text.parse().unwrap();
        fleet.break_down(&[&a]).await;
        browser.post("/count").await;
        // Both tries of the swap, and the load that would tell.
        fleet.store.plan(Operation::Replace, fault);
        fleet.store.plan(Operation::Replace, fault);
        fleet.store.plan(Operation::Load, Fault::Before);
        fleet.mend(&[&a]).await;
        while browser.get("/number/n").await.text != (before + 1).to_string() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        fleet.mend(&[&a]).await;
        assert_eq!(browser.post("/count").await.text, (before + 2).to_string());
    }
    assert!(!a.take_events().iter().any(|event| event.starts_with("not_replayed")), "it is known to be done");
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
    let (fleet, a, browser) = one_server().await;
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
    let (fleet, a, browser) = one_server().await;
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
    let (fleet, a, browser) = adrift().await;
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
