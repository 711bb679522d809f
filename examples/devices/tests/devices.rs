//! The example as its users meet it, with two browsers.

#[path = "../../running.rs"]
mod running;

use running::Running;
use stayput_testkit::Browser;

const DEVICES: &str = env!("CARGO_BIN_EXE_example-devices");

#[tokio::test]
async fn each_session_is_listed_and_can_be_ended_from_another() {
    let server = Running::start(DEVICES, None);
    let (laptop, phone) = (login(&server, "alice", false).await, login(&server, "alice", true).await);
    let bob = login(&server, "bob", false).await;

    let page = laptop.get("/").await.unwrap().text;
    assert_eq!(page.matches("at 127.0.0.1").count(), 2, "{page}");
    assert_eq!(page.matches("this one").count(), 1, "{page}");
    assert_eq!(page.matches("remembered").count(), 1, "{page}");
    let devices = page.split("<li>").skip(1);
    let other = handle(devices.into_iter().find(|device| !device.contains("this one")).unwrap());

    bob.post("/end", &[("handle", other)]).await.unwrap();
    assert!(is_logged_in(&phone).await, "somebody else ended it");
    assert_eq!(laptop.post("/end", &[("handle", "nonsense")]).await.unwrap().status, 400);
    assert_eq!(laptop.post("/end", &[("handle", other)]).await.unwrap().status, 303);
    assert!(!is_logged_in(&phone).await);
    assert!(is_logged_in(&laptop).await && is_logged_in(&bob).await);

    let page = laptop.get("/").await.unwrap().text;
    laptop.post("/end", &[("handle", handle(&page))]).await.unwrap();
    assert!(!is_logged_in(&laptop).await);
}

#[tokio::test]
async fn the_others_end_and_then_all() {
    let server = Running::start(DEVICES, None);
    let (laptop, phone) = (login(&server, "alice", false).await, login(&server, "alice", true).await);
    let bob = login(&server, "bob", false).await;
    laptop.post("/end-others", &[]).await.unwrap();
    assert!(is_logged_in(&laptop).await && !is_logged_in(&phone).await);

    let phone = login(&server, "alice", true).await;
    // The password was given just now.
    assert_eq!(laptop.post("/end-all", &[]).await.unwrap().status, 303);
    assert!(!is_logged_in(&laptop).await && !is_logged_in(&phone).await);
    assert!(is_logged_in(&bob).await);
    assert_eq!(laptop.post("/end-all", &[]).await.unwrap().status, 401);
}

#[tokio::test]
async fn only_who_asks_is_remembered_by_the_browser() {
    let server = Running::start(DEVICES, None);
    for is_remembered in [false, true] {
        let browser = Browser::new(&server.url);
        let answer = browser.post("/login", &credentials("alice", is_remembered)).await.unwrap();
        let cookie = answer.cookies.iter().find(|cookie| cookie.starts_with("stayput-session=")).unwrap();
        assert_eq!(cookie.contains("Max-Age="), is_remembered, "{cookie}");
    }
}

async fn login(server: &Running, user: &str, is_remembered: bool) -> Browser {
    let browser = Browser::new(&server.url);
    let answer = browser.post("/login", &credentials(user, is_remembered)).await.unwrap();
    assert_eq!(answer.status, 303);
    browser
}

fn credentials(user: &str, is_remembered: bool) -> Vec<(&str, &str)> {
    let remember = is_remembered.then_some(("remember", "on"));
    [("user", user), ("password", "secret")].into_iter().chain(remember).collect()
}

async fn is_logged_in(browser: &Browser) -> bool {
    browser.get("/").await.unwrap().text.contains("is logged in")
}

/// The first handle in `page`.
fn handle(page: &str) -> &str {
    page.split_once("name=\"handle\" value=\"").unwrap().1.split_once('"').unwrap().0
}
