//! The page in a real browser: headless Chromium, driven by the WebDriver protocol.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use data_encoding::BASE64;
use reqwest::Client;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::up::{Up, send};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_stays_logged_in_when_the_server_that_answered_is_killed() {
    let (up, dir, _) = Up::fresh();
    let window = Window::open(dir.path()).await;
    window.go(&up.url).await;
    assert_eq!(window.text("#user").await, "not logged in");
    window.click("form[action='/cart'] button[value=Tea]").await;
    window.shows("not logged in", "0", "Tea").await;
    window.fill("input[name=user]", "alice").await;
    window.click("form[action='/login'] button").await;
    window.shows("alice", "0", "Tea").await;
    window.click("form[action='/visits'] button").await;
    window.shows("alice", "1", "Tea").await;
    window.click("form[action='/cart'] button[value=Cake]").await;
    window.shows("alice", "1", "Tea\nCake").await;

    let badge = window.text(".badge").await;
    let pid = badge.rsplit(' ').next().unwrap().parse().unwrap();
    send(pid, Signal::KILL);
    window.go(&up.url).await;
    window.shows("alice", "1", "Tea\nCake").await;
    assert_ne!(window.text(".badge").await, badge);

    let picture = BASE64
        .decode(window.call("GET", "/screenshot", json!(null)).await.as_str().unwrap().as_bytes())
        .unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
    if let Ok(path) = std::env::var("STAYPUT_PICTURE") {
        std::fs::write(path, picture).unwrap();
    }
}

/// A browser window, and the driver that moves it.
struct Window {
    driver: Child,
    client: Client,
    session: String,
}

impl Window {
    async fn open(dir: &Path) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed; scripts/test does that");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines
            .find_map(|line| {
                line.strip_suffix('.')?.rsplit_once("started successfully on port ")?.1.parse::<u16>().ok()
            })
            .expect("chromedriver says its port");
        // What else it says must not fill the pipe.
        std::thread::spawn(move || lines.count());
        let client = Client::builder().no_proxy().build().unwrap();
        let mut window = Self { driver, client, session: format!("http://127.0.0.1:{port}/session") };
        let profile = format!("--user-data-dir={}", dir.join("profile").display());
        let args = json!([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=900,760",
            profile
        ]);
        let options = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": args}}}});
        let session = window.call("POST", "", options).await;
        window.session = format!("{}/{}", window.session, session["sessionId"].as_str().unwrap());
        window
    }

    async fn go(&self, url: &str) {
        self.call("POST", "/url", json!({"url": url})).await;
    }

    async fn click(&self, selector: &str) {
        self.on(selector, "POST", "/click", json!({})).await;
    }

    async fn fill(&self, selector: &str, text: &str) {
        self.on(selector, "POST", "/value", json!({"text": text})).await;
    }

    async fn text(&self, selector: &str) -> String {
        self.on(selector, "GET", "/text", json!(null)).await.as_str().unwrap().to_owned()
    }

    /// Waits until the page shows this user, these visits and this cart. A page that is just being replaced has
    /// elements that are gone, so what can't be read is read again.
    async fn shows(&self, user: &str, visits: &str, cart: &str) {
        for (selector, text) in [("#user", user), ("#visits", visits), ("#cart", cart)] {
            while self.try_on(selector, "GET", "/text", json!(null)).await.ok() != Some(json!(text)) {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn on(&self, selector: &str, method: &str, path: &str, body: Value) -> Value {
        self.try_on(selector, method, path, body).await.unwrap()
    }

    async fn try_on(&self, selector: &str, method: &str, path: &str, body: Value) -> Result<Value, String> {
        let found =
            self.try_call("POST", "/element", json!({"using": "css selector", "value": selector})).await?;
        let element = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        self.try_call(method, &format!("/element/{element}{path}"), body).await
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        self.try_call(method, path, body).await.unwrap()
    }

    async fn try_call(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        let request = self.client.request(method.parse().unwrap(), format!("{}{path}", self.session));
        let request = if method == "POST" { request.json(&body) } else { request };
        let mut answer: Value = request.send().await.unwrap().json().await.unwrap();
        let value = answer["value"].take();
        if value["error"].is_null() { Ok(value) } else { Err(format!("{method} {path}: {value}")) }
    }
}

impl Drop for Window {
    /// Ends the browser by its session, and then the driver, even when the test failed.
    fn drop(&mut self) {
        let (_, rest) = self.session.split_once("://").unwrap();
        let (host, path) = rest.split_once('/').unwrap();
        if let Ok(mut driver) = TcpStream::connect(host) {
            let request = format!("DELETE /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            // It answers when the browser has ended, and then keeps the connection.
            let _ = driver.write_all(request.as_bytes()).and_then(|()| driver.read(&mut [0; 1024]));
        }
        send(self.driver.id(), Signal::TERM);
        let _ = self.driver.wait();
    }
}
