//! What a policy changes about sessions and their cookies.

use std::time::Duration;

use axum::http::StatusCode;
use stayput::{Activity, CookiePolicy, Flash, FlashLevel, Policy, SameSite, Session};
use stayput_core::Operation;
use stayput_testkit::Fault;

use crate::support::{SESSION, Server};

#[tokio::test]
async fn a_remembered_session_outlives_the_browser_and_the_ordinary_timeouts() {
    let server = Server::new();
    let browser = server.browser();
    let reply = browser.post("/remember/alice").await;
    let month = 30 * 24 * 3600 + 1;
    assert!(reply.cookies[0].contains(&format!("; Max-Age={month};")), "{:?}", reply.cookies);
    server.clock.advance(Duration::from_hours(13 * 24));
    // A renewed cookie lives no longer than the session does.
    let reply = browser.get("/who").await;
    assert_eq!(reply.text, "alice");
    let left = month - 13 * 24 * 3600;
    assert!(reply.cookies[0].contains(&format!("; Max-Age={left};")), "{:?}", reply.cookies);
    browser.post("/elevate").await;
    server.clock.advance(Duration::from_hours(13 * 24));
    assert_eq!(browser.get("/who").await.text, "alice");
    server.clock.advance(Duration::from_hours(14 * 24));
    assert_eq!(browser.get("/who").await.text, "nobody");

    let reply = server.browser().post("/login/alice").await;
    assert!(!reply.cookies[0].contains("Max-Age"), "{:?}", reply.cookies);
}

#[tokio::test]
async fn where_nobody_may_be_remembered_nobody_is() {
    let server = Server::with_policy(Policy { remember: None, ..Policy::web() });
    let browser = server.browser();
    let reply = browser.post("/remember/alice").await;
    assert!(!reply.cookies[0].contains("Max-Age"), "{:?}", reply.cookies);
    server.clock.advance(Duration::from_mins(30));
    assert_eq!(browser.get("/who").await.text, "nobody");
}

#[tokio::test]
async fn cookies_have_the_attributes_that_the_policy_says_when_set_and_when_deleted() {
    let cookie = CookiePolicy::default().name("shop").domain("example.org").path("/shop").partitioned();
    let cookie =
        cookie.same_site(SameSite::None).persistent().clear_all_at_logout().danger_without_host_prefix();
    let server = Server::with_policy(Policy { cookie, ..Policy::web() });
    let browser = server.browser();
    let set = browser.post("/login/alice").await.cookies[0].clone();
    let attributes = "; Domain=example.org; Path=/shop; HttpOnly; SameSite=None; Secure; Partitioned";
    assert!(set.starts_with("__Secure-shop-session="), "{set}");
    assert!(set.ends_with(&format!("; Max-Age=43201{attributes}")), "{set}");
    let reply = browser.post("/logout").await;
    assert!(
        reply.cookies.contains(&format!("__Secure-shop-session=; Max-Age=0{attributes}")),
        "{:?}",
        reply.cookies
    );
    assert_eq!(reply.headers["clear-site-data"], r#""cache", "cookies", "storage""#);
}

#[tokio::test]
async fn requests_that_ignore_the_session_keep_it_alive_only_if_the_policy_says_so() {
    for (activity, who) in [(Activity::Session, "nobody"), (Activity::Any, "alice")] {
        let server = Server::with_policy(Policy { activity, ..Policy::web() });
        let browser = server.browser();
        browser.post("/login/alice").await;
        for _ in 0..4 {
            server.clock.advance(Duration::from_mins(20));
            assert_eq!(browser.get("/plain").await.text, "plain");
        }
        assert_eq!(browser.get("/who").await.text, who, "{activity:?}");
    }
}

#[tokio::test]
async fn a_request_that_ignores_the_session_never_fails_for_it() {
    let server = Server::with_policy(Policy { activity: Activity::Any, ..Policy::web() });
    let browser = server.browser();
    browser.post("/login/alice").await;
    server.store.plan(Operation::Load, Fault::Before);
    let reply = browser.get("/plain").await;
    assert_eq!((reply.status, reply.cookies.len()), (StatusCode::OK, 0));
    assert_eq!(browser.get("/who").await.text, "alice");
    // Without a cookie there is nothing to ask the store for.
    server.store.plan(Operation::Load, Fault::Before);
    server.browser().get("/plain").await;
    assert_eq!(browser.get("/who").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_session_holds_no_more_values_than_the_policy_allows() {
    let browser = Server::with_policy(Policy { max_values: 2, ..Policy::web() }).browser();
    browser.post("/set/a/1").await;
    browser.post("/set/b/2").await;
    assert_eq!(browser.post("/set/c/3").await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(browser.post("/set/b/4").await.status, StatusCode::OK);
    assert_eq!(browser.get("/read/b").await.text, "4");
    assert_eq!(browser.get("/read/c").await.text, "");
}

#[tokio::test]
async fn a_flash_message_is_given_to_one_request_and_none_is_lost() {
    let server = Server::new();
    let browser = server.browser();
    let say = server.handling(|session: Session| async move {
        session.flash(FlashLevel::Success, "saved").await?;
        session.flash(FlashLevel::Warning, "nearly full").await
    });
    browser.at(&say).post("/own").await;
    let hear = server.handling(|session: Session| async move {
        let flashes = session.flashes().await?;
        let saved = Flash { level: FlashLevel::Success, text: "saved".to_owned() };
        assert_eq!((flashes.len(), &flashes[0]), (2, &saved));
        assert_eq!(session.flashes().await?, []);
        Ok(())
    });
    assert_eq!(browser.at(&hear).post("/own").await.status, StatusCode::OK);
    let many = server.handling(|session: Session| async move {
        for n in 0..20 {
            session.flash(FlashLevel::Info, n.to_string()).await?;
        }
        let flashes = session.flashes().await?;
        assert_eq!((flashes.len(), flashes[0].text.as_str()), (16, "4"));
        Ok(())
    });
    assert_eq!(browser.at(&many).post("/own").await.status, StatusCode::OK);
    // Nobody without messages gets a session by asking for them.
    let ask = server.handling(|session: Session| async move { session.flashes().await.map(|_| ()) });
    let stranger = server.browser();
    stranger.at(&ask).post("/own").await;
    assert_eq!(stranger.cookie(crate::support::ANONYMOUS), None);
    assert_eq!(stranger.cookie(SESSION), None);
}
