//! Streams of requests: well-formed ones, ones that are odd in some place, and ones with bytes changed.

use fastrand::Rng;

/// What comes after every stream, so that a proxy which has understood it hangs up.
pub(super) const END: &[u8] = b"GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// What is in the target of every request of a case.
pub(super) fn mark(case: usize) -> String {
    format!("/c{case}-")
}

/// One to three requests.
pub(super) fn stream(rng: &mut Rng, case: usize) -> Vec<u8> {
    let count = rng.usize(1..=3);
    let mut bytes = (0..count).flat_map(|number| request(rng, &format!("{}{number}", mark(case)))).collect();
    if rng.u8(..) < 64 {
        change(rng, &mut bytes);
    }
    bytes
}

fn request(rng: &mut Rng, target: &str) -> Vec<u8> {
    let method = pick(rng, &["GET", "GET", "POST", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"]);
    let form = odd(rng, "", &["http://b", "http://b:80", "HTTP://b"]);
    let blank = odd(rng, " ", &["  ", "\t", "\x0b"]);
    let version = odd(rng, "HTTP/1.1", &["HTTP/1.0", "HTTP/1.0", "HTTP/1.2", "http/1.1", "HTTP/1.1 "]);
    let end = odd(rng, "\r\n", &["\n", "\r", "\r\r\n", "\r\n "]);
    let content = content(rng, target);
    let (framing, body) = framing(rng, &content);
    let before = field(rng);
    let host = odd(
        rng,
        "Host: a\r\n",
        &["", "Host: a\r\nHost: a\r\n", "Host : a\r\n", "Host: a b\r\n", "Host:\r\n"],
    );
    let after = field(rng);
    let last = odd(rng, "\r\n", &["\n", "\n\r\n"]);
    let head = format!("{method}{blank}{form}{target} {version}{end}{before}{host}{framing}{after}{last}");
    let mut bytes = head.into_bytes();
    bytes.extend(body);
    bytes
}

/// What may be taken for a request if the framing is misread.
fn content(rng: &mut Rng, target: &str) -> String {
    match rng.u8(..4) {
        0 => String::new(),
        1 => "hello".to_owned(),
        2 => "0\r\n\r\n".to_owned(),
        _ => format!("GET {target}-evil HTTP/1.1\r\nHost: a\r\n\r\n"),
    }
}

/// Framing fields, and a body that goes with them or nearly so.
fn framing(rng: &mut Rng, content: &str) -> (String, Vec<u8>) {
    let length = length(rng, content.len());
    let coding = coding(rng);
    match rng.u8(..20) {
        0..=3 => (String::new(), Vec::new()),
        4..=9 => (length, content.as_bytes().to_vec()),
        10..=16 => (coding, chunked(rng, content)),
        17 => (format!("{length}{coding}"), chunked(rng, content)),
        18 => (format!("{coding}{length}"), content.as_bytes().to_vec()),
        _ => (format!("{length}{length}"), content.as_bytes().to_vec()),
    }
}

fn length(rng: &mut Rng, n: usize) -> String {
    let value = format!("Content-Length: {n}\r\n");
    let odd_ones = [
        format!("Content-Length: +{n}\r\n"),
        format!("Content-Length: 0{n}\r\n"),
        format!("Content-Length:{n}\r\n"),
        format!("Content-Length:\t{n} \r\n"),
        format!("Content-Length: {n}, {n}\r\n"),
        format!("Content-Length: {n},\r\n"),
        format!("Content-Length : {n}\r\n"),
        format!("Content-Length:\r\n {n}\r\n"),
        format!("Content_Length: {n}\r\n"),
        format!("Content-Length: 0x{n:x}\r\n"),
        format!("Content-Length: {n}\x0b\r\n"),
        format!("Content-Length: -{n}\r\n"),
        format!("Content-Length: {}\r\n", n + 1),
        format!("Content-Length: {}\r\n", n.saturating_sub(1)),
        format!("Content-Length: {}\r\n", (1_u128 << 64) + n as u128),
        format!("X: a\r\n Content-Length: {n}\r\n"),
        format!("Connection: content-length\r\nContent-Length: {n}\r\n"),
    ];
    odd(rng, &value, &odd_ones.each_ref().map(String::as_str)).to_owned()
}

fn coding(rng: &mut Rng) -> String {
    let odd_ones = [
        "Transfer-Encoding: Chunked\r\n",
        "Transfer-Encoding:chunked \r\n",
        "Transfer-Encoding:\tchunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: \r\n",
        "X: a\r\n Transfer-Encoding: chunked\r\n",
        "X: a\nTransfer-Encoding: chunked\r\n",
        "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n",
    ];
    odd(rng, "Transfer-Encoding: chunked\r\n", &odd_ones).to_owned()
}

fn chunked(rng: &mut Rng, content: &str) -> Vec<u8> {
    let mut body = Vec::new();
    let mut rest = content.as_bytes();
    while !rest.is_empty() {
        let n = rng.usize(1..=rest.len());
        let size = format!("{n:x}");
        let odd_ones = [
            format!("0{size}"),
            format!("{size};a=b"),
            format!("{size};a=\"\r\n\""),
            format!("{size} ;a"),
            format!("{size} "),
            format!(" {size}"),
            format!("0x{size}"),
            format!("+{size}"),
            format!("{:x}", n + 1),
            format!("1000000000000000{size}"),
            format!("00000000000000000{size}"),
            format!("{size};\n"),
            format!("{size};\ra"),
        ];
        let size = odd(rng, &size, &odd_ones.each_ref().map(String::as_str)).to_owned();
        let ends = [odd(rng, "\r\n", &["\n", "\r"]), odd(rng, "\r\n", &["\n", "", "\r", "a\r\n"])];
        body.extend([size.as_bytes(), ends[0].as_bytes(), &rest[..n], ends[1].as_bytes()].concat());
        rest = &rest[n..];
    }
    let end = odd(
        rng,
        "0\r\n\r\n",
        &[
            "00\r\n\r\n",
            "0;a\r\n\r\n",
            "0\r\nX-Sum: 1\r\n\r\n",
            "0\r\nContent-Length: 5\r\n\r\n",
            "0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "0\r\nX : a\r\n\r\n",
            "0\r\n folded\r\n\r\n",
            "0\n\n",
            "0\r\n\n",
            "0\r\n",
            "-0\r\n\r\n",
        ],
    );
    body.extend(end.as_bytes());
    body
}

fn field(rng: &mut Rng) -> &'static str {
    odd(
        rng,
        "",
        &[
            "X: a\r\n",
            "X: a\r\n",
            "Connection: keep-alive\r\n",
            "Connection: close\r\n",
            "Connection: host\r\n",
            "Cookie: a=1\r\n",
            "Upgrade: h2c\r\n",
            "TE: trailers\r\n",
            "X : a\r\n",
            "X: a\r\n b\r\n",
            "X: a\n",
            "X\r\n",
            ": a\r\n",
            "X: a\0b\r\n",
            "X: a\rb\r\n",
            "X: \u{e9}\r\n",
            "Expect: 100-continue\r\n",
        ],
    )
}

/// One byte more, less, or other.
fn change(rng: &mut Rng, bytes: &mut Vec<u8>) {
    const BYTES: &[u8] = b"\r\n\t :;,\0\x0b\x7f\x80/05aAX\"";
    let at = rng.usize(..bytes.len());
    let byte = BYTES[rng.usize(..BYTES.len())];
    match rng.u8(..3) {
        0 => bytes.insert(at, byte),
        1 => bytes[at] = byte,
        _ => {
            bytes.remove(at);
        }
    }
}

/// Nearly always the plain one, so that most streams are odd in one place at most.
fn odd<'a>(rng: &mut Rng, plain: &'a str, odd: &[&'a str]) -> &'a str {
    if rng.u8(..) < 12 { pick(rng, odd) } else { plain }
}

fn pick<'a>(rng: &mut Rng, all: &[&'a str]) -> &'a str {
    all[rng.usize(..all.len())]
}
