//! A login's spare cookie, where a late answer has put the session cookie from before it back.

use std::time::Duration;

use stayput::{Builder, Keyring, NearCache, Policy};

use crate::lifeboat::{Fleet, logged_in, policy};
use crate::support::{Browser, SESSION, Server, keyring};

/// Has a late answer bring this value of the session cookie back.
fn put_back(browser: &Browser, before: String) {
    browser.jar.lock().unwrap().insert(SESSION.to_owned(), before);
}

#[tokio::test]
async fn who_has_but_a_spare_cookie_is_served_and_logged_out_while_the_store_is_out() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    let before = browser.cookie(SESSION).unwrap();
    assert_eq!(browser.post("/elevate").await.status, 200);
    browser.get("/who").await;
    let stolen = browser.tab();
    put_back(&browser, before);
    fleet.clock.advance(Duration::from_mins(1));
    fleet.break_down(&[&a, &b]).await;
    let browser = browser.at(&b);
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.post("/logout").await.status, 200);
    fleet.mend(&[&a, &b]).await;
    browser.get("/who").await;
    fleet.clock.advance(fleet.policy.max_age);
    for server in [&a, &b] {
        assert_eq!(stolen.at(server).get("/who").await.text, "nobody");
    }
}

#[tokio::test]
async fn who_has_but_a_spare_cookie_is_logged_out_of_a_session_that_can_not_be_opened() {
    let [old, new] = [keyring(), keyring()].map(|keyring| keyring.danger_to_text().clone());
    let a = Server::new().beside(Keyring::parse(&old).unwrap());
    // It has gone over to a key that the other has yet to hear of.
    let b = a.beside(Keyring::parse(&format!("{new}{old}")).unwrap());
    let browser = a.browser();
    browser.post("/login/alice").await;
    let before = browser.cookie(SESSION).unwrap();
    assert_eq!(browser.post("/elevate").await.status, 200);
    assert_eq!(browser.at(&b).post("/set/color/red").await.status, 200);
    let stolen = browser.tab();
    put_back(&browser, before);
    a.clock.advance(Duration::from_mins(1));
    assert_eq!(browser.post("/logout").await.status, 200);
    assert_eq!(stolen.at(&b).get("/who").await.text, "nobody");
}

#[tokio::test]
async fn a_logout_takes_the_spare_cookie_of_a_login_beside_it_away() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/login/alice").await;
    let before = browser.cookie(SESSION).unwrap();
    let (login, logout) = (browser.tab(), browser.tab());
    let out = logout.post("/logout").await;
    let entered = login.post("/login/alice").await;
    entered.cookies.iter().chain(&out.cookies).for_each(|cookie| browser.keep(cookie));
    assert_eq!(browser.get("/who").await.text, "nobody");
    put_back(&browser, before);
    assert_eq!(browser.get("/who").await.text, "nobody");
}

#[tokio::test]
async fn a_generation_that_only_an_old_copy_takes_is_given_no_newer_one_whatever_was_learned_since() {
    let grace = Duration::from_secs(5);
    let policy = Policy { grace, store_timeout: Duration::from_secs(1), ..policy() };
    let interval = policy.renewal_interval;
    let fleet = Fleet::with(policy);
    let lease = Duration::from_mins(1);
    let copies = NearCache { lease, short_lease: lease, ..NearCache::default() };
    let set = |builder: Builder| builder.near_cache(copies.clone());
    let (a, b) = (fleet.server_with("a", set).await, fleet.server_with("b", set).await);
    let browser = logged_in(&a).await;
    let stolen = browser.tab();
    fleet.clock.advance(interval.saturating_sub(Duration::from_secs(1)));
    browser.get("/who").await;
    assert_eq!(stolen.at(&b).get("/who").await.text, "alice", "it has a copy of before the renewal");
    fleet.clock.advance(Duration::from_secs(1));
    let stolen = stolen.sending(&[(SESSION, &stolen.cookie(SESSION).unwrap())]);
    browser.get("/who").await;
    browser.get("/who").await;
    fleet.clock.advance(grace + Duration::from_secs(1));
    assert_eq!(stolen.tab().at(&a).get("/who").await.text, "nobody");
    // Its own renewal, which is due by the copy, finds the session as it is.
    let reply = stolen.at(&b).get("/who").await;
    let is_given = reply.cookies.iter().any(|cookie| cookie.starts_with(SESSION));
    assert_eq!((&*reply.text, is_given), ("alice", false));
}
