//! Field lines, and the fields that are for one connection only.

use super::rule::Outcome::{Becomes, Passes, Refused};
use super::rule::{Rule, check_requests, rule};

#[test]
fn field_lines_are_read_in_one_way_only_and_stay_as_they_are() {
    check_requests(FIELDS, |lines| format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
}

const NONE: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

pub(super) const FIELDS: &[Rule] = &[
    rule("9112, 5.1", "no blank stands before the colon", &["X : a\r\n", "X\t: a\r\n", "Content-Length : 5\r\n"], Refused(400)),
    rule("9112, 5.2", "folded lines are refused", &["X: a\r\n b\r\n", "X: a\r\n\tb\r\n", "X:\r\n a\r\n"], Refused(400)),
    rule(
        "9110, 5.1",
        "a name is a token",
        &[": a\r\n", "X Y: a\r\n", "X(): a\r\n", "X\0: a\r\n", "\u{e9}: a\r\n", "nonsense\r\n", "\"X\": a\r\n", "X\x7f: a\r\n"],
        Refused(400),
    ),
    rule(
        "9110, 5.5",
        "a value has no control character but the tab",
        &["X: a\0b\r\n", "X: a\x01b\r\n", "X: a\x0bb\r\n", "X: a\x7f\r\n", "X:\x08\r\n"],
        Refused(400),
    ),
    rule(
        "9110, 5.5",
        "but any other byte, and may be empty",
        &["X: \u{e9}\tb\r\n", "X:\r\n", "X: a  b \r\n", "X: \"a:b, c\"; d=(e)\r\n", "!#$%&'*+-.^_`|~: a\r\n"],
        Passes,
    ),
    rule("9110, 5.3", "lines of one name stay lines, in order", &["X: 1\r\nY: 2\r\nx: 3\r\n", "Cookie: a=1\r\nCookie: b=2\r\n"], Passes),
    rule(
        "9110, 7.6.1",
        "what Connection names goes no further, nor does Connection",
        &["Connection: x-gone\r\nX-Gone: 1\r\n", "X-Gone: 1\r\nConnection: keep-alive, ,X-GONE ,\r\n", "Connection: a\r\nConnection: x-gone\r\nX-Gone: 1\r\nx-gone: 2\r\n"],
        Becomes(NONE),
    ),
    rule(
        "9110, 7.6.1",
        "nor do the fields of a connection that it should have named",
        &["Keep-Alive: timeout=5\r\n", "Proxy-Connection: keep-alive\r\n", "TE: trailers\r\n", "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"],
        Becomes(NONE),
    ),
    rule(
        "9110, 7.6.1",
        "but it takes away nothing that says who asks, for what, or how long it is",
        &["Connection: host, cookie, authorization, content-type, cache-control, x-forwarded-for\r\nAuthorization: b\r\nContent-Type: c\r\nCache-Control: no-store\r\nCookie: a=1\r\n"],
        Becomes("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: b\r\nContent-Type: c\r\nCache-Control: no-store\r\nCookie: a=1\r\n\r\n"),
    )
    .differs("a sender must not name them, a recipient is to obey; whoever strips a field so is up to something"),
    rule("9110, 11.7.2", "credentials for a proxy are not for a server", &["Proxy-Authorization: Basic YTpi\r\n"], Becomes(NONE)),
    rule("9110, 7.8", "an upgrade that is not offered is ignored", &["Connection: upgrade\r\nUpgrade: websocket\r\n"], Becomes(NONE)),
    rule("9110, 7.6.3", "Via passes", &["Via: 1.1 front\r\n", "Via: 1.0 a, 1.1 b\r\n"], Passes)
        .differs("a gateway must add itself; servers turn compression off for requests that have one, and no peer adds it unless told to"),
    rule("9110, 10.1.1", "Expect passes", &["Expect: 100-continue\r\n", "Expect: something-else\r\n"], Passes),
    rule("9110, 6.6.2", "Trailer passes", &["Trailer: X-Sum\r\n"], Passes),
    rule(
        "9112, 6.3",
        "what only looks like a framing field goes no further",
        &["Content_Length: 5\r\n", "Transfer_Encoding: chunked\r\n", "content_length: 5\r\nTRANSFER_ENCODING: x\r\n"],
        Becomes(NONE),
    )
    .differs("they are other fields; to CGI and its descendants they are the same"),
];
