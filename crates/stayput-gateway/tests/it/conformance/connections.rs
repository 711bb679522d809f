//! What takes more than bytes in and bytes out: who may say what next on a connection, and when.

use super::rule::{exchange, forwarded, without_pins};
use crate::fuzz::recorder::Recorder;
use crate::support::{TestGateway, Upstream};

#[test]
fn nothing_after_a_refused_request_reaches_an_upstream() {
    let recorder = Recorder::start();
    let gateway = without_pins(&recorder);
    let request = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "X : a\r\n",
        "Host: a\r\n",
        "Max-Forwards: 0\nX: a\r\n",
    ] {
        let sent = [request("/first", ""), request("/refused", fields), request("/after", "")].concat();
        let answers = exchange(gateway.connect(), &sent).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{answers}");
        assert!(answers.contains("\r\n\r\nokHTTP/1.1 400 "), "{answers}");
        let record = recorder.take();
        let targets: Vec<_> = record.requests.iter().map(|request| request.target.as_str()).collect();
        assert_eq!(targets, ["/first"]);
        assert!(record.malformed.is_empty() && record.broken.is_empty(), "{record:?}");
    }
}

#[test]
fn what_looks_like_a_request_in_a_body_is_none() {
    let recorder = Recorder::start();
    let gateway = without_pins(&recorder);
    let evil = "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n";
    let bodies = [
        format!("Content-Length: {}\r\n\r\n{evil}", evil.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{evil}\r\n0\r\n\r\n", evil.len()),
    ];
    for body in bodies {
        let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
        exchange(gateway.connect(), &format!("POST / HTTP/1.1\r\nHost: a\r\n{body}{next}")).unwrap();
        let record = recorder.take();
        let targets: Vec<_> = record.requests.iter().map(|request| request.target.as_str()).collect();
        assert_eq!(targets, ["/", "/next"]);
        assert_eq!(record.requests[0].body, evil.as_bytes());
    }
}

/// Whether this is a date as RFC 9110, 5.6.7 has it, apart from its numbers.
fn is_date(value: &str) -> bool {
    let words: Vec<_> = value.split(' ').collect();
    matches!(words[..], [day, _, _, year, time, "GMT"] if day.ends_with(',') && year.len() == 4 && time.len() == 8)
}

#[test]
fn an_answer_without_a_date_gets_one_and_any_other_keeps_its_own() {
    let dates = |answer: &str| {
        let upstream = Upstream::answering(answer);
        let answer = TestGateway::new(&[&upstream]).get("");
        let dates = answer.head.lines().filter_map(|line| {
            Some(line.split_once(": ")?.1.to_owned()).filter(|_| line[..5].eq_ignore_ascii_case("date:"))
        });
        dates.collect::<Vec<_>>()
    };
    let added = dates("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(added.len() == 1 && is_date(&added[0]), "{added:?}");
    assert_eq!(dates("HTTP/1.1 200 OK\r\ndate: long ago\r\nContent-Length: 0\r\n\r\n"), ["long ago"]);
    // An interim answer gets none: the client has to read it, and nobody keeps it.
    let upstream = Upstream::answering("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    let answers =
        exchange(TestGateway::new(&[&upstream]).connect(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(answers.matches("Date: ").count(), 1, "{answers}");
}

#[test]
fn the_gateways_own_answers_have_a_date_and_none_to_a_head_has_a_body() {
    let gateway = without_pins(&Recorder::start());
    let answer = exchange(gateway.connect(), "HEAD / HTTP/1.1\r\n\r\n").unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    let date = answer.lines().find_map(|line| line.strip_prefix("Date: "));
    assert!(date.is_some_and(is_date), "{answer}");
}

#[test]
fn a_target_too_long_is_414_and_a_field_too_long_431() {
    let gateway = without_pins(&Recorder::start());
    let long = "x".repeat(100 * 1024);
    let target = exchange(gateway.connect(), &format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
    assert!(target.starts_with("HTTP/1.1 414 URI Too Long\r\n"), "{target}");
    let field =
        exchange(gateway.connect(), &format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")).unwrap();
    assert!(field.starts_with("HTTP/1.1 431 "), "{field}");
}

#[test]
fn a_client_that_waits_for_100_may_get_its_answer_instead_and_then_an_end() {
    let upstream = Upstream::custom(|mut connection| {
        connection.head();
        connection.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
        connection.take(5);
    });
    let gateway = TestGateway::new(&[&upstream]);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status, 417);
    // Whether the body still comes nobody can know, so nothing may follow.
    assert!(answer.has("Connection: close"));
    assert!(client.is_closed());
}

#[test]
fn an_http_1_0_client_that_names_no_host_means_the_gateway() {
    let recorder = Recorder::start();
    let gateway = without_pins(&recorder);
    exchange(gateway.connect(), "GET / HTTP/1.0\r\n\r\n").unwrap();
    let expected = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address);
    assert_eq!(forwarded(&recorder.take()), Some(expected));
}
