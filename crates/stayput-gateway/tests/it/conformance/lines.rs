//! Request lines, targets, and the host that a request is for.

use super::rule::Outcome::{Becomes, Passes, Refused};
use super::rule::{Rule, check_requests, rule};

#[test]
fn request_lines_are_read_in_one_way_only() {
    check_requests(LINES, str::to_owned);
}

#[test]
fn a_target_says_what_is_asked_for_and_of_whom() {
    check_requests(TARGETS, str::to_owned);
}

#[test]
fn a_host_stands_once_and_is_one() {
    check_requests(HOSTS, |field| format!("GET / HTTP/1.1\r\n{field}\r\n"));
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

pub(super) const LINES: &[Rule] = &[
    rule(
        "9112, 2.2",
        "empty lines before a request are skipped",
        &["\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"],
        Becomes(GET),
    ),
    rule(
        "9112, 2.2",
        "a bare CR is no line end",
        &[
            "GET / HTTP/1.1\rHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
            "GET /\r HTTP/1.1\r\n\r\n",
        ],
        Refused(400),
    ),
    rule(
        "9112, 2.2",
        "a bare LF is no line end",
        &[
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\nX: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
        Refused(400),
    )
    .differs("it may be taken for one; who does and who doesn't see other requests"),
    rule(
        "9112, 2.2",
        "no blank stands between the request line and the first field",
        &["GET / HTTP/1.1\r\n Host: a\r\n\r\n", "GET / HTTP/1.1\r\n\tX: a\r\nHost: a\r\n\r\n"],
        Refused(400),
    ),
    rule(
        "9112, 2.2",
        "what is no request is answered 400",
        &[
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            "\0\0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "GET /\r\n\r\n",
            "/ HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
        Refused(400),
    ),
    rule(
        "9112, 3",
        "a request line has three words with one space between them",
        &[
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        ],
        Refused(400),
    )
    .differs("other blanks may be understood; servers disagree where the target ends then"),
    rule(
        "9112, 3.1",
        "a method is a token",
        &[
            "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "G\u{e9}T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "G\0T / HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
        Refused(400),
    ),
    rule(
        "9110, 9.1",
        "methods nobody knows pass, in the case that they have",
        &[
            "BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
            "get / HTTP/1.1\r\nHost: a\r\n\r\n",
            "M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
        Passes,
    ),
    rule(
        "9110, 9.3.6",
        "CONNECT is not offered",
        &["CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"],
        Refused(501),
    ),
    rule(
        "9110, 7.6.2",
        "TRACE and OPTIONS count Max-Forwards down",
        &[
            "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 10\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nmax-forwards:\t010 \r\nHost: a\r\n\r\n",
        ],
        Becomes("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 9\r\n\r\n"),
    ),
    rule(
        "9110, 7.6.2",
        "at 0 they are not forwarded",
        &[
            "OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
            "TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
        ],
        Refused(501),
    ),
    rule(
        "9110, 7.6.2",
        "and a count that is none is refused",
        &[
            "TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: -1\r\n\r\n",
            "TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1\r\nMax-Forwards: 1\r\n\r\n",
        ],
        Refused(400),
    ),
    rule(
        "9110, 7.6.2",
        "other methods keep it",
        &["GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"],
        Passes,
    ),
    rule(
        "9112, 2.3",
        "versions are spelled HTTP/1.1 and HTTP/1.0",
        &[
            "GET / http/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTPS/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.10\r\nHost: a\r\n\r\n",
            "GET / 1.1\r\nHost: a\r\n\r\n",
        ],
        Refused(400),
    ),
    rule(
        "9110, 15.6.6",
        "other major versions are answered 505",
        &[
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/0.9\r\nHost: a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ],
        Refused(505),
    ),
    rule(
        "9110, 2.5",
        "so are other minor versions",
        &["GET / HTTP/1.2\r\nHost: a\r\n\r\n", "GET / HTTP/1\r\nHost: a\r\n\r\n"],
        Refused(505),
    )
    .differs("they should be read as 1.1; nobody sends them but to see what happens"),
    rule(
        "9112, 2.3",
        "an upstream is sent HTTP/1.1, whatever the client speaks",
        &["GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"],
        Becomes(GET),
    ),
    rule(
        "9110, 10.1.1",
        "an expectation of an HTTP/1.0 client is ignored",
        &["POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"],
        Becomes("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"),
    ),
];

pub(super) const TARGETS: &[Rule] = &[
    rule(
        "9112, 3.2.1",
        "a path and a query pass as they are",
        &[
            "GET /a/../b//c?x=%00&y=/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET //a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /? HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /%2e%2e/;a=b HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
        Passes,
    ),
    rule(
        "9112, 3.2",
        "so do characters that URIs don't have but browsers send",
        &["GET /a\"<>\\^`{|}[] HTTP/1.1\r\nHost: a\r\n\r\n"],
        Passes,
    )
    .differs("an invalid request line should be refused; all peers let these pass, and they frame nothing"),
    rule(
        "9112, 3.2.2",
        "of a target in absolute form the authority counts, not Host",
        &[
            "GET http://b:8/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET HTTPS://b:8/x?y HTTP/1.1\r\nHost: b:8\r\n\r\n",
            "GET http://b:8/x?y HTTP/1.0\r\n\r\n",
        ],
        Becomes("GET /x?y HTTP/1.1\r\nHost: b:8\r\n\r\n"),
    ),
    rule(
        "9112, 3.2.1",
        "an empty path is /",
        &["GET http://b?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://b/?y HTTP/1.1\r\nHost: a\r\n\r\n"],
        Becomes("GET /?y HTTP/1.1\r\nHost: b\r\n\r\n"),
    ),
    rule(
        "9112, 3.2.4",
        "but * for OPTIONS",
        &["OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n"],
        Becomes("OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n"),
    ),
    rule(
        "9112, 3.2.4",
        "* is for OPTIONS only",
        &[
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST * HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
        Refused(400),
    ),
    rule(
        "9112, 3.2.3",
        "an authority alone is for CONNECT only",
        &[
            "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET ?a HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
        Refused(400),
    ),
    rule(
        "9110, 4.2.1",
        "an http URI has a host",
        &[
            "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://:80/ HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
        Refused(400),
    ),
    rule(
        "9110, 4.2.4",
        "and no user information",
        &["GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://a:b@b/ HTTP/1.1\r\nHost: a\r\n\r\n"],
        Refused(400),
    ),
    rule(
        "9110, 7.4",
        "other schemes are not served",
        &[
            "GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET ://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET file:///etc HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
        Refused(400),
    ),
    rule(
        "9112, 3.2",
        "a target has visible ASCII and no fragment",
        &[
            "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
        Refused(400),
    ),
];

pub(super) const HOSTS: &[Rule] = &[
    rule("9112, 3.2", "a request has a Host", &["", "X-Host: a\r\n", "X: Host: a\r\n"], Refused(400)),
    rule(
        "9112, 3.2",
        "and only one",
        &[
            "Host: a\r\nHost: a\r\n",
            "Host: a\r\nhost: b\r\n",
            "Host: a\r\nHost: \r\n",
            "Host: a, b\r\nHost: a\r\n",
        ],
        Refused(400),
    ),
    rule(
        "9112, 3.2",
        "which is a host, perhaps with a port",
        &[
            "Host: a b\r\n",
            "Host: a/b\r\n",
            "Host: u@a\r\n",
            "Host: a:b\r\n",
            "Host: a:80:80\r\n",
            "Host: :80\r\n",
            "Host: a:99999\r\n",
            "Host: ::1\r\n",
            "Host: [::1\r\n",
            "Host: [::1]x\r\n",
            "Host: [a]\r\n",
            "Host: a%\r\n",
            "Host: a%zz\r\n",
            "Host: a\\b\r\n",
            "Host: a?b\r\n",
            "Host: a#b\r\n",
            "Host: \u{e9}\r\n",
            "Host: a\tb\r\n",
            "Host: a, b\r\n",
            "Host: http://a\r\n",
        ],
        Refused(400),
    ),
    rule("9110, 7.2", "and is not empty", &["Host:\r\n", "Host: \r\n"], Refused(400))
        .differs("an empty one is for targets without authority, which nobody routes by"),
    rule(
        "9110, 7.2",
        "names, addresses and ports pass",
        &[
            "Host: a.example:8080\r\n",
            "Host: [2001:db8::1]:80\r\n",
            "Host: 127.0.0.1\r\n",
            "Host: a_b.\r\n",
            "Host: a:\r\n",
            "Host: %61\r\n",
        ],
        Passes,
    ),
    rule(
        "9112, 5.1",
        "blanks around a value are not part of it",
        &["Host:a\r\n", "Host: \ta \t\r\n", "hOST: a\r\n"],
        Becomes(GET),
    ),
];
