//! Servers that are gone, die, hang or break off: who is moved, who is told, and what is never done twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::support::{OK, TestGateway, Upstream, localhost};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n";

/// Takes a whole request and breaks off.
fn crashing() -> Upstream {
    Upstream::custom(|mut connection| {
        connection.request();
    })
}

fn unreachable() -> std::net::SocketAddr {
    std::net::TcpListener::bind(localhost()).unwrap().local_addr().unwrap()
}

#[test]
fn a_request_whose_server_is_not_there_moves_on_even_a_post() {
    let there = Upstream::ok();
    let gateway = TestGateway::at(&[unreachable(), there.address], |_| {});
    let answer = gateway.ask(&format!("{POST}{}\r\nhello", gateway.cookie("s0")));
    assert_eq!(answer.text(), "ok");
    assert!(gateway.status(0).is_down);
    assert_eq!(there.request(0).body, b"hello");
}

#[test]
fn a_streamed_body_moves_on_too_when_nothing_of_it_was_sent() {
    let there = Upstream::ok();
    let gateway = TestGateway::at(&[unreachable(), there.address], |_| {});
    let body = "x".repeat(300_000);
    let cookie = gateway.cookie("s0");
    let request =
        format!("POST / HTTP/1.1\r\nHost: a\r\n{cookie}Content-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(gateway.ask(&request).status, 200);
    assert_eq!(there.request(0).body.len(), body.len());
}

#[test]
fn when_no_server_is_there_the_answer_is_503_with_retry_after() {
    let gateway = TestGateway::at(&[unreachable(), unreachable()], |_| {});
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send(format!("{GET}\r\n"));
        let answer = client.answer();
        assert_eq!(answer.status, 503);
        assert!(answer.has("Retry-After: 1") && !answer.has("Connection: close"), "{}", answer.head);
    }
    assert_eq!(gateway.ask(&format!("{POST}\r\nhello")).status, 503);
}

#[test]
fn a_server_that_comes_back_is_used_again() {
    let address = unreachable();
    let gateway = TestGateway::at(&[address], |config| config.timeouts.down = Duration::from_millis(1));
    assert_eq!(gateway.get("").status, 503);
    let listener = std::net::TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        use std::io::{Read, Write};
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(OK.as_bytes());
        }
    });
    crate::support::wait_until("the probe goes through", || gateway.get("").status == 200);
    assert!(!gateway.status(0).is_down);
}

#[test]
fn a_post_that_may_have_been_acted_on_is_502_and_never_sent_twice() {
    let upstreams = [crashing(), crashing(), crashing()];
    let gateway = TestGateway::new(&upstreams.each_ref());
    let answer = gateway.ask(&format!("{POST}\r\nhello"));
    assert_eq!(answer.status, 502);
    let seen: usize = upstreams.iter().map(|upstream| upstream.count() + upstream.seen().broken.len()).sum();
    assert_eq!(seen, 1);
}

#[test]
fn an_idempotent_request_is_sent_to_another_server() {
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        let (crashing, there) = (crashing(), Upstream::ok());
        let gateway = TestGateway::new(&[&crashing, &there]);
        let cookie = gateway.cookie("s0");
        let mut client = gateway.connect();
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n{cookie}Content-Length: 5\r\n\r\nhello"));
        let answer = client.answer_head();
        assert_eq!(answer.status, 200, "{method}");
        assert!(answer.set_cookie().is_some(), "{method} is pinned to the other");
        assert_eq!((crashing.count(), there.count()), (1, 1), "{method}");
        assert_eq!(gateway.status(0).retries, 1);
    }
}

#[test]
fn a_get_on_a_stale_connection_is_sent_again_to_the_same_server() {
    // Closes each connection at its second request, without an answer.
    let upstream = Upstream::custom(|mut connection| {
        connection.request();
        connection.send(OK);
        connection.request();
    });
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    for _ in 0..5 {
        client.send(format!("{GET}{}\r\n", gateway.cookie("s0")));
        let answer = client.answer();
        assert_eq!(answer.text(), "ok");
        assert!(answer.set_cookie().is_none(), "it is not moved");
    }
}

#[test]
fn retries_stop_when_the_budget_is_spent() {
    let upstreams = [crashing(), crashing()];
    let gateway = TestGateway::new(&upstreams.each_ref());
    let mut client = gateway.connect();
    for _ in 0..200 {
        client.send(format!("{GET}\r\n"));
        assert_eq!(client.answer().status, 502);
    }
    let attempts = upstreams[0].count() + upstreams[1].count();
    assert!((300..=350).contains(&attempts), "{attempts} attempts for 200 requests");
}

#[test]
fn no_get_fails_when_one_of_three_servers_is_killed_under_load() {
    let upstreams = [Upstream::ok(), Upstream::ok(), Upstream::ok()];
    let gateway = Arc::new(TestGateway::new(&upstreams.each_ref()));
    let (answered, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..30)
        .map(|number| {
            let (gateway, answered, is_over) = (gateway.clone(), answered.clone(), is_over.clone());
            thread::spawn(move || {
                let (mut client, cookie) = (gateway.connect(), gateway.cookie(&format!("s{}", number % 3)));
                while !is_over.load(SeqCst) {
                    client.send(format!("{GET}{cookie}\r\n"));
                    let answer = client.answer();
                    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
                    answered.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    let answer_some = || {
        let before = answered.load(SeqCst);
        crate::support::wait_until("requests are answered", || answered.load(SeqCst) > before + 300);
    };
    answer_some();
    upstreams[1].kill();
    answer_some();
    is_over.store(true, SeqCst);
    for client in clients {
        client.join().expect("no request fails");
    }
}

#[test]
fn a_server_that_does_not_answer_in_time_is_504_and_not_asked_again() {
    let upstreams = [0, 1].map(|_| {
        Upstream::custom(|mut connection| {
            connection.request();
            connection.request();
        })
    });
    let gateway = TestGateway::with(&upstreams.each_ref(), |config| {
        config.timeouts.answer = Duration::from_millis(50);
    });
    assert_eq!(gateway.get("").status, 504);
    assert_eq!(upstreams[0].count() + upstreams[1].count(), 1);
}
