//! Servers that are gone, die, hang or break off: who is moved, who is told, and what is never done twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::support::{OK, Silent, TestGateway, Upstream, localhost, wait_until};

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
fn a_request_moves_on_from_a_server_to_which_no_way_leads_from_here() {
    // A link-local address without its link: invalid, or not available where there is no IPv6.
    let nowhere = "[fe80::1]:9".parse().unwrap();
    let there = Upstream::ok();
    let gateway = TestGateway::at(&[nowhere, there.address], |_| {});
    for _ in 0..3 {
        assert_eq!(gateway.get(&gateway.cookie("s0")).text(), "ok");
    }
    assert!(!gateway.status(0).is_down, "it is not to blame");
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
    let gateway = TestGateway::at(&[address], |config| config.site.timeouts.down = Duration::from_millis(1));
    assert_eq!(gateway.get("").status, 503);
    let listener = std::net::TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        use std::io::{Read, Write};
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(OK.as_bytes());
        }
    });
    wait_until("the probe goes through", || gateway.get("").status == 200);
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
    for _ in 0..2000 {
        client.send(format!("{GET}\r\n"));
        assert_eq!(client.answer().status, 502);
    }
    let attempts = upstreams[0].count() + upstreams[1].count();
    // 1,000 from the savings, and a fifth of the requests.
    assert!((3000..=3500).contains(&attempts), "{attempts} attempts for 2000 requests");
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
        wait_until("requests are answered", || answered.load(SeqCst) > before + 300);
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
        config.site.timeouts.answer = Duration::from_millis(50);
    });
    assert_eq!(gateway.get("").status, 504);
    assert_eq!(upstreams[0].count() + upstreams[1].count(), 1);
}

#[test]
fn a_server_that_can_be_reached_again_is_up_even_if_an_older_connection_to_it_survived() {
    let listener = std::net::TcpListener::bind(localhost()).unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = TestGateway::at(&[address], |config| config.site.timeouts.down = Duration::from_millis(1));
    let (mut first, mut second) = (gateway.connect(), gateway.connect());
    first.send(format!("{GET}\r\n"));
    let (mut survivor, _) = listener.accept().unwrap();
    drop(listener);
    // The only connection is busy, and there is no way to another.
    second.send(format!("{GET}\r\n"));
    assert_eq!(second.answer().status, 503);
    assert!(gateway.status(0).is_down);
    let serve = |stream: &mut std::net::TcpStream| {
        use std::io::{Read, Write};
        while stream.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {
            let _ = stream.write_all(OK.as_bytes());
        }
    };
    thread::spawn(move || serve(&mut survivor));
    assert_eq!(first.answer().status, 200);

    let listener = std::net::TcpListener::bind(address).unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(|mut stream| serve(&mut stream)));
    wait_until("it counts as up", || {
        gateway.get("");
        !gateway.status(0).is_down
    });
}

#[test]
fn a_connection_is_kept_as_long_after_a_late_answer_as_after_any_other() {
    let upstream = Upstream::custom(|mut connection| {
        connection.request();
        if connection.number > 0 {
            connection.send(OK);
        }
        connection.request();
    });
    let gateway = TestGateway::with(&[&upstream], |config| {
        config.site.timeouts.answer = Duration::from_millis(1100);
        config.site.timeouts.keep_alive = Duration::from_secs(1);
    });
    let mut client = gateway.connect();
    client.send(format!("{GET}\r\n"));
    let answer = client.answer();
    assert_eq!(answer.status, 504);
    assert!(!answer.has("Connection: close"));
    client.send(format!("{GET}\r\n"));
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_server_that_is_taken_out_while_it_is_connected_to_gets_not_even_a_post() {
    let (silent, there) = (Silent::new(), Upstream::ok());
    let gateway = TestGateway::at(&[silent.address, there.address], |config| {
        let mut check = stayput_gateway::Check::http("/health");
        (check.interval, check.timeout) = (Duration::from_millis(100), Duration::from_millis(100));
        config.site.pools[0].health.check = Some(check);
        config.site.timeouts.connect = Duration::from_mins(1);
    });
    let mut client = gateway.connect();
    client.send(format!("{POST}{}\r\nhello", gateway.cookie("s0")));
    wait_until("its check has failed", || gateway.status(0).is_out);
    // The kernel asks it again after a second or three.
    let heard = silent.answer("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().text(), "ok");
    assert!(heard.try_iter().all(|first| !first.starts_with("POST")));
    assert!(there.seen().requests.iter().any(|request| request.body == b"hello"));
}

#[test]
fn a_request_that_meets_only_silent_servers_gives_up_after_five() {
    let silent = [(); 7].map(|()| Silent::new());
    let gateway = TestGateway::at(&silent.each_ref().map(|its| its.address), |config| {
        config.site.timeouts.connect = Duration::from_millis(200);
        config.site.timeouts.down = Duration::from_mins(10);
    });
    assert_eq!(gateway.get("").status, 503);
    assert_eq!((0..silent.len()).filter(|&index| gateway.status(index).is_down).count(), 5);
}

#[test]
fn one_wait_in_vain_is_enough_where_a_server_is_known_to_be_up() {
    let (silent, there) = ([(); 24].map(|()| Silent::new()), Upstream::ok());
    let addresses: Vec<_> = silent.iter().map(|its| its.address).chain([there.address]).collect();
    let gateway = TestGateway::at(&addresses, |config| {
        config.site.timeouts.connect = Duration::from_millis(200);
        // Each of them may be probed all the time.
        config.site.timeouts.down = Duration::ZERO;
    });
    let are_down = || (0..silent.len()).all(|index| gateway.status(index).is_down);
    thread::scope(|scope| {
        for _ in 0..silent.len() {
            scope.spawn(|| {
                while !are_down() {
                    gateway.get("");
                }
            });
        }
    });
    for _ in 0..12 {
        assert_eq!(gateway.get("").status, 200);
    }
}
