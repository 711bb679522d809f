//! Who gets the store asked, and how often.

use std::time::Duration;

use super::{Pair, VERSION};

#[tokio::test]
async fn a_made_up_version_gets_the_store_asked_once_in_a_short_lease() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let version = browser.cookie(VERSION).unwrap();
    let ahead = format!("{}.999999", version.split_once('.').unwrap().0);
    let session = browser.cookie(crate::support::SESSION).unwrap();
    let liar = browser.sending(&[(crate::support::SESSION, &session), (VERSION, &ahead)]);
    let reply = liar.tab().get("/read/color").await;
    assert_eq!(reply.text, "red");
    assert!(reply.cookies[0].starts_with(&format!("{VERSION}={version};")), "{reply:?}");
    for _ in 0..10 {
        let (loads, reply) = pair.loads(liar.tab().get("/read/color")).await;
        assert_eq!((loads, reply.text.as_str()), (0, "red"));
    }
    pair.clock.advance(Duration::from_secs(2));
    let (loads, _) = pair.loads(liar.tab().get("/read/color")).await;
    assert_eq!(loads, 1);
}

#[tokio::test]
async fn any_version_cookie_is_taken() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let session = browser.cookie(crate::support::SESSION).unwrap();
    for value in ["", ".", "12345678.", "00000000.1", "12345678.99999999999999999999", "é.1", "12345678.-1"]
    {
        let odd = browser.sending(&[(crate::support::SESSION, &session), (VERSION, value)]);
        assert_eq!(odd.get("/read/color").await.text, "red", "{value}");
        assert_eq!(odd.cookie(VERSION), browser.cookie(VERSION), "{value}");
    }
}

#[tokio::test]
async fn a_fresh_session_comes_from_the_store() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let other = browser.tab();
    pair.store.hold();
    other.at(&pair.b).post("/set/color/blue").await;
    assert_eq!(browser.get("/read/color").await.text, "red");
    let fresh = pair.a.handling(|session| async move {
        assert_eq!(session.get::<String>("color").await?.as_deref(), Some("red"));
        session.fresh().await?;
        assert_eq!(session.get::<String>("color").await?.as_deref(), Some("blue"));
        Ok(())
    });
    assert_eq!(browser.tab().at(&fresh).post("/own").await.status, 200);
    let guarded = pair.a.guarded();
    let tab = browser.tab();
    tab.jar.lock().unwrap().remove(VERSION);
    assert_eq!(tab.at(&guarded).get("/read/color").await.text, "blue");
}

#[tokio::test]
async fn a_fresh_session_that_was_ended_is_an_error_and_no_copy() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let other = browser.tab();
    pair.store.hold();
    other.at(&pair.b).post("/logout").await;
    let fresh = pair.a.handling(|session| async move {
        assert!(session.subject().await?.is_some());
        assert!(matches!(session.fresh().await, Err(stayput::Error::Ended)));
        Ok(())
    });
    assert_eq!(browser.tab().at(&fresh).post("/own").await.status, 200);
    // Now that the server knows, it doesn't go back to its copy.
    assert_eq!(browser.get("/who").await.text, "nobody");
    assert_eq!(browser.at(&pair.a.guarded()).get("/who").await.text, "nobody");
}
