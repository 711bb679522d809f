//! A store that lost everything.

use std::time::Duration;

use stayput::{Builder, OnWiped, Policy};

use super::{Fleet, logged_in, policy};

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
