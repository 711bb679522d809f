//! What is taken for the id of a session, and what a cookie gives away of it.

use std::time::Duration;

use crate::support::{ANONYMOUS, SESSION, Server};

#[tokio::test]
async fn a_cookie_says_nothing_of_who_its_user_is() {
    let server = Server::new();
    let (short, long) = (server.browser(), server.browser());
    short.post("/login/al").await;
    long.post("/login/a-name-that-would-show").await;
    let (short, long) = (short.cookie(SESSION).unwrap(), long.cookie(SESSION).unwrap());
    assert_eq!((short.len(), long.len()), (64, 64));
    // The same key signed both; all else of them is random, or made of what is.
    assert_eq!(short[..5], long[..5]);
    let alike = short[6..].bytes().zip(long[6..].bytes()).filter(|(a, b)| a == b).count();
    assert!(alike < 20, "{short} {long}");
}

#[tokio::test]
async fn the_id_of_a_session_that_is_no_more_is_not_adopted() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/set/cart/tea").await;
    let before = browser.cookie(ANONYMOUS).unwrap();
    server.clock.advance(Duration::from_mins(20));
    browser.post("/set/cart/milk").await;
    // Signed and once ours, the id of a session that timed out is as good as made up.
    assert_ne!(browser.cookie(ANONYMOUS).unwrap()[5..38], before[5..38]);
    assert_eq!(server.take_events(), ["created", "refused no_session", "created"]);
}

#[tokio::test]
async fn bytes_of_another_alphabet_are_malformed() {
    let server = Server::new();
    for value in ["+".repeat(64), "=".repeat(64), "%00".repeat(22)[..64].to_owned()] {
        let reply = server.browser().sending(&[(SESSION, &value)]).get("/who").await;
        assert_eq!(reply.text, "nobody");
        assert_eq!(server.take_events(), ["refused malformed"], "{value}");
    }
}

#[tokio::test]
async fn a_session_named_in_the_url_is_nobodys() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/login/alice").await;
    let cookie = browser.cookie(SESSION).unwrap();
    let stranger = server.browser();
    for path in [format!("/who?{SESSION}={cookie}"), format!("/who?id={cookie};{SESSION}={cookie}")] {
        let reply = stranger.get(&path).await;
        assert_eq!((&*reply.text, reply.cookies.len()), ("nobody", 0));
    }
    assert_eq!(browser.get("/who").await.text, "alice");
}
