//! Who logs out in an outage is logged out, everywhere and for good.

use std::sync::Arc;
use std::time::Duration;

use stayput_core::Operation;
use stayput_testkit::{Fault, TellingStore};

use super::{Fleet, LIFEBOAT, becomes, born_adrift, logged_in, one_server};
use crate::near::heard;
use crate::outage::back;
use crate::support::{ANONYMOUS, SESSION, Server};

#[tokio::test]
async fn a_logout_in_an_outage_counts_here_at_once_and_everywhere_when_the_store_is_back() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    let stolen = browser.tab();
    fleet.break_down(&[&a, &b]).await;
    let reply = browser.post("/logout").await;
    assert_eq!(reply.status, 200);
    assert!(browser.cookie(SESSION).is_none() && reply.headers.contains_key("clear-site-data"));
    assert_eq!(browser.get("/who").await.text, "nobody");
    assert_eq!(stolen.get("/who").await.text, "nobody");
    // Another server can't know; until the store has confirmed nothing for too long.
    assert_eq!(stolen.at(&b).get("/who").await.text, "alice");
    fleet.mend(&[&a, &b]).await;
    assert_eq!(stolen.get("/who").await.text, "nobody");
    while stolen.at(&b).get("/who").await.text != "nobody" {
        tokio::time::sleep(Duration::from_millis(1)).await;
        // It hears nothing from the other one.
        fleet.clock.advance(Duration::from_secs(2));
    }
}

#[tokio::test]
async fn any_server_ends_what_its_user_ended_on_one_that_died() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    let stolen = browser.tab();
    fleet.break_down(&[&a, &b]).await;
    browser.post("/logout").await;
    assert!(browser.cookie(LIFEBOAT).is_some_and(|value| value.starts_with("ended.")));
    // The first server is never seen again.
    let (browser, stolen) = (browser.at(&b), stolen.at(&b));
    browser.get("/who").await;
    fleet.store.mend();
    drop(a);
    back(&b).await;
    assert_eq!(browser.get("/who").await.text, "nobody");
    assert_eq!(browser.cookie(LIFEBOAT), None);
    assert_eq!(stolen.get("/who").await.text, "nobody");
}

#[tokio::test]
async fn any_server_ends_all_that_may_have_been_meant_by_a_logout_on_one_that_died() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let (browser, other) = (logged_in(&a).await, a.browser());
    other.post("/set/color/green").await;
    let [session, anonymous] = [browser.cookie(SESSION), other.cookie(ANONYMOUS)].map(Option::unwrap);
    // Which of the two is alive nobody knows who has neither a copy nor a lifeboat of them.
    let both = browser.sending(&[(SESSION, &*session), (ANONYMOUS, &*anonymous)]);
    fleet.break_down(&[&a, &b]).await;
    let stranger = both.at(&b);
    assert_eq!(stranger.post("/logout").await.status, 200);
    assert!(stranger.cookie(LIFEBOAT).is_some_and(|value| value.starts_with("ended.")));
    // The server that took it is never seen again.
    let c = fleet.server("c").await;
    let stranger = stranger.at(&c);
    drop((both, b));
    fleet.store.mend();
    back(&c).await;
    stranger.get("/who").await;
    assert_eq!(stranger.cookie(LIFEBOAT), None);
    assert_eq!(other.at(&c).get("/read/color").await.text, "");
    assert_eq!(browser.at(&c).get("/who").await.text, "nobody");
}

#[tokio::test]
async fn without_a_journal_nobody_logs_out_while_the_store_is_out() {
    let fleet = Fleet::new();
    let remote = Arc::new(TellingStore::new(fleet.store.clone()));
    let policy = fleet.policy.clone();
    let server =
        Server::near(remote, fleet.store.clone(), fleet.clock.clone(), fleet.keyring.clone(), |builder| {
            builder.policy(policy)
        });
    let browser = logged_in(&server).await;
    fleet.break_down(&[]).await;
    let reply = browser.post("/logout").await;
    assert_eq!((reply.status.as_u16(), reply.cookies.len()), (503, 0));
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
async fn a_logout_with_the_id_left_behind_takes_no_newer_cookie_away() {
    let (fleet, a, browser) = one_server().await;
    let late = browser.tab();
    assert_eq!(browser.post("/elevate").await.status, 200);
    heard().await;
    late.get("/who").await;
    heard().await;
    fleet.break_down(&[&a]).await;
    let reply = late.post("/logout").await;
    assert_eq!((reply.status.as_u16(), reply.cookies.len()), (409, 0));
}

#[tokio::test]
async fn a_logout_that_was_given_up_in_the_middle_lets_no_lifeboat_bring_the_session_back() {
    let (fleet, a, browser) = born_adrift().await;
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
