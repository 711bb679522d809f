//! Hostile cookies and hostile framing against the whole of it, and what a thief of the store or the logs would have.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use reqwest::StatusCode;
use rustix::process::Signal;

use crate::up::Up;

const SESSION: &str = "stayput-session";

#[tokio::test]
async fn a_hostile_session_cookie_is_anonymous_and_never_adopted() {
    let (up, _dir, _) = Up::fresh();
    let browser = up.browser();
    browser.post("/login", &[("user", "alice")]).await.unwrap();
    let good = browser.cookie(SESSION).unwrap();
    let mut flipped = good.clone().into_bytes();
    flipped[30] ^= 1;
    let values: Vec<Vec<u8>> = vec![
        vec![b'A'; 64],
        good.as_bytes()[..40].to_vec(),
        flipped,
        vec![b'A'; 65_536],
        format!("{good}; {SESSION}={good}").into_bytes(),
        b"\xff\xfe%00".to_vec(),
        Vec::new(),
    ];
    for value in values {
        let cookies = [SESSION.as_bytes(), b"=", &value].concat();
        for (path, status) in [("/me", StatusCode::UNAUTHORIZED), ("/", StatusCode::OK)] {
            let reply = browser.get_with_cookies(path, &cookies).await.unwrap();
            assert_eq!(
                reply.status,
                status,
                "{path} {}",
                String::from_utf8_lossy(&value[..value.len().min(80)])
            );
            assert!(!reply.cookies.iter().any(|cookie| cookie.starts_with(SESSION)), "{:?}", reply.cookies);
        }
    }
    assert_eq!(browser.get("/me").await.unwrap().json()["user"], "alice");
}

#[tokio::test]
async fn neither_the_store_nor_the_logs_hold_ids_cookies_or_readable_data() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("stayput.toml");
    std::fs::write(&config, "[gateway]\naccess_log = \"json\"\n").unwrap();
    let port = crate::up::free_port();
    let up = Up::start(dir.path(), port, &["--config", config.to_str().unwrap()]);
    let browser = up.browser();
    browser.post("/cart", &[("item", "a-readable-cart")]).await.unwrap();
    let mut cookies = vec![browser.cookie("stayput-anonymous").unwrap()];
    browser.post("/login", &[("user", "alice-in-the-store")]).await.unwrap();
    cookies.push(browser.cookie(SESSION).unwrap());
    // A refused one is the likeliest to be logged.
    let forged = format!("{}AAAA", &cookies[1][..60]);
    browser.get_with_cookies("/me?secret=query", format!("{SESSION}={forged}").as_bytes()).await.unwrap();
    cookies.push(forged);
    let (_, output) = up.stop(Signal::TERM);
    assert!(output.contains(r#""path":"/me""#) && output.contains("refused"), "{output}");

    let mut secrets: Vec<Vec<u8>> =
        ["a-readable-cart", "alice-in-the-store", "secret=query"].map(|text| text.as_bytes().to_vec()).into();
    for cookie in &cookies {
        let id = &BASE64URL_NOPAD.decode(cookie.as_bytes()).unwrap()[4..28];
        secrets.extend([cookie.clone().into_bytes(), id.to_vec(), hex(id).into_bytes()]);
    }
    let mut places = vec![("logs".to_owned(), output.into_bytes())];
    for file in files(dir.path()) {
        places.push((file.display().to_string(), std::fs::read(file).unwrap()));
    }
    assert!(places.len() >= 3, "logs, keyring, store");
    for (place, bytes) in &places {
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{place} holds {}", String::from_utf8_lossy(secret));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_reaches_no_server() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("stayput.toml");
    std::fs::write(&config, "[gateway.timeouts]\nhead = \"300ms\"\n").unwrap();
    let up = Up::start(dir.path(), crate::up::free_port(), &["--config", config.to_str().unwrap()]);
    let browser = up.browser();
    browser.post("/login", &[("user", "alice")]).await.unwrap();
    let cookies = format!("{SESSION}={}", browser.cookie(SESSION).unwrap());

    let oversized = format!("X: {}\r\n\r\n", "x".repeat(100 * 1024));
    let attacks: [(&str, &str, &str); 9] = [
        ("CL+TE", "400", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("two lengths", "400", "Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
        ("obs-fold", "400", "X: a\r\n b\r\n\r\n"),
        ("bare LF", "400", "X: a\nContent-Length: 0\r\n\r\n"),
        ("unknown coding", "400", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ("space before colon", "400", "Content-Length : 0\r\n\r\n"),
        ("bad chunk", "400", "Transfer-Encoding: chunked\r\n\r\nZZ\r\n"),
        ("oversized head", "431", &oversized),
        ("slow head", "408", "X: a"),
    ];
    for (name, status, rest) in attacks {
        let head = format!("POST /visits HTTP/1.1\r\nHost: shop\r\nCookie: {cookies}\r\n{rest}");
        let answer = talk(&up.url, head.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
    }
    assert_eq!(browser.get("/me").await.unwrap().json()["visits"], 0, "no attack was served");
    let good = format!(
        "POST /visits HTTP/1.1\r\nHost: shop\r\nCookie: {cookies}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    assert!(talk(&up.url, good.as_bytes()).ends_with(r#"{"visits":1}"#));
}

/// Sends `bytes` and reads to the end of the connection.
fn talk(url: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // The server closes after a refusal, and may do so before it has read all of what we sent.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
