//! What takes time, under a clock that the test moves.

use std::sync::Arc;

use stayput_testkit::{Browser, ManualClock};

use super::*;

#[tokio::test]
async fn ending_all_asks_for_the_password_unless_it_was_given_just_now() {
    let clock = Arc::new(ManualClock::default());
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("sessions.db");
    let store = SqliteStore::open_with_clock(database, clock.clone()).await.unwrap();
    let policy = Policy { cookie: CookiePolicy::default().danger_plain_http(), ..Policy::web() };
    let sessions = Sessions::builder(store).clock(clock.clone()).policy(policy).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = app(&sessions);
    tokio::spawn(async { serve(listener, app).await });

    let credentials = [("user", "alice"), ("password", "secret")];
    let (here, there) = (Browser::new(&url), Browser::new(&url));
    for browser in [&here, &there] {
        assert_eq!(browser.post("/login", &credentials).await.unwrap().status, 303);
    }
    clock.advance(PROOF_LASTS + Duration::from_secs(1));
    here.post("/end-all", &[]).await.unwrap();
    assert!(there.get("/").await.unwrap().text.contains("alice"), "ended without a proof");

    assert_eq!(here.post("/confirm", &[("password", "guess")]).await.unwrap().status, 401);
    here.post("/end-all", &[]).await.unwrap();
    assert!(there.get("/").await.unwrap().text.contains("alice"), "ended with a wrong proof");

    let before = here.cookie("stayput-session").unwrap();
    assert_eq!(here.post("/confirm", &[("password", "secret")]).await.unwrap().status, 303);
    assert_ne!(here.cookie("stayput-session").unwrap(), before);
    here.post("/end-all", &[]).await.unwrap();
    for browser in [&here, &there] {
        assert!(browser.get("/").await.unwrap().text.contains("Remember me"), "still logged in");
    }
}
