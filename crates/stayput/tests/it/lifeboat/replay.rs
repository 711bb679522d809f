//! What a journal holds reaches the store, whoever went away meanwhile.

use std::sync::Arc;
use std::time::Duration;

use stayput::{Builder, LifeboatKey, Merge, Policy, Written};
use stayput_core::Operation;
use stayput_testkit::{Fault, TellingStore};

use super::{Fleet, adrift, becomes, journal, logged_in, policy};
use crate::outage::back;
use crate::support::Server;

#[tokio::test]
async fn writes_and_logouts_survive_the_server_that_took_them() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let (browser, leaver) = (logged_in(&a).await, logged_in(&a).await);
    let stolen = leaver.tab();
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.post("/count").await.text, "2");
    assert_eq!(browser.post("/count").await.text, "3");
    assert_eq!(leaver.post("/logout").await.status, 200);
    let (jar, stolen_jar) = (browser.jar.clone(), stolen.jar.clone());
    drop((a, browser, leaver, stolen));
    // It is there again before the store is.
    let a = fleet.server("a").await;
    let (browser, stolen) = (a.browser_with(jar), a.browser_with(stolen_jar));
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.get("/number/n").await.text, "3");
    assert_eq!(stolen.get("/who").await.text, "nobody");
    fleet.mend(&[&a]).await;
    assert_eq!(browser.get("/number/n").await.text, "3");
    assert_eq!(stolen.get("/who").await.text, "nobody");
    // Nothing of it is left to be done once more.
    let jar = browser.jar.clone();
    drop((a, browser, stolen));
    let a = fleet.server("a").await;
    assert_eq!(a.browser_with(jar).post("/count").await.text, "4");
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

#[tokio::test]
async fn what_waits_for_the_store_is_seen_however_long_ago_it_was_written() {
    let (fleet, a, browser) = adrift().await;
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
