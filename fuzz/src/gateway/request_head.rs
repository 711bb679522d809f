//! Heads of requests: what the gateway makes of one is the same request, framed the same, to somebody else's parser.

use stayput_gateway::fuzzing;

use super::Target;
use super::split::arrivals;
use super::strict;

/// See the module.
pub const TARGET: Target = Target { name: "request_head", check, seeds, words };

fn check(input: &[u8]) -> bool {
    let Some((&how, bytes)) = input.split_first() else { return false };
    let end = fuzzing::head_end(bytes, &[]);
    assert_eq!(fuzzing::head_end(bytes, &arrivals(how, bytes.len())), end, "however it is split");
    let Ok(Some(end)) = end else { return false };
    let head = &bytes[..end];
    is_read_alike(head, bytes);
    match fuzzing::request_head(head) {
        Ok(written) => {
            is_the_same(head, &written);
            true
        }
        Err(status) => {
            assert!([400, 404, 431, 501, 505].contains(&status), "{status}");
            false
        }
    }
}

/// What httparse refuses is refused, and what it reads is read alike, whatever follows it. Only that many options of
/// `Connection` are nothing to httparse.
fn is_read_alike(head: &[u8], bytes: &[u8]) {
    let mut storage = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Request::new(&mut storage);
    let is_parsed = parsed.parse(head) == Ok(httparse::Status::Complete(head.len()));
    let text = String::from_utf8_lossy(bytes);
    match fuzzing::read_head(bytes) {
        Ok((method, target, is_1_0, fields)) => {
            assert!(is_parsed, "httparse refuses {text:?}");
            assert_eq!(parsed.method.map(str::as_bytes), Some(&*method), "{text:?}");
            assert_eq!((parsed.path, parsed.version), (Some(&*target), Some(u8::from(!is_1_0))), "{text:?}");
            let theirs = parsed.headers.iter().map(|its| (its.name.as_bytes(), its.value));
            assert!(theirs.eq(fields.iter().map(|(name, value)| (&**name, &**value))), "{text:?}");
        }
        Err(_) if is_parsed => {
            let is_connection = |its: &&httparse::Header<'_>| its.name.eq_ignore_ascii_case("connection");
            let options = parsed.headers.iter().filter(is_connection);
            let counts = options.map(|its| its.value.split(|&byte| byte == b',').count());
            assert!(counts.sum::<usize>() > 32, "httparse reads {text:?}");
        }
        Err(_) => {}
    }
}

fn is_the_same(head: &[u8], written: &[u8]) {
    let text = String::from_utf8_lossy(head);
    let parse =
        |head: &[u8]| strict::head(&head[..head.len() - 4]).unwrap_or_else(|why| panic!("{why}: {text:?}"));
    let (asked, passed) = (parse(head), parse(written));
    let framing = asked.framing().unwrap_or_else(|why| panic!("{why}: {text:?}"));
    assert_eq!(passed.framing(), Ok(framing), "{text:?}");
    assert_eq!(passed.method, asked.method, "{text:?}");
    assert_eq!(passed.target, path(&asked), "{text:?}");
    assert!(!passed.is_1_0);
    assert_eq!(passed.all("host").count(), 1, "{text:?}");
    for gone in
        ["connection", "keep-alive", "proxy-connection", "te", "upgrade", "forwarded", "content_length"]
    {
        assert_eq!(passed.all(gone).count(), 0, "{gone}: {text:?}");
    }
    let told: Vec<_> = passed.all("x-forwarded-for").collect();
    assert_eq!(told, [b"192.0.2.1"], "{text:?}");
    let is_counted =
        ["TRACE", "OPTIONS"].contains(&passed.method.as_str()) && passed.all("max-forwards").count() > 0;
    if !is_counted {
        match fuzzing::request_head(written) {
            // But for blanks at the end of a line, where a cookie was taken out.
            Ok(again) => assert_eq!(parse(&again).fields, passed.fields, "read again: {text:?}"),
            // The gateway's own fields may be one too many for another one.
            Err(status) => assert_eq!(status, 431, "read again: {text:?}"),
        }
    }
}

/// What an upstream is asked for: of a target in absolute form, what follows its authority.
pub fn path(request: &strict::Request) -> String {
    let target = &request.target;
    if target.starts_with('/') || target == "*" {
        return target.clone();
    }
    let after = target.split_once("://").map_or("", |(_, rest)| rest);
    match &after[after.find(['/', '?']).unwrap_or(after.len())..] {
        "" if request.method == "OPTIONS" => "*".to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        query => format!("/{query}"),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let heads = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nrest",
        "POST /a?b HTTP/1.1\r\nAccept: */*\r\nHost: shop.example:81 \r\nX-Forwarded-For: 6.6.6.6\r\nConnection: keep-alive, x-gone\r\nX-Gone: 1\r\nCookie: a=1; stayput-affinity=x\r\nContent-Length:  5 \r\nForwarded: for=6.6.6.6\r\nX-Odd:\tas  is \r\n\r\n",
        "OPTIONS http://[::1]:80 HTTP/1.0\r\nMax-Forwards: 3\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nExpect: 100-continue\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        "\r\n",
    ];
    let split = |head: &str| [0, 1, 9].map(|how| [&[how], head.as_bytes()].concat());
    heads.into_iter().flat_map(split).collect()
}

pub fn words() -> Vec<String> {
    [
        "\\x0d\\x0a",
        "\\x0d\\x0a\\x0d\\x0a",
        "Host:\\x20a\\x0d\\x0a",
        "GET\\x20/\\x20HTTP/1.1\\x0d\\x0aHost:a\\x0d\\x0a",
        "Content-Length:\\x205\\x0d\\x0a",
        "Transfer-Encoding:\\x20chunked\\x0d\\x0a",
        "Connection:\\x20close\\x0d\\x0a",
        "Connection:\\x20",
        "X-Forwarded-For:",
        "Content_Length:5\\x0d\\x0a",
        "HTTP/1.0",
        "http://a/",
        "OPTIONS\\x20*\\x20",
        "5\\x0d\\x0ahello\\x0d\\x0a0\\x0d\\x0a\\x0d\\x0a",
        "Cookie:\\x20a=1;\\x20b=2",
        "Max-Forwards:1",
        "%61",
        "[::1]",
    ]
    .map(str::to_owned)
    .to_vec()
}
