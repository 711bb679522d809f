//! Connections on both sides: used again, kept in order, replaced when stale, ended properly.

use std::net::{Shutdown, TcpListener};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use stayput_core::{Keyring, SystemRandom};
use stayput_gateway::{
    BindError, Config, ConfigMistake, CookieRule, Gateway, Rule, SessionFormat, SessionRule, UpstreamConfig,
};

use crate::support::{Connection, OK, TestGateway, Upstream, localhost, named, wait_until};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn both_connections_carry_many_requests() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    for _ in 0..10 {
        client.send(GET);
        assert_eq!(client.answer().text(), "ok");
    }
    assert_eq!((upstream.count(), upstream.seen().connections), (10, 1));
    assert_eq!(gateway.status(0).requests, 10);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::custom(|mut connection| {
        while let Some(request) = connection.request() {
            let path = request.head.split(' ').nth(1).unwrap().to_owned();
            let body = String::from_utf8(request.body).unwrap();
            let answer = path + &body;
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len()));
        }
    });
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    client.send(
        "GET /a HTTP/1.1\r\nHost: a\r\n\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\
         GET /c HTTP/1.1\r\nHost: a\r\n\r\nGET /d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    for expected in ["/a", "/bhi", "/c", "/d"] {
        assert_eq!(client.answer().text(), expected);
    }
    assert!(client.is_closed());
}

#[test]
fn close_from_either_side_is_respected() {
    let upstream = Upstream::custom(|mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    });
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    for _ in 0..3 {
        client.send(GET);
        assert!(!client.answer().has("Connection: close"), "the upstream's connection is not the client's");
    }
    assert_eq!(upstream.seen().connections, 3);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(client.answer().has("Connection: close"));
    assert!(client.is_closed());
}

#[test]
fn what_follows_a_last_request_does_not_break_its_answer() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    let more = "\r\n".repeat(500_000);
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n{more}"));
    assert_eq!(client.answer().text(), "ok");
    assert!(client.is_closed(), "closing with bytes unread is met with a reset");
}

/// An upstream that, told to, does something to its first connection while that is idle, and says when it is done.
/// On loopback the gateway's kernel has then seen it, too.
fn meddling(act: impl Fn(&mut Connection) + Send + Sync + 'static) -> (Upstream, impl Fn()) {
    let (begin, may_begin) = mpsc::channel();
    let (finish, is_done) = mpsc::channel();
    let may_begin = Mutex::new(may_begin);
    let upstream = Upstream::custom(move |mut connection| {
        connection.request();
        connection.send(OK);
        if connection.number == 0 {
            may_begin.lock().unwrap().recv().unwrap();
            act(&mut connection);
            finish.send(()).unwrap();
        }
        while connection.request().is_some() {
            connection.send(OK);
        }
    });
    (upstream, move || {
        begin.send(()).unwrap();
        is_done.recv().unwrap();
    })
}

#[test]
fn a_connection_that_was_closed_or_spoken_on_while_idle_is_not_used_again() {
    let close = |connection: &mut Connection| connection.stream.shutdown(Shutdown::Both).unwrap();
    let speak = |connection: &mut Connection| {
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    };
    let acts: [fn(&mut Connection); 2] = [close, speak];
    for act in acts {
        let (upstream, meddle) = meddling(act);
        let gateway = TestGateway::new(&[&upstream]);
        let mut client = gateway.connect();
        client.send(GET);
        assert_eq!(client.answer().text(), "ok");
        meddle();
        // A POST: it would not be sent again.
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (200, "ok"));
        assert_eq!((upstream.count(), upstream.seen().connections), (2, 2));
    }
}

#[test]
fn bytes_after_an_answer_are_nobodys() {
    let upstream = Upstream::custom(|mut connection| {
        while connection.request().is_some() {
            connection.send([OK, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"].concat());
        }
    });
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    for _ in 0..5 {
        client.send(GET);
        assert_eq!(client.answer().text(), "ok");
    }
    assert_eq!(upstream.seen().connections, 5);
}

#[test]
fn shutdown_lets_a_request_in_flight_finish_and_closes_idle_connections() {
    let (answer, may_answer) = mpsc::channel();
    let may_answer = Mutex::new(may_answer);
    let upstream = Upstream::custom(move |mut connection| {
        while let Some(request) = connection.request() {
            if request.head.starts_with("GET /slow") {
                may_answer.lock().unwrap().recv().unwrap();
            }
            connection.send(OK);
        }
    });
    let gateway = TestGateway::new(&[&upstream]);
    let address = gateway.address;
    let (mut busy, mut idle) = (gateway.connect(), gateway.connect());
    idle.send(GET);
    assert_eq!(idle.answer().status, 200);
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the request is in flight", || upstream.count() == 2);

    let done = gateway.shut_down(Duration::from_mins(1));
    assert!(idle.is_closed());
    wait_until("nobody is let in", || std::net::TcpStream::connect(address).is_err());
    assert!(!done.is_finished());
    answer.send(()).unwrap();
    let answer = busy.answer();
    assert_eq!(answer.text(), "ok");
    assert!(answer.has("Connection: close"));
    drop(busy);
    done.join().unwrap();
}

#[test]
fn shutdown_cuts_what_is_not_done_at_the_deadline() {
    let upstream = Upstream::custom(|mut connection| {
        connection.request();
        connection.request();
    });
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    client.send(GET);
    wait_until("the request is in flight", || upstream.count() == 1);
    gateway.shut_down(Duration::from_millis(20)).join().unwrap();
    assert!(client.rest().map_or(true, |rest| rest.is_empty()));
}

#[test]
fn a_taken_port_is_a_clear_error_even_if_the_other_would_share() {
    let upstream = Upstream::ok();
    let keyring = Arc::new(Keyring::generate(&SystemRandom));
    let bind =
        |address| Gateway::bind(Config::new(address, named(&[upstream.address])), Arc::clone(&keyring));

    let plain = TcpListener::bind(localhost()).unwrap();
    let gateway = TestGateway::new(&[&upstream]);
    for taken in [plain.local_addr().unwrap(), gateway.address] {
        let error = bind(taken).unwrap_err();
        assert!(matches!(error, BindError::Listen { address, .. } if address == taken));
        assert_eq!(error.to_string(), format!("{taken} is taken: another process listens there"));
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[test]
fn all_mistakes_of_a_configuration_are_reported_together() {
    let mut config = Config::new(localhost(), named(&[localhost(), localhost()]));
    config.site.pools[0].upstreams[1].name = "s0".into();
    config.site.pools[0].upstreams[0].weight = 0;
    config.site.pools[0]
        .upstreams
        .push(UpstreamConfig { weight: 257, ..UpstreamConfig::new("a\0", localhost().into()) });
    let cookie = |name: &str, idle, absolute| {
        let [idle_timeout, absolute_timeout] = [idle, absolute].map(|limit| Some(Duration::from_secs(limit)));
        Rule::Cookie(CookieRule {
            name: name.into(),
            idle_timeout,
            absolute_timeout,
            ..CookieRule::default()
        })
    };
    let session = |cookies: Vec<String>| Rule::Session(SessionRule { cookies, format: SessionFormat::Whole });
    config.site.pools[0].affinity.rules = vec![
        cookie("sid", 20, 10),
        session(Vec::new()),
        session(vec!["sid".into()]),
        Rule::Header("X-Forwarded-For".into()),
        Rule::Ip,
        cookie("a b", 9, 10),
    ];
    config.site.limits.connections = 0;
    let Err(BindError::Config(mistakes)) = Gateway::bind(config, Keyring::generate(&SystemRandom)) else {
        panic!("it was accepted");
    };
    let expected = [
        ConfigMistake::RepeatedUpstream("s0".into()),
        ConfigMistake::Weight("s0".into(), 0),
        ConfigMistake::UpstreamName("a\0".into()),
        ConfigMistake::Weight("a\0".into(), 257),
        ConfigMistake::IdleBeyondAbsolute,
        ConfigMistake::NoSessionCookie,
        ConfigMistake::SharedCookie,
        ConfigMistake::Header("X-Forwarded-For".into()),
        ConfigMistake::CookieName("a b".into()),
        ConfigMistake::ShortPin,
        ConfigMistake::RuleAfterIp,
        ConfigMistake::TwoCookies,
        ConfigMistake::NoConnections,
    ];
    assert_eq!(mistakes, expected);
}

#[test]
fn a_gateway_is_not_its_own_upstream() {
    let listener = std::net::TcpListener::bind(localhost()).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let refused = Gateway::bind(Config::new(address, named(&[address])), Keyring::generate(&SystemRandom));
    assert!(
        matches!(refused, Err(BindError::Config(mistakes)) if mistakes == [ConfigMistake::OwnAddress(address)])
    );
}

#[test]
fn shutdown_does_not_wait_for_an_idle_client_whose_last_bytes_just_filled_the_buffer() {
    let upstream = Upstream::ok();
    let gateway =
        TestGateway::with(&[&upstream], |config| config.site.timeouts.head = Duration::from_mins(1));
    let mut clients = [16 * 1024, 32 * 1024].map(|size| {
        let mut client = gateway.connect();
        let field = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        client.send(format!("{field}{}\r\n\r\n", "x".repeat(size - field.len() - 4)));
        assert_eq!(client.answer().status, 200);
        client
    });
    let done = gateway.shut_down(Duration::from_mins(1));
    for client in &mut clients {
        assert!(client.is_closed());
    }
    done.join().unwrap();
}

#[test]
fn of_many_gateways_that_start_together_on_one_port_one_gets_it() {
    let port = TcpListener::bind(localhost()).unwrap().local_addr().unwrap();
    let keyring = Arc::new(Keyring::generate(&SystemRandom));
    for _ in 0..50 {
        let start = std::sync::Barrier::new(4);
        let bound: Vec<_> = std::thread::scope(|scope| {
            let bind = || {
                start.wait();
                Gateway::bind(Config::new(port, named(&[port])), Arc::clone(&keyring))
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(bind)).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect()
        });
        assert!(bound.len() <= 1, "{} share a port", bound.len());
    }
}
