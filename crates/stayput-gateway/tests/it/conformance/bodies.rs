//! Where requests end.

use super::rule::Outcome::{Becomes, Broken, Passes, Refused};
use super::rule::{Rule, check_requests, rule};

#[test]
fn a_length_is_a_number_that_stands_once() {
    check_requests(LENGTHS, |lines| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\nhello"));
}

#[test]
fn the_only_coding_is_chunked_once() {
    check_requests(CODINGS, |lines| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n0\r\n\r\n"));
}

#[test]
fn chunked_bodies_are_read_in_one_way_only() {
    check_requests(CHUNKS, |body| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    });
}

#[test]
fn an_http_1_0_request_has_no_coding() {
    check_requests(CODINGS_OF_1_0, |lines| format!("POST / HTTP/1.0\r\nHost: a\r\n{lines}\r\n0\r\n\r\n"));
}

pub(super) const LENGTHS: &[Rule] = &[
    rule(
        "9110, 8.6",
        "a length is digits",
        &[
            "Content-Length: +5\r\n",
            "Content-Length: -5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length: 5.0\r\n",
            "Content-Length: 5 5\r\n",
            "Content-Length: \r\n",
            "Content-Length: five\r\n",
            "Content-Length: 5;a\r\n",
            "Content-Length: \"5\"\r\n",
            "Content-Length: \u{665}\r\n",
            "Content-Length: 5_0\r\n",
        ],
        Refused(400),
    ),
    rule(
        "9110, 8.6",
        "of at most 64 bits",
        &["Content-Length: 18446744073709551616\r\n", "Content-Length: 99999999999999999999999999999999\r\n"],
        Refused(400),
    ),
    rule(
        "9112, 6.3",
        "that stand once, even if they agree",
        &[
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\ncontent-length: 6\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: 5,\r\n",
            "Content-Length: ,5\r\n",
        ],
        Refused(400),
    )
    .differs("equal ones may be taken for one"),
    rule(
        "9110, 8.6",
        "blanks around it are not part of it",
        &["Content-Length: 5\r\n", "content-length:5\r\n", "CONTENT-LENGTH: \t5 \t\r\n"],
        Becomes("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
    ),
    rule(
        "9110, 8.6",
        "zeros in front change nothing",
        &["Content-Length: 05\r\n", "Content-Length: 0000000000000000000000005\r\n"],
        Passes,
    ),
];

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

pub(super) const CODINGS: &[Rule] = &[
    rule(
        "9112, 7",
        "chunked is spelled in any case",
        &["Transfer-Encoding: chunked\r\n", "transfer-encoding:\tChUnKeD \r\n"],
        Becomes(CHUNKED),
    ),
    rule(
        "9112, 6.1",
        "other codings are refused",
        &["Transfer-Encoding: gzip\r\n", "Transfer-Encoding: identity\r\n", "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding: xchunked\r\n", "Transfer-Encoding: chunked;q=1\r\n", "Transfer-Encoding: \"chunked\"\r\n", "Transfer-Encoding: chunked\x0b\r\n", "Transfer-Encoding: \u{212a}hunked\r\n"],
        Refused(400),
    )
    .differs("501 is asked for; a coding that is not understood makes the end of the request unknown, which is a bad request"),
    rule(
        "9112, 6.3",
        "chunked stands once and last",
        &["Transfer-Encoding: chunked, chunked\r\n", "Transfer-Encoding: chunked, gzip\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "Transfer-Encoding: ,chunked\r\n", "Transfer-Encoding: chunked,\r\n", "Transfer-Encoding: \r\n"],
        Refused(400),
    )
    .differs("lists may have empty members"),
    rule(
        "9112, 6.1",
        "and never beside a length",
        &["Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "Transfer-Encoding: identity\r\nContent-Length: 5\r\n", "Transfer-Encoding: \r\nContent-Length: 5\r\n"],
        Refused(400),
    ),
    rule(
        "9110, 7.6.1",
        "Connection can't take framing away",
        &["Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n"],
        Becomes(CHUNKED),
    ),
];

pub(super) const CODINGS_OF_1_0: &[Rule] = &[rule(
    "9112, 6.1",
    "a coding of HTTP/1.0 is refused",
    &["Transfer-Encoding: chunked\r\n", "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n"],
    Refused(400),
)];

pub(super) const CHUNKS: &[Rule] = &[
    rule(
        "9112, 7.1",
        "sizes are hexadecimal, in either case, with zeros in front",
        &[
            "5\r\nhello\r\n0\r\n\r\n",
            "005\r\nhello\r\n000\r\n\r\n",
            "A\r\n0123456789\r\n0\r\n\r\n",
            "a\r\n0123456789\r\n0\r\n\r\n",
            "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
            "2\r\n\r\n\r\n0\r\n\r\n",
            "0\r\n\r\n",
        ],
        Passes,
    ),
    rule(
        "9112, 7.1",
        "and nothing else",
        &[
            "\r\nhello\r\n0\r\n\r\n",
            "g\r\nhello\r\n0\r\n\r\n",
            "-5\r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "5h\r\nhello\r\n0\r\n\r\n",
            "5_\r\nhello\r\n0\r\n\r\n",
            ";a\r\n\r\n0\r\n\r\n",
        ],
        Refused(400),
    ),
    rule(
        "9112, 7.1",
        "sizes beyond 64 bits are refused, not cut",
        &[
            "10000000000000005\r\nhello\r\n0\r\n\r\n",
            "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
            "00000000000000005\r\nhello\r\n0\r\n\r\n",
        ],
        Refused(400),
    ),
    rule(
        "9112, 7.1",
        "a chunk ends with CR LF, and where its size says",
        &[
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r0\r\n\r\n",
            "4\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\r\n\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\rhello\r\n0\r\n\r\n",
        ],
        Refused(400),
    ),
    rule(
        "9112, 7.1.1",
        "extensions pass",
        &[
            "5;a\r\nhello\r\n0\r\n\r\n",
            "5;a=b;c=\"d; e\"\r\nhello\r\n0;f\r\n\r\n",
            "5;\r\nhello\r\n0\r\n\r\n",
            "5; a = b\r\nhello\r\n0\r\n\r\n",
        ],
        Passes,
    ),
    rule(
        "9112, 7.1.1",
        "without line breaks or control characters",
        &[
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n",
            "5;a\0\r\nhello\r\n0\r\n\r\n",
            "5;\x7f\r\nhello\r\n0\r\n\r\n",
        ],
        Refused(400),
    ),
    rule(
        "9112, 7.1.1",
        "and without blanks after the size",
        &["5 \r\nhello\r\n0\r\n\r\n", "5 ;a\r\nhello\r\n0\r\n\r\n", "5\t\r\nhello\r\n0\r\n\r\n"],
        Refused(400),
    )
    .differs("blanks before a semicolon are to be understood; who doesn't would read another size"),
    rule(
        "9112, 7.1.2",
        "trailers pass",
        &["5\r\nhello\r\n0\r\nX-Sum: 1\r\nServer-Timing: a;b\r\n\r\n", "0\r\nX:\r\n\r\n"],
        Passes,
    ),
    rule(
        "9110, 6.5.1",
        "unless they would frame, route, authenticate or control",
        &[
            "0\r\nContent-Length: 5\r\n\r\n",
            "0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "0\r\nHost: b\r\n\r\n",
            "0\r\nAuthorization: b\r\n\r\n",
            "0\r\nCookie: a=1\r\n\r\n",
            "0\r\nSet-Cookie: a=1\r\n\r\n",
            "0\r\nContent-Type: a/b\r\n\r\n",
            "0\r\nContent-Encoding: gzip\r\n\r\n",
            "0\r\nContent-Range: x\r\n\r\n",
            "0\r\nTrailer: x\r\n\r\n",
            "0\r\nConnection: close\r\n\r\n",
            "0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
            "0\r\nx_forwarded_host: b\r\n\r\n",
            "0\r\nMax-Forwards: 1\r\n\r\n",
            "0\r\nContent_Length: 1\r\n\r\n",
            "0\r\nExpect: 100-continue\r\n\r\n",
            "0\r\nX-Real-IP: 1.2.3.4\r\n\r\n",
        ],
        Refused(400),
    ),
    rule(
        "9112, 5",
        "and are field lines like any other",
        &[
            "0\r\nX : a\r\n\r\n",
            "0\r\n folded\r\n\r\n",
            "0\r\nX: a\r\n b\r\n\r\n",
            "0\r\nnonsense\r\n\r\n",
            "0\r\n: a\r\n\r\n",
            "0\r\nX: a\n\r\n",
            "0\r\nX: a\0\r\n\r\n",
            "0\r\n\n",
        ],
        Refused(400),
    ),
    // The last of its table: what an upstream has got of these it may record late.
    rule(
        "9112, 8",
        "a body that ends before its end is no request",
        &["5\r\nhel", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n", ""],
        Broken,
    ),
];
