//! The example as its users meet it.

#[path = "../../running.rs"]
mod running;

use std::path::Path;

use running::Running;
use stayput::{Keyring, SystemRandom};
use stayput_testkit::Browser;

const CART: &str = env!("CARGO_BIN_EXE_example-cart");
const ALICE: [(&str, &str); 2] = [("user", "alice"), ("password", "secret")];

#[tokio::test]
async fn the_cart_comes_along_at_login_and_is_gone_after_logout() {
    let server = Running::start(CART, None);
    let browser = Browser::new(&server.url);
    assert_eq!(browser.post("/cart", &[("item", "tea")]).await.unwrap().status, 303);
    let before = browser.cookie("stayput-anonymous").unwrap();
    assert_eq!(browser.post("/login", &ALICE).await.unwrap().status, 303);
    browser.post("/cart", &[("item", "cake")]).await.unwrap();

    let page = browser.get("/").await.unwrap().text;
    assert!(page.contains("alice's cart") && page.contains("<li>tea</li><li>cake</li>"), "{page}");
    let stolen = browser.cookie("stayput-session").unwrap();
    assert_ne!(before, stolen);

    assert_eq!(browser.post("/logout", &[]).await.unwrap().status, 303);
    for page in [
        browser.get("/").await.unwrap().text,
        browser.get_with_cookies("/", format!("stayput-session={stolen}").as_bytes()).await.unwrap().text,
    ] {
        assert!(page.contains("Your cart") && !page.contains("<li>"), "{page}");
    }
}

#[tokio::test]
async fn a_wrong_password_logs_nobody_in_and_what_is_typed_is_shown_as_text() {
    let server = Running::start(CART, None);
    let browser = Browser::new(&server.url);
    let wrong = [("user", "alice"), ("password", "guess")];
    assert_eq!(browser.post("/login", &wrong).await.unwrap().status, 401);
    assert_eq!(browser.post("/cart", &[("item", "")]).await.unwrap().status, 400);
    browser.post("/cart", &[("item", "<script>")]).await.unwrap();
    let page = browser.get("/").await.unwrap().text;
    assert!(page.contains("Your cart") && page.contains("&#60;script&#62;"), "{page}");
    assert!(!page.contains("<script>"), "{page}");
}

#[tokio::test]
async fn a_store_that_fails_is_said_to_and_logs_nobody_out() {
    let directory = tempfile::tempdir().unwrap();
    make_keyring(directory.path());
    let server = Running::start(CART, Some(directory.path()));
    let browser = Browser::new(&server.url);
    browser.post("/cart", &[("item", "tea")]).await.unwrap();
    browser.post("/login", &ALICE).await.unwrap();

    let database = rusqlite::Connection::open(directory.path().join("sessions.db")).unwrap();
    database.execute_batch("ALTER TABLE records RENAME TO hidden").unwrap();
    for answer in [browser.get("/").await.unwrap(), browser.post("/cart", &[("item", "cake")]).await.unwrap()]
    {
        assert_eq!(answer.status, 503);
        assert!(answer.text.contains("You are not logged out") && answer.cookies.is_empty(), "{answer:?}");
    }
    database.execute_batch("ALTER TABLE hidden RENAME TO records").unwrap();
    let page = browser.get("/").await.unwrap().text;
    assert!(page.contains("alice's cart") && page.contains("<li>tea</li></ul>"), "{page}");
}

#[tokio::test]
async fn a_login_survives_the_server() {
    let directory = tempfile::tempdir().unwrap();
    make_keyring(directory.path());
    let server = Running::start(CART, Some(directory.path()));
    let browser = Browser::new(&server.url);
    browser.post("/login", &ALICE).await.unwrap();
    drop(server); // as `kill -9`
    let next = Running::start(CART, Some(directory.path()));
    assert!(browser.at(&next.url).get("/").await.unwrap().text.contains("alice's cart"));
}

fn make_keyring(directory: &Path) {
    let keyring = Keyring::generate(&SystemRandom).danger_to_text();
    std::fs::write(directory.join("keyring"), keyring).unwrap();
}
