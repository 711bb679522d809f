//! The example as its users meet it.

#[path = "../../running.rs"]
mod running;

use running::Running;
use stayput_testkit::Browser;

const TYPED: &str = env!("CARGO_BIN_EXE_example-typed");

#[tokio::test]
async fn a_message_is_shown_once_and_as_text() {
    let server = Running::start(TYPED, None);
    let browser = Browser::new(&server.url);
    browser.post("/settings", &[("name", "<b>Ann"), ("large", "on")]).await.unwrap();
    let first = browser.get("/").await.unwrap().text;
    assert!(first.contains(r#"class="good">Welcome, &#60;b&#62;Ann."#), "{first}");
    assert!(first.contains("font-size: 2em") && !first.contains("<b>"), "{first}");
    let second = browser.get("/").await.unwrap().text;
    assert!(second.contains("&#60;b&#62;Ann, you have read") && !second.contains("Welcome"), "{second}");

    browser.post("/settings", &[("name", " ")]).await.unwrap();
    let third = browser.get("/").await.unwrap().text;
    assert!(third.contains(r#"class="bad">You go without a name."#), "{third}");
    assert!(!third.contains("font-size"), "{third}");
}

#[tokio::test]
async fn pages_turned_at_once_are_all_counted() {
    let server = Running::start(TYPED, None);
    let browser = Browser::new(&server.url);
    browser.post("/settings", &[("name", "Ann")]).await.unwrap();
    let turns: Vec<_> = (0..10)
        .map(|_| {
            let browser = browser.clone();
            tokio::spawn(async move { browser.post("/turn", &[]).await.unwrap().status })
        })
        .collect();
    for turn in turns {
        assert_eq!(turn.await.unwrap(), 303);
    }
    let page = browser.get("/").await.unwrap().text;
    assert!(page.contains("Ann, you have read 10 pages"), "{page}");
}

#[tokio::test]
async fn who_only_looks_gets_no_session() {
    let server = Running::start(TYPED, None);
    let answer = Browser::new(&server.url).get("/").await.unwrap();
    assert!(answer.text.contains("You have read 0 pages") && answer.cookies.is_empty(), "{answer:?}");
}
