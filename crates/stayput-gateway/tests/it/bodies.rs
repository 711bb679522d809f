//! Bodies both ways, and answers that have none.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::support::{OK, TestGateway, Upstream, wait_until};

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn bodies_of_a_length_pass_both_ways_in_any_size() {
    let body = "0123456789abcdef".repeat(20_000);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let upstream = Upstream::answering(answer);
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    for size in [0, 1, 16_000, 16_384, 20_000, body.len()] {
        client.send(format!("{POST}Content-Length: {size}\r\n\r\n{}", &body[..size]));
        assert_eq!(client.answer().text(), body);
    }
    let sizes: Vec<_> = upstream.seen().requests.iter().map(|request| request.body.len()).collect();
    assert_eq!(sizes, [0, 1, 16_000, 16_384, 20_000, body.len()]);
    assert_eq!(upstream.seen().connections, 1);
}

#[test]
fn chunked_bodies_pass_both_ways_with_extensions_and_trailers() {
    let chunked = "5\r\nhello\r\n7;ext=\"v\"\r\n, world\r\n0\r\nX-Sum: 1\r\n\r\n";
    let upstream = Upstream::custom(move |mut connection| {
        let head = connection.head().unwrap();
        assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
        assert_eq!(connection.take(chunked.len()).unwrap(), chunked.as_bytes());
        connection.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}{OK}"));
    });
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    client.send(format!("{POST}Transfer-Encoding: chunked\r\n\r\n"));
    // Byte by byte, so that every boundary is met.
    chunked.bytes().for_each(|byte| client.send([byte]));
    let head = client.answer_head();
    assert!(head.has("Transfer-Encoding: chunked"), "{}", head.head);
    assert_eq!(client.take(chunked.len()), chunked.as_bytes());
    client.half_close();
    assert!(client.is_closed(), "what follows the body is nobody's answer");
}

#[test]
fn a_malformed_chunked_body_is_400_and_its_upstream_sees_it_broken_off() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    client.send(format!("{POST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"));
    wait_until("the upstream has the beginning", || gateway.status(0).in_flight == 1);
    client.send("5\r\nworld!\n0\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status, 400);
    assert!(answer.has("Connection: close"));
    assert!(client.is_closed());
    wait_until("the upstream sees the end", || upstream.seen().broken.len() == 1);
    assert_eq!(upstream.count(), 0);

    // All of it at once: not even a connection is made.
    let answer = gateway.ask(&format!("{POST}Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"));
    assert_eq!(answer.status, 400);
    assert_eq!(upstream.seen().connections, 1);
}

#[test]
fn a_body_that_ends_early_is_broken_off_and_400() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    client.send(format!("{POST}Content-Length: 10\r\n\r\nhello"));
    client.half_close();
    assert_eq!(client.answer().status, 400);
    wait_until("the upstream sees the end", || upstream.seen().broken.len() == 1);
}

#[test]
fn a_body_over_the_limit_is_413() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::with(&[&upstream], |config| config.site.limits.body_bytes = Some(4));
    assert_eq!(gateway.ask(&format!("{POST}Content-Length: 5\r\n\r\nhello")).status, 413);
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    assert_eq!(gateway.ask(&format!("{POST}{chunked}5\r\nhello\r\n0\r\n\r\n")).status, 413);
    assert_eq!(gateway.ask(&format!("{POST}{chunked}4\r\nhell\r\n0\r\n\r\n")).status, 200);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_body_that_stops_arriving_is_408() {
    let upstream = Upstream::ok();
    let gateway =
        TestGateway::with(&[&upstream], |config| config.site.timeouts.body = Duration::from_millis(50));
    assert_eq!(gateway.ask(&format!("{POST}Content-Length: 5\r\n\r\nhel")).status, 408);
}

#[test]
fn head_204_and_304_have_no_body_and_the_connection_goes_on() {
    let answers = ["200 OK\r\nContent-Length: 5", "204 No Content", "304 Not Modified\r\nContent-Length: 5"];
    let upstream = Upstream::custom(move |mut connection| {
        for answer in answers {
            connection.request();
            connection.send(format!("HTTP/1.1 {answer}\r\n\r\n"));
        }
        connection.request();
        connection.send(OK);
        connection.request();
    });
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    for (request, status) in [("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 200), (GET, 204), (GET, 304)] {
        client.send(request);
        let head = client.answer_head();
        assert_eq!(head.status, status);
        assert_eq!(head.has("Content-Length: 5"), status != 204);
    }
    client.send(GET);
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(upstream.seen().connections, 1);
}

#[test]
fn a_client_that_waits_for_100_gets_it_and_then_its_answer() {
    let upstream = Upstream::custom(|mut connection| {
        let head = connection.head().unwrap();
        assert!(head.contains("Expect: 100-continue\r\n"), "{head}");
        connection.send("HTTP/1.1 100 Continue\r\n\r\n");
        connection.take(5);
        connection.send(OK);
        connection.request();
    });
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    client.send(format!("{POST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"));
    assert_eq!(client.answer_head().head, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello");
    assert_eq!(client.answer().status, 200);
    client.send(GET);
}

#[test]
fn a_1_0_client_gets_plain_bytes_and_a_close_and_no_interim_answers() {
    let upstream = Upstream::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n3;x\r\n wo\r\n0\r\nA: b\r\n\r\n",
    );
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text()), (200, "hello wo"));
    assert!(answer.has("Connection: close") && !answer.head.contains("Transfer-Encoding"));
    assert!(upstream.request(0).head.starts_with("GET / HTTP/1.1\r\nHost: 127.0.0.1:"));
}

#[test]
fn a_1_0_client_may_keep_a_connection_whose_answers_have_a_length() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert!(client.answer().has("Connection: keep-alive"));
    }
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert!(client.answer().has("Connection: close"));
    assert!(client.is_closed());
}

#[test]
fn an_answer_that_ends_with_its_connection_ends_the_clients_too() {
    let upstream = Upstream::custom(|mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\n\r\nhello");
    });
    let gateway = TestGateway::new(&[&upstream]);
    let answer = gateway.get("");
    assert!(answer.has("Connection: close"));
    assert_eq!(answer.text(), "hello");
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let upstream = Upstream::custom(|mut connection| {
        connection.head();
        connection.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
    });
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    let body = vec![b'x'; 8 * 1024 * 1024];
    client.send(format!("{POST}Content-Length: {}\r\n\r\n", body.len()));
    // The gateway stops reading at some point; what counts is that the answer comes through.
    let _ = client.try_send(&body[..1024 * 1024]);
    let answer = client.answer();
    assert_eq!((answer.status, answer.text()), (413, "big"));
    assert!(answer.has("Connection: close"));
}

#[test]
fn a_client_that_is_refused_while_sending_is_read_on_so_that_it_sees_why() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::with(&[&upstream], |config| config.site.limits.body_bytes = Some(4));
    let mut client = gateway.connect();
    client.send(format!("{POST}Content-Length: 8000000\r\n\r\n"));
    assert_eq!(client.answer().status, 413);
    // Were the connection closed at once, this would be met with a reset.
    client.send(vec![b'x'; 8_000_000]);
    assert!(client.is_closed());
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    client.send(GET);
    client.half_close();
    assert_eq!(client.answer().text(), "ok");
    assert!(client.is_closed());
}

#[test]
fn upload_and_download_run_at_the_same_time() {
    let upstream = Upstream::custom(|mut connection| {
        connection.head();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while let Some(byte) = connection.take(1) {
            connection.send([b"1\r\n", byte.as_slice(), b"\r\n"].concat());
        }
    });
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    client.send(format!("{POST}Content-Length: 4\r\n\r\n"));
    assert_eq!(client.answer_head().status, 200);
    for byte in "abc".bytes() {
        client.send([byte]);
        assert_eq!(client.take(6), [b"1\r\n", &[byte][..], b"\r\n"].concat());
    }
}

#[test]
fn a_client_that_does_not_read_makes_its_upstream_wait() {
    const TOTAL: usize = 256 * 1024 * 1024;
    let sent = Arc::new(AtomicUsize::new(0));
    let (blocked, is_blocked) = mpsc::channel();
    let count = sent.clone();
    let upstream = Upstream::custom(move |mut connection| {
        use std::io::{ErrorKind, Write};
        connection.request();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n"));
        connection.stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let piece = vec![b'x'; 64 * 1024];
        loop {
            match connection.stream.write(&piece) {
                Ok(n) => {
                    count.fetch_add(n, SeqCst);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break blocked.send(()).unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
    });
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    client.send(GET);
    // The kernel's buffers take some megabytes; the gateway, if it read on, would take all of it.
    is_blocked.recv_timeout(Duration::from_secs(10)).expect("the upstream's send blocks");
    assert!(sent.load(SeqCst) < TOTAL / 4, "{} bytes were taken", sent.load(SeqCst));
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    for head in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let upstream = Upstream::custom(move |mut connection| {
            connection.request();
            connection.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhe"));
        });
        let gateway = TestGateway::new(&[&upstream]);
        for version in ["1.1", "1.0"] {
            let mut client = gateway.connect();
            client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
            assert!(client.rest().is_err(), "{head} to HTTP/{version} ended as if it were whole");
        }
    }
}

#[test]
fn no_answer_of_the_gateways_own_is_put_into_half_an_interim_one() {
    let hints = format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "x".repeat(4 * 1024 * 1024));
    let upstream = Upstream::custom(move |mut connection| {
        connection.request();
        // More than the kernel's buffers take.
        (0..16).for_each(|_| connection.send(&hints));
    });
    let gateway = TestGateway::with(&[&upstream], |config| {
        config.site.limits.head_bytes = 8 * 1024 * 1024;
        config.site.timeouts.body = Duration::from_millis(50);
    });
    let mut client = gateway.connect();
    client.send(GET);
    wait_until("the gateway has given up", || {
        let status = gateway.status(0);
        status.requests == 1 && status.in_flight == 0
    });
    let end = client.rest().unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
}
