//! Where sessions are used from, and what those who watch hear of it.

use std::time::Duration;

use axum::http::StatusCode;
use stayput_core::SessionId;

use crate::support::{SESSION, Server};

#[tokio::test]
async fn only_trusted_proxies_say_who_the_client_is() {
    let server = Server::new();
    let browser =
        server.browser().with("x-forwarded-for", "1.1.1.1, 198.51.100.7").with("x-forwarded-proto", "https");
    let direct = browser.from("192.0.2.1").get("/client").await.text;
    assert_eq!(direct, "Some(192.0.2.1) None None");
    let proxied = browser.from("10.0.0.1").with("user-agent", "Phone").get("/client").await.text;
    assert_eq!(proxied, r#"Some(198.51.100.7) Some(true) Some("Phone")"#);
    assert_eq!(browser.get("/client").await.text, "None None None");
}

#[tokio::test]
async fn a_session_that_moves_raises_an_event_once_and_goes_on() {
    let server = Server::new();
    let home = server.browser().with("user-agent", "Firefox").from("192.0.2.1");
    home.post("/login/alice").await;
    server.take_events();
    assert_eq!(home.get("/who").await.text, "alice");
    assert_eq!(server.take_events(), [""; 0]);

    // A client may change its address with every request, so that is looked at once in a touch interval.
    let touch_interval = Duration::from_mins(3);
    let train = home.from("198.51.100.7");
    assert_eq!(train.get("/who").await.text, "alice");
    assert_eq!(server.take_events(), [""; 0]);
    server.clock.advance(touch_interval);
    assert_eq!(train.get("/who").await.text, "alice");
    assert_eq!(server.take_events(), ["client_changed address"]);
    // Back and forth between two addresses is nothing new.
    for browser in [&home, &train, &home] {
        server.clock.advance(touch_interval);
        browser.get("/who").await;
    }
    assert_eq!(server.take_events(), [""; 0]);

    let thief = home.with("user-agent", "curl").from("203.0.113.9");
    assert_eq!(thief.get("/who").await.text, "alice");
    // Another browser is looked at at once.
    assert_eq!(server.take_events(), ["client_changed address_and_agent"]);
    assert_eq!(home.post("/set/cart/tea").await.status, StatusCode::OK);
    assert_eq!(home.get("/read/cart").await.text, "tea");
}

#[tokio::test]
async fn what_happens_to_a_session_is_told_from_beginning_to_end() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/set/cart/tea").await;
    browser.post("/login/alice").await;
    server.clock.advance(Duration::from_mins(15));
    browser.get("/who").await;
    browser.post("/elevate").await;
    browser.post("/logout").await;
    let expected = ["created", "logged_in", "renewed", "elevated", "ended logout"];
    assert_eq!(server.take_events(), expected);
}

#[tokio::test]
async fn every_refused_cookie_has_its_reason() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/login/alice").await;
    let good = browser.cookie(SESSION).unwrap();
    let ended = server.browser();
    ended.post("/login/alice").await;
    let ended_cookie = ended.cookie(SESSION).unwrap();
    ended.post("/logout").await;
    server.take_events();
    let forged = format!("{}A", &good[..63]);
    let forged = if forged == good { format!("{}B", &good[..63]) } else { forged };
    let foreign = format!("AAAA{}", &good[4..]);
    for (value, reason) in [
        ("short", "refused malformed"),
        (forged.as_str(), "refused forged"),
        (foreign.as_str(), "refused unknown_key"),
        (ended_cookie.as_str(), "refused no_session"),
        (format!("{good}; {SESSION}={good}").as_str(), "refused duplicate"),
    ] {
        assert_eq!(browser.sending(&[(SESSION, value)]).get("/who").await.text, "nobody");
        assert_eq!(server.take_events(), [reason]);
    }
}

#[tokio::test]
async fn guessing_is_told_once_and_slowed_and_honest_users_behind_the_same_address_are_not() {
    let server = Server::new();
    let honest = server.browser().from("192.0.2.1");
    honest.post("/login/alice").await;
    let guess = || {
        let id = SessionId::generate(&stayput::SystemRandom);
        let key = crate::support::keyring();
        let value = stayput_core::CookieValue { id, generation: stayput_core::Generation(0) };
        // Signed by a key that has the id of the server's, were it known: a made-up tag under the right key id.
        let right = honest.cookie(SESSION).unwrap();
        format!("{}{}", &right[..6], &value.encode(SESSION, &key)[6..])
    };
    server.take_events();
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(honest.sending(&[(SESSION, &guess())]).get("/who").await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::OK).count(), 19);
    assert_eq!(statuses[20..], [StatusCode::TOO_MANY_REQUESTS; 10]);
    assert_eq!(server.take_events().iter().filter(|event| *event == "guessing").count(), 1);
    // Who has a good cookie, none, or one that expired is served as ever.
    assert_eq!(honest.get("/who").await.text, "alice");
    assert_eq!(honest.sending(&[]).get("/who").await.status, StatusCode::OK);
    let other = server.browser().from("192.0.2.2");
    assert_eq!(other.sending(&[(SESSION, &guess())]).get("/who").await.status, StatusCode::OK);
    server.clock.advance(Duration::from_mins(1));
    assert_eq!(honest.sending(&[(SESSION, &guess())]).get("/who").await.status, StatusCode::OK);
}
