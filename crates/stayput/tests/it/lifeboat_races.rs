//! What random histories with lifeboats found, one interleaving each. Each of these failed once.

use std::time::Duration;

use stayput_core::{Operation, SessionStore};
use stayput_testkit::Fault;

use crate::lifeboat::{Fleet, logged_in};
use crate::lifeboat::stored_key;

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
    fleet.clock.advance(fleet.policy.idle_timeout - Duration::from_mins(1));
    assert_eq!(browser.tab().at(&b).get("/number/n").await.text, "2");
}
