//! The quick start over Redis: the user changes a URL and nothing else.

use reqwest::StatusCode;
use rustix::process::Signal;
use stayput_testkit::servers::{RedisServer, RedisServerOptions};

use crate::up::{Up, free_port, run, stayput};

#[tokio::test(flavor = "multi_thread")]
async fn up_keeps_its_sessions_in_redis() {
    let server = RedisServerOptions::default().password("sword@fish").start();
    let url = format!("redis://:sword%40fish@127.0.0.1:{}", server.port());
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let up = Up::start(dir.path(), port, &["--store", &url]);
    let browser = up.browser();
    assert_eq!(browser.post("/login", &[("user", "alice")]).await.unwrap().status, StatusCode::OK);
    assert_eq!(browser.get("/me").await.unwrap().json()["user"], "alice");
    // Nothing of it is on this machine's disk, and the password nowhere to be seen.
    assert!(!dir.path().join("sessions.db").exists());
    for server in up.servers() {
        let line = std::fs::read_to_string(format!("/proc/{}/cmdline", server.pid)).unwrap();
        assert!(line.contains("sample-server") && !line.contains("fish"), "{line}");
    }
    let (status, said) = up.stop(Signal::TERM);
    assert!(status.success() && !said.contains("fish"), "{said}");

    let up = Up::start(dir.path(), free_port(), &["--store", &url]);
    assert_eq!(browser.at(&up.url).get("/me").await.unwrap().json()["user"], "alice");
}

#[test]
fn what_is_wrong_with_a_redis_url_is_said_without_its_password() {
    let server = RedisServerOptions::default().password("swordfish").start();
    let port = server.port();
    let mut gone = RedisServer::plain();
    gone.kill();
    for (url, code, said) in [
        (format!("redis://:hunter2@127.0.0.1:{port}"), 1, "refused the user or the password"),
        (format!("redis://127.0.0.1:{port}"), 1, "wants a password"),
        (format!("redis://:hunter2@127.0.0.1:{}", gone.port()), 1, "see that the server runs there"),
        ("redis://:hunter2@127.0.0.1:port".to_owned(), 2, "not a URL like"),
        ("mongodb://app:hunter2@127.0.0.1".to_owned(), 2, "no store is called `mongodb`"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let output = run(dir.path(), free_port(), &["--store", &url]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(said) && !errors.contains("hunter2"), "{errors}");
    }
}

#[test]
fn a_store_is_checked_before_anybody_depends_on_it() {
    let server = RedisServer::plain();
    let url = format!("redis://127.0.0.1:{}", server.port());
    let output = stayput(&["store", "check", &url]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("  ok    ").count(), 7, "{said}");
    assert!(said.contains("read ") && said.contains("write "), "{said}");

    server.run("CONFIG SET maxmemory 1");
    let output = stayput(&["store", "check", &url]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("FAIL") && said.contains("maxmemory"), "{said}");
    assert!(stayput(&["store", "check", "memory:"]).status.success());
    assert_eq!(stayput(&["store", "check", "redis://:hunter2@host:port"]).status.code(), Some(2));
}
