//! What happens when there is too much, and what the log says of it all.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use stayput_gateway::{AccessLog, ConfigMistake, LogFormat, PoolConfig, RequestIds, SiteConfig};

use crate::support::{TestGateway, Upstream, named, wait_until};

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
    assert_eq!(lines[0][7..], ["s0", "0", "default", &upstream.request(0).id()]);
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

#[test]
fn every_request_has_an_id_and_nobody_but_a_trusted_proxy_gives_it() {
    for (trusted, sent, kept) in [
        ("10.0.0.0/8", "X-Request-Id: from-outside\r\nx_request_id: from-outside\r\n", None),
        ("10.0.0.0/8", "X-Request-Id: from-outside\r\n", None),
        ("127.0.0.0/8", "x-request-ID: from-outside\r\n", Some("from-outside")),
        ("127.0.0.0/8", "X-Request-Id: one\r\nX-Request-Id: two\r\n", None),
        ("127.0.0.0/8", "X-Request-Id: in \"quotes\"\r\n", None),
        ("127.0.0.0/8", "", None),
    ] {
        let upstream = Upstream::ok();
        let gateway = TestGateway::with(&[&upstream], |config| {
            config.site.trusted_proxies = vec![trusted.parse().unwrap()];
        });
        let answers = [gateway.get(sent), gateway.get(sent)];
        assert!(answers.iter().all(|answer| answer.status == 200 && !answer.head.contains("X-Request-Id")));
        let ids = [0, 1].map(|index| upstream.request(index).id());
        match kept {
            Some(kept) => assert_eq!(ids, [kept, kept]),
            None => assert!(ids[0] != ids[1] && ids.iter().all(|id| id.len() == 32), "{ids:?}"),
        }
        let head = upstream.request(0).head.to_ascii_lowercase().replace('_', "-");
        assert_eq!(head.matches("x-request-id").count(), 1, "{head}");
    }
}

#[test]
fn an_id_is_the_same_for_all_attempts_and_returned_where_that_is_wanted() {
    let crashes = Upstream::custom(|mut connection| drop(connection.request()));
    let there =
        Upstream::answering("HTTP/1.1 200 OK\r\nx-request-id: its-own\r\nContent-Length: 2\r\n\r\nok");
    let gateway =
        TestGateway::with(&[&crashes, &there], |config| config.site.request_ids = RequestIds::Return);
    let answer = gateway.get(&gateway.cookie("s0"));
    assert_eq!(answer.text(), "ok");
    let id = there.request(0).id();
    assert_eq!(crashes.request(0).id(), id);
    assert!(
        answer.has(&format!("X-Request-Id: {id}")) && !answer.head.contains("its-own"),
        "{}",
        answer.head
    );

    let gateway = TestGateway::with(&[&crashes], |config| config.site.request_ids = RequestIds::Return);
    let answer = gateway.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(answer.status, 502);
    assert!(answer.has(&format!("X-Request-Id: {}", crashes.request(1).id())), "{}", answer.head);
}

#[test]
fn without_ids_the_field_is_one_like_any_other() {
    let upstream =
        Upstream::answering("HTTP/1.1 200 OK\r\nX-Request-Id: its-own\r\nContent-Length: 2\r\n\r\nok");
    let gateway = TestGateway::with(&[&upstream], |config| config.site.request_ids = RequestIds::Off);
    assert!(gateway.get("X-Request-Id: from outside\r\n").has("X-Request-Id: its-own"));
    assert_eq!(upstream.request(0).id(), "from outside");
    gateway.get("");
    assert!(!upstream.request(1).head.contains("X-Request-Id"));
}

#[test]
fn a_pools_own_limit_of_bodies_takes_the_place_of_that_of_all() {
    let upstream = Upstream::ok();
    let pool = |path: &str, body_bytes| {
        let mut pool = PoolConfig::new(named(&[upstream.address]));
        (pool.name, pool.paths, pool.body_bytes) = (path.to_owned(), vec![path.to_owned()], body_bytes);
        pool.affinity.rules.clear();
        pool
    };
    let gateway = TestGateway::with(&[&upstream], |config| {
        config.site.limits.body_bytes = Some(5);
        config.site.pools = vec![pool("/", None), pool("/less", Some(2)), pool("/more", Some(u64::MAX))];
    });
    let status = |path: &str, length: usize| {
        let body = "x".repeat(length);
        gateway
            .ask(&format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"))
            .status
    };
    assert_eq!(
        [status("/", 5), status("/", 6), status("/less", 2), status("/less", 3)],
        [200, 413, 200, 413]
    );
    assert_eq!(status("/more", 50_000), 200);
}

#[test]
fn budgets_of_retries_that_can_be_none_are_mistakes() {
    let mut config = SiteConfig::new(vec![PoolConfig::new(named(&[([127, 0, 0, 1], 1).into()]))]);
    (config.limits.retry_percent, config.limits.retry_savings) = (100, 1_000_000);
    assert_eq!(config.mistakes(None), []);
    (config.limits.retry_percent, config.limits.retry_savings) = (101, 1_000_001);
    assert_eq!(
        config.mistakes(None),
        [ConfigMistake::RetryPercent(101), ConfigMistake::RetrySavings(1_000_001)]
    );
}
