//! A store that lost everything.

use std::sync::Arc;
use std::time::Duration;

use stayput::{Builder, NearCache, OnWiped, Policy, Session};
use stayput_core::Marker;
use stayput_testkit::TellingStore;

use super::marked::Marked;
use super::{Fleet, journal, logged_in, policy};
use crate::support::Server;

#[tokio::test]
async fn a_wiped_store_logs_out_unless_it_is_to_restore() {
    let fleet = Fleet::new();
    let browser = logged_in(&fleet.server("a").await).await;
    let fleet = fleet.wiped();
    let reply = browser.at(&fleet.server("b").await).get("/who").await;
    assert_eq!((reply.text.as_str(), reply.cookies.len()), ("nobody", 0));
}

#[tokio::test]
async fn sessions_of_a_wiped_store_are_restored_once_if_the_application_agrees() {
    let fleet = Fleet::with(Policy { on_wiped: OnWiped::Restore, ..policy() });
    let set = |builder: Builder| builder.readmit(|subject, _| async move { subject.as_str() == "alice" });
    let before = fleet.server_with("a", set).await;
    let (alice, bob) = (logged_in(&before).await, before.browser());
    bob.post("/login/bob").await;
    bob.get("/who").await;
    let (stolen, late) = (alice.tab(), alice.tab());
    let fleet = fleet.wiped();
    let after = fleet.server_with("b", set).await;
    assert_eq!(bob.at(&after).get("/who").await.text, "nobody");
    let alice = alice.at(&after);
    assert_eq!(alice.get("/who").await.text, "alice");
    assert_eq!(alice.get("/read/color").await.text, "red");
    assert_eq!(alice.post("/count").await.text, "2");
    assert!(after.take_events().contains(&"restored".to_owned()));
    // Who ends it ends it.
    assert_eq!(alice.post("/logout").await.status, 200);
    assert_eq!(stolen.at(&after).get("/who").await.text, "nobody");
    let fleet = fleet.wiped();
    fleet.clock.advance(Duration::from_mins(15));
    assert_eq!(late.at(&fleet.server_with("c", set).await).get("/who").await.text, "nobody");
}

#[tokio::test]
async fn a_session_that_was_ended_is_not_restored_from_its_lifeboat() {
    let fleet = Fleet::with(Policy { on_wiped: OnWiped::Restore, ..policy() });
    let server = fleet.server_with("a", |builder| builder.readmit(|_, _| async { true })).await;
    let browser = logged_in(&server).await;
    let stolen = browser.tab();
    assert_eq!(browser.post("/logout").await.status, 200);
    assert_eq!(stolen.get("/who").await.text, "nobody");
    // Nor one whose record is gone from a store that is the same.
    let other = fleet.server_with("b", |builder| builder.readmit(|_, _| async { true })).await;
    assert_eq!(stolen.at(&other).get("/who").await.text, "nobody");
}

/// A server to which the store of `fleet` has the marker `marker`, and which has heard so.
async fn seeing(fleet: &Fleet, name: &str, marker: u8) -> Server {
    let marked = Arc::new(Marked::new(fleet.store.clone(), Marker::from_bytes([marker; 16])));
    let (remote, journal) =
        (Arc::new(TellingStore::new(marked.clone())), journal(&fleet.dir.path().join(name)).await);
    let server =
        Server::near(remote, fleet.store.clone(), fleet.clock.clone(), fleet.keyring.clone(), |builder| {
            let builder = builder.policy(fleet.policy.clone()).near_cache(NearCache::default());
            builder.readmit(|_, _| async { true }).journal(journal)
        });
    while !marked.was_asked() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server
}

#[tokio::test]
async fn who_is_in_a_store_that_has_another_marker_loses_nothing() {
    for on_wiped in [OnWiped::LogOut, OnWiped::Restore] {
        let fleet = Fleet::with(Policy { on_wiped, ..policy() });
        let browser = logged_in(&seeing(&fleet, "a", 1).await).await;
        let b = seeing(&fleet, "b", 2).await;
        // The one value is in the lifeboat, the other isn't.
        assert_eq!(browser.at(&b).get("/read/color").await.text, "red", "{on_wiped:?}");
        assert_eq!(browser.at(&b).get("/read/secret").await.text, "s3cret", "{on_wiped:?}");
    }
}

#[tokio::test]
async fn who_ended_all_others_stays_though_the_store_has_another_marker() {
    let fleet = Fleet::new();
    let a = seeing(&fleet, "a", 1).await;
    let browser = logged_in(&a).await;
    let own = a.handling(|session: Session| async move { session.end_others().await.map(drop) });
    assert_eq!(browser.at(&own).post("/own").await.status, 200);
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.at(&seeing(&fleet, "b", 2).await).get("/who").await.text, "alice");
}
