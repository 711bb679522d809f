//! What must never reach an upstream, and what it gets instead of what the client said.

use std::time::Duration;

use crate::support::{TestGateway, Upstream};

fn assert_refused(request: &[u8], status: u16) {
    let upstream = Upstream::ok();
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    client.send(request);
    let answer = client.answer();
    let text = String::from_utf8_lossy(&request[..request.len().min(120)]).into_owned();
    assert_eq!(answer.status, status, "{text:?}");
    assert!(answer.has("Connection: close") && answer.has("Cache-Control: no-store"), "{text:?}");
    assert!(client.is_closed(), "{text:?}");
    assert!(upstream.has_seen_nothing(), "{text:?}");
}

fn assert_fields_refused(fields: &str) {
    assert_refused(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\nhello").as_bytes(), 400);
}

#[test]
fn ambiguous_framing_is_refused_and_reaches_no_upstream() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 5\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
    ] {
        assert_fields_refused(fields);
    }
    assert_refused(b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
}

#[test]
fn malformed_heads_are_refused_and_reach_no_upstream() {
    for fields in [
        "X: a\r\n folded\r\n",
        "X: a\r\n\tfolded\r\n",
        "X : a\r\n",
        "X: a\0b\r\n",
        "no colon\r\n",
        ": no name\r\n",
        "Host: b\r\n",
    ] {
        assert_fields_refused(fields);
    }
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_refused(head.as_bytes(), 400);
    }
    assert_refused(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501);
    assert_refused(b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505);
}

#[test]
fn a_bare_line_break_is_refused_before_the_head_is_whole() {
    // Were the head waited for, the answer would be 408, and late.
    for head in ["GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nHost: a\n", "GET / HTTP/1.1\rHost: a", "\n"] {
        assert_refused(head.as_bytes(), 400);
    }
}

#[test]
fn a_head_too_large_or_with_too_many_fields_is_431_and_a_line_too_long_414() {
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(100 * 1024));
    assert_refused(large.as_bytes(), 431);
    let endless = "x".repeat(200 * 1024);
    assert_refused(endless.as_bytes(), 414);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(128));
    assert_refused(many.as_bytes(), 431);
}

#[test]
fn a_cookie_of_64_kilobytes_reaches_the_application() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::new(&[&upstream]);
    let cookie = format!("Cookie: session={}; other=1\r\n", "x".repeat(64 * 1024));
    assert_eq!(gateway.get(&cookie).status, 200);
    assert!(upstream.request(0).head.contains(&cookie));
}

#[test]
fn a_slow_head_is_408_and_silence_is_closed_silently() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::with(&[&upstream], |config| {
        config.site.timeouts.head = Duration::from_millis(50);
        config.site.timeouts.keep_alive = Duration::from_millis(50);
    });
    let mut slow = gateway.connect();
    slow.send("GET / HTTP/1.1\r\nHost:");
    assert_eq!(slow.answer().status, 408);
    assert!(slow.is_closed());
    assert!(gateway.connect().is_closed());
    assert!(upstream.has_seen_nothing());

    let mut idle = gateway.connect();
    idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(idle.answer().status, 200);
    assert!(idle.is_closed());
}

#[test]
fn forwarding_fields_are_the_gateways_own() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::new(&[&upstream]);
    let answer = gateway.ask(
        "GET / HTTP/1.1\r\nHost: shop.example:81\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
         x-forwarded-host: evil\r\nX-Forwarded-Port: 1\r\nX_Forwarded_For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
         Forwarded: for=6.6.6.6\r\nX-Other: kept\r\n\r\n",
    );
    assert_eq!(answer.status, 200);
    let request = upstream.request(0);
    assert_eq!(
        request.head,
        format!(
            "GET / HTTP/1.1\r\nHost: shop.example:81\r\nX-Other: kept\r\nX-Forwarded-For: 127.0.0.1\r\n\
             X-Forwarded-Proto: http\r\nX-Forwarded-Host: shop.example:81\r\nX-Request-Id: {}\r\n\r\n",
            request.id()
        )
    );
}

#[test]
fn behind_tls_upstreams_are_told_of_https() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::with(&[&upstream], |config| config.site.behind_tls = true);
    gateway.get("");
    assert!(upstream.request(0).head.contains("X-Forwarded-Proto: https\r\n"));
}

#[test]
fn fields_of_the_connection_stay_with_it_but_connection_removes_no_cookie() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: x-secret, set-cookie\r\nX-Secret: 1\r\nSet-Cookie: a=1\r\n\
                  Keep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n";
    let upstream = Upstream::answering(answer);
    let gateway = TestGateway::new(&[&upstream]);
    let answer = gateway.get(
        "Connection: keep-alive, cookie, host, authorization, x-forwarded-for, x-gone\r\nX-Gone: 1\r\n\
         Cookie: a=1\r\nAuthorization: b\r\nTE: trailers\r\nUpgrade: websocket\r\nProxy-Authorization: c\r\n",
    );
    let head = upstream.request(0).head;
    for kept in ["Host: a\r\n", "Cookie: a=1\r\n", "Authorization: b\r\n", "X-Forwarded-For: 127.0.0.1\r\n"] {
        assert!(head.contains(kept), "{kept} in {head}");
    }
    for gone in ["Connection:", "X-Gone:", "TE:", "Upgrade:", "Proxy-Authorization:"] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
    assert!(answer.has("Set-Cookie: a=1"));
    assert!(!answer.head.contains("X-Secret") && !answer.head.contains("Keep-Alive"));
}

#[test]
fn an_answer_in_doubt_is_502() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
    ] {
        let upstream = Upstream::answering(answer);
        let gateway = TestGateway::new(&[&upstream]);
        assert_eq!(gateway.get("").status, 502, "{answer:?}");
        assert_eq!(upstream.count(), 1, "{answer:?}");
    }
}
