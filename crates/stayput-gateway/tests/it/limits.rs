//! What happens when there is too much, and what the log says of it all.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use stayput_gateway::{AccessLog, LogFormat};

use crate::support::{TestGateway, Upstream, wait_until};

#[test]
fn a_connection_over_the_limit_is_answered_503_and_one_that_ends_makes_room() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::with(&[&upstream], |config| config.site.limits.connections = 2);
    let mut clients = [gateway.connect(), gateway.connect()];
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
    let mut third = gateway.connect();
    let answer = third.answer();
    assert_eq!(answer.status, 503);
    assert!(answer.has("Retry-After: 1") && answer.has("Connection: close"));
    assert!(third.is_closed());
    drop(clients);
    wait_until("there is room again", || gateway.get("").status == 200);
}

#[test]
fn ten_thousand_pipelined_requests_are_answered_one_after_the_other() {
    const MANY: usize = 10_000;
    let upstream = Upstream::ok();
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    let mut sender = client.another_hand();
    // More than all buffers on the way hold, so the gateway has to leave what it has not come to in the client's.
    let sent = thread::spawn(move || {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(1000));
        (0..MANY).try_for_each(|_| sender.write_all(request.as_bytes()))
    });
    for _ in 0..MANY {
        assert_eq!(client.answer().status, 200);
    }
    sent.join().unwrap().unwrap();
    let seen = upstream.seen();
    assert_eq!((seen.requests.len(), seen.connections), (MANY, 1), "there was never more than one at a time");
}

#[test]
fn a_body_over_the_limit_is_answered_413() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::with(&[&upstream], |config| config.site.limits.body_bytes = Some(4));
    let post = |body: &str| {
        let length = body.len();
        gateway.ask(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"))
    };
    assert_eq!(post("1234").status, 200);
    let answer = post("12345");
    assert!(answer.status == 413 && answer.text().contains("larger than allowed"));
    assert_eq!(upstream.count(), 1);
}

#[test]
fn nobody_but_a_trusted_proxy_says_who_the_user_is() {
    let lines = "Remote-User: root\r\nX_REMOTE_USER: root\r\nx-webauth-user: root\r\nX-Odd: root\r\n";
    for (trusted, names, passed) in [
        ("10.0.0.0/8", None, "X-Odd: root\r\n"),
        ("127.0.0.0/8", None, lines),
        ("10.0.0.0/8", Some("x-ODD"), "Remote-User: root\r\nX_REMOTE_USER: root\r\nx-webauth-user: root\r\n"),
    ] {
        let upstream = Upstream::ok();
        let gateway = TestGateway::with(&[&upstream], |config| {
            config.site.trusted_proxies = vec![trusted.parse().unwrap()];
            if let Some(name) = names {
                config.site.identity_headers = vec![name.to_owned()];
            }
        });
        assert_eq!(gateway.get(lines).status, 200);
        let head = upstream.request(0).head;
        let own = head.find("X-Forwarded-For").unwrap();
        assert_eq!(&head[..own], format!("GET / HTTP/1.1\r\nHost: a\r\n{passed}"), "{trusted} {names:?}");
    }
}

#[test]
fn trace_headers_pass_as_they_came() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::new(&[&upstream]);
    let lines = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
                 TraceState: congo=t61rcWkgMzE,rojo=00f067aa0ba902b7\r\nbaggage: userId=alice,isProduction=false\r\n";
    assert_eq!(gateway.get(lines).status, 200);
    assert!(upstream.request(0).head.contains(lines), "{}", upstream.request(0).head);
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_access_log_has_a_line_for_every_request_and_no_secret() {
    let (upstream, log) = (Upstream::ok(), Shared::default());
    let output = Box::new(log.clone());
    let gateway = TestGateway::with(&[&upstream], |config| {
        config.access_log = Some(AccessLog { format: LogFormat::Text, output });
    });
    let secret = format!("{}Authorization: hidden\r\n", gateway.cookie("s0"));
    gateway
        .ask(&format!("GET /a?token=hidden HTTP/1.1\r\nHost: a\r\nCookie: session=hidden\r\n{secret}\r\n"));
    gateway.ask("GET /hidden HTTP/1.1\n");
    gateway.shut_down(Duration::from_secs(10)).join().unwrap();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Vec<_>> = text.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(lines[0][1..5], ["127.0.0.1", "GET", "/a", "200"]);
    assert_eq!(lines[0][7..], ["s0", "0", "default"]);
    assert_eq!(lines[1][1..5], ["127.0.0.1", "-", "-", "400"]);
    assert!(!text.contains("hidden"), "{text}");
}

#[test]
fn shutdown_does_not_wait_for_a_log_that_is_stuck() {
    struct Stuck(mpsc::Sender<()>);
    impl Write for Stuck {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(());
            loop {
                thread::park();
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let upstream = Upstream::ok();
    let (writes, has_written) = mpsc::channel();
    let gateway = TestGateway::with(&[&upstream], |config| {
        let output = Box::new(Stuck(writes.clone()));
        config.access_log = Some(AccessLog { format: LogFormat::Text, output });
    });
    gateway.get("");
    has_written.recv().unwrap();
    gateway.shut_down(Duration::from_millis(50)).join().unwrap();
}
