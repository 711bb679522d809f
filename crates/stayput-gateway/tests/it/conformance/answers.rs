//! What upstreams answer, and what clients get of it.

use super::rule::Outcome::{Becomes, Broken, Passes, Refused};
use super::rule::{Rule, check_answers, rule};

#[test]
fn answers_are_read_in_one_way_only() {
    check_answers(HEADS, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn answers_end_where_they_end() {
    check_answers(ENDS, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn the_answer_to_a_head_has_no_body() {
    check_answers(TO_HEAD, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn an_http_1_0_client_gets_what_it_understands() {
    check_answers(TO_1_0, "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
}

pub(super) const HEADS: &[Rule] = &[
    rule(
        "9112, 4",
        "any status and reason pass",
        &[
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 299 \r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 404 Fine by\tme \u{e9}\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 799 X\r\nContent-Length: 2\r\n\r\nok",
        ],
        Passes,
    ),
    rule(
        "9112, 4",
        "a space follows the status even if no reason does",
        &["HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"],
        Becomes("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"),
    ),
    rule(
        "9112, 2.3",
        "a client is answered in HTTP/1.1, whatever the upstream speaks",
        &["HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"],
        Becomes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ),
    rule(
        "9112, 4",
        "what is no answer is 502",
        &[
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.2 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "HTTP/1.1 abc OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "http/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 O\0K\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "<html>\r\n\r\n",
        ],
        Refused(502),
    ),
    rule(
        "9112, 2.2",
        "so is one with a bare CR or LF",
        &[
            "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
            "HTTP/1.1 200 OK\r\nX: a\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
        ],
        Refused(502),
    )
    .differs("a bare LF may be taken for a line end"),
    rule(
        "9112, 5.1",
        "with a blank before a colon",
        &["HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok"],
        Refused(502),
    )
    .differs("a proxy must take the blank away; whoever sends one may do so in Content-Length, too"),
    rule(
        "9112, 5.2",
        "or a folded line",
        &["HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok"],
        Refused(502),
    ),
    rule(
        "9110, 5.5",
        "or a control character",
        &[
            "HTTP/1.1 200 OK\r\nX: a\0\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nX\x01: a\r\nContent-Length: 2\r\n\r\nok",
        ],
        Refused(502),
    ),
    rule(
        "9110, 7.6.1",
        "fields of the upstream's connection go no further",
        &[
            "HTTP/1.1 200 OK\r\nConnection: X-Gone, keep-alive\r\nX-Gone: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: close\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nok",
        ],
        Becomes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ),
    rule(
        "9110, 5.3",
        "lines of one name stay lines, in order",
        &[
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nVia: 1.1 b\r\nset-cookie: c=2\r\nContent-Length: 2\r\n\r\nok",
        ],
        Passes,
    ),
    rule(
        "9110, 15.2",
        "interim answers pass, asked for or not",
        &[
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 X\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ],
        Passes,
    ),
    rule(
        "9110, 7.8",
        "but no switch of protocols that nobody asked for",
        &["HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"],
        Refused(502),
    ),
];

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

pub(super) const ENDS: &[Rule] = &[
    rule(
        "9112, 6.3",
        "an answer of a length ends after it, and what follows is nobody's",
        &[
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n",
        ],
        Becomes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ),
    rule(
        "9112, 7.1",
        "a chunked one passes with its extensions and trailers",
        &[
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ],
        Passes,
    ),
    rule(
        "9112, 6.3",
        "one without either ends with its connection",
        &["HTTP/1.1 200 OK\r\n\r\nhello", "HTTP/1.0 200 OK\r\n\r\nhello"],
        Becomes("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"),
    ),
    rule(
        "9112, 6.3",
        "204 has no body, whatever its fields say",
        &[
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ],
        Becomes(NO_CONTENT),
    ),
    rule(
        "9110, 8.6",
        "nor has 304, which may say how long it would be",
        &[
            "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\n\r\n",
        ],
        Passes,
    ),
    rule(
        "9112, 6.1",
        "and no coding",
        &["HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"],
        Becomes("HTTP/1.1 304 Not Modified\r\n\r\n"),
    ),
    rule(
        "9110, 8.6",
        "nor has an interim one, which says neither",
        &[
            "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        ],
        Becomes("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
    ),
    rule(
        "9110, 15.3.6",
        "205 is framed like any other",
        &[
            "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ],
        Passes,
    ),
    rule(
        "9112, 6.3",
        "one that can be read in two ways is 502",
        &[
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok",
            "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: x\r\n\r\n",
        ],
        Refused(502),
    ),
    rule(
        "9112, 6.1",
        "one of an unknown coding, or of HTTP/1.0 with any",
        &[
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ],
        Refused(502),
    ),
    rule(
        "9112, 7.1",
        "one whose chunks are none",
        &[
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\noks\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
        ],
        Refused(502),
    ),
    rule(
        "9112, 8",
        "one that ends before its end does not look whole",
        &[
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
        ],
        Broken,
    ),
];

pub(super) const TO_HEAD: &[Rule] = &[
    rule(
        "9110, 9.3.2",
        "a HEAD may learn the length",
        &["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 200 OK\r\nX: a\r\n\r\n"],
        Passes,
    ),
    rule(
        "9110, 9.3.2",
        "and nothing of a body",
        &["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"],
        Becomes("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
    ),
    rule(
        "9112, 6.1",
        "nor of a coding",
        &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
        Becomes("HTTP/1.1 200 OK\r\n\r\n"),
    ),
    rule(
        "9112, 6.3",
        "but even here framing in doubt is 502",
        &["HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"],
        Refused(502),
    ),
];

pub(super) const TO_1_0: &[Rule] = &[
    rule(
        "9112, 6.1",
        "HTTP/1.0 gets data without coding, up to the end of its connection",
        &[
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhe\r\n3\r\nllo\r\n0\r\nX: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nhello",
        ],
        Becomes("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"),
    ),
    rule(
        "9110, 15.2",
        "and no interim answers",
        &["HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"],
        Becomes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"),
    ),
    rule(
        "9112, 8",
        "an answer cut off does not look whole to it either",
        &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"],
        Broken,
    ),
];
