//! A request's head: judged, and rewritten for the upstream in the same pass.
//!
//! What an upstream gets is built anew from what was understood; nothing that was not understood is passed on.

use crate::affinity::{AffinityUrl, Found, Route};
use crate::authority::is_authority;
use crate::buffer::Buffer;
use crate::config::RequestIds;
use crate::framing::{self, Framing};
use crate::head::{Fault, Fields, Kind, Lines, RequestHead};
use crate::origin::Origin;
use crate::refusal::Refusal;
use crate::request_id;
use crate::site::Site;

/// What has to be known of a request once its head is rewritten.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) framing: Framing,
    /// The pool that it is for.
    pub(crate) pool: usize,
    /// Where in the pool it belongs.
    pub(crate) route: Route,
    pub(crate) is_1_0: bool,
    pub(crate) method: Method,
    /// Whether the head needs an id still: no trusted proxy has sent one.
    pub(crate) lacks_id: bool,
    /// Whether the client wants to go on with this connection.
    pub(crate) keep_alive: bool,
}

/// What of a method matters to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Head,
    /// Another that done twice is done once (RFC 9110, 9.2.2).
    Idempotent,
    Other,
}

impl Method {
    fn of(name: &[u8]) -> Self {
        match name {
            b"HEAD" => Self::Head,
            b"GET" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE" => Self::Idempotent,
            _ => Self::Other,
        }
    }

    pub(crate) fn is_head(self) -> bool {
        self == Self::Head
    }

    pub(crate) fn is_idempotent(self) -> bool {
        self != Self::Other
    }
}

/// Reads and judges the whole head `raw`, and writes the head for the upstream to `out`. HTTP/1.0 clients that send no `Host`
/// mean `default_host`.
pub(crate) fn read(
    raw: &[u8],
    site: &Site,
    default_host: &[u8],
    origin: &mut Origin,
    out: &mut Buffer,
) -> Result<Request, Refusal> {
    Lines::with(|lines| match RequestHead::read(raw, lines) {
        Ok(head) if head.fields.head_length() == raw.len() => judge(head, site, default_host, origin, out),
        Err(Fault::TooManyFields) => Err(Refusal::HeadTooLarge),
        Err(Fault::TooManyOptions) => Err(Refusal::ConnectionOptions),
        Err(Fault::Version) if names_a_version(raw) => Err(Refusal::Version),
        Ok(_) | Err(_) => Err(Refusal::Syntax),
    })
}

/// The same for a head that `bytes` begin with, and how long it is. Nothing if that is not whole or can't be read: it is to be
/// looked at in the order in which it comes, and refused for what is wrong with it first.
pub(crate) fn read_first(
    bytes: &[u8],
    site: &Site,
    default_host: &[u8],
    origin: &mut Origin,
    out: &mut Buffer,
) -> Option<Result<(Request, usize), Refusal>> {
    Lines::with(|lines| {
        let head = RequestHead::read(bytes, lines).ok()?;
        let length = head.fields.head_length();
        Some(judge(head, site, default_host, origin, out).map(|request| (request, length)))
    })
}

fn judge(
    head: RequestHead<'_, '_>,
    site: &Site,
    default_host: &[u8],
    origin: &mut Origin,
    out: &mut Buffer,
) -> Result<Request, Refusal> {
    let RequestHead { method, target, is_1_0, mut fields } = head;
    if method == b"CONNECT" {
        return Err(Refusal::Connect);
    }
    origin.check(&mut fields, &site.identity_headers);
    let framing = framing::of_request(&fields, is_1_0)?;
    let target = Target::read(method, target)?;
    let host = host(&fields, &target, is_1_0, default_host)?;
    let forwards = forwards_left(method, &fields)?;
    let pool = site.directory.find(host, target.path.as_bytes()).ok_or(Refusal::NoPool)?;

    let affinity = &site.pools[pool].affinity;
    let in_url = target.write(method, affinity.url(), out)?;
    out.put_all(&[b"Host: ", host, b"\r\n"]);
    let has_ids = site.request_ids != RequestIds::Off;
    let is_id = |kind| kind == Kind::RequestId && has_ids;
    let is_counted = |kind| kind == Kind::MaxForwards && forwards.is_some();
    let drop = |kind| is_replaced(kind, is_1_0) || is_counted(kind) || is_id(kind);
    match affinity.url() {
        None => fields.copy(drop, out),
        Some(url) => url.copy_fields(&fields, host, drop, out),
    }
    if let Some(left) = forwards {
        out.put(format!("Max-Forwards: {left}\r\n").as_bytes());
    }
    origin.read(&fields, &site.trusted_proxies);
    let route = affinity.route(&fields, in_url, origin.address(), out);
    if let Some(url) = affinity.url() {
        url.copy_codings(&fields, route.is_by_url, drop, out);
    }
    if framing == Framing::Chunked {
        out.put(b"Transfer-Encoding: chunked\r\n");
    }
    for length in fields.all(Kind::ContentLength) {
        out.put_all(&[b"Content-Length: ", length, b"\r\n"]);
    }
    let id = if has_ids && origin.is_trusted() { fields.only(Kind::RequestId).ok().flatten() } else { None };
    let id = id.filter(|id| request_id::is_plain(id));
    if let Some(id) = id {
        request_id::put(id, out);
    }
    out.put_all(&[origin.forwarded(), host, b"\r\n\r\n"]);

    Ok(Request {
        framing,
        pool,
        route,
        is_1_0,
        method: Method::of(method),
        lacks_id: has_ids && id.is_none(),
        keep_alive: !fields.close && (!is_1_0 || fields.keep_alive),
    })
}

/// The authority in a head for an upstream, which stands in its second line.
pub(crate) fn host_in(head: &[u8]) -> &[u8] {
    let mut lines = head.split(|&byte| byte == b'\r');
    let line = lines.nth(1).unwrap_or_default();
    line.strip_prefix(b"\nHost: ").unwrap_or_default()
}

/// Whether the request line is one of HTTP, if of another version.
fn names_a_version(raw: &[u8]) -> bool {
    let line = raw.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ').skip(2);
    words.next().is_some_and(|word| word.starts_with(b"HTTP/")) && words.next().is_none()
}

fn is_replaced(kind: Kind, is_1_0: bool) -> bool {
    match kind {
        Kind::Other | Kind::CacheControl | Kind::Date | Kind::MaxForwards | Kind::RequestId => false,
        Kind::Expect => is_1_0,
        _ => true,
    }
}

/// How many more may forward a TRACE or OPTIONS that says so (RFC 9110, 7.6.2).
fn forwards_left(method: &[u8], fields: &Fields<'_, '_>) -> Result<Option<u64>, Refusal> {
    if method != b"TRACE" && method != b"OPTIONS" {
        return Ok(None);
    }
    let Some(most) = fields.only(Kind::MaxForwards).map_err(|_| Refusal::Syntax)? else { return Ok(None) };
    let most = framing::parse_length(most).ok_or(Refusal::Syntax)?;
    most.checked_sub(1).map(Some).ok_or(Refusal::LastForward)
}

/// The authority that the client asked for (RFC 9112, 3.2).
fn host<'a>(
    fields: &Fields<'_, 'a>,
    target: &Target<'a>,
    is_1_0: bool,
    default: &'a [u8],
) -> Result<&'a [u8], Refusal> {
    let host = match fields.only(Kind::Host) {
        Ok(Some(host)) => host,
        Ok(None) if is_1_0 => default,
        _ => return Err(Refusal::Host),
    };
    let host = target.authority.map_or(host, str::as_bytes);
    if is_authority(host) { Ok(host) } else { Err(Refusal::Host) }
}

/// What of a request's target an upstream gets, and the authority of one in absolute form.
struct Target<'a> {
    path: &'a str,
    authority: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn read(method: &[u8], target: &'a str) -> Result<Self, Refusal> {
        if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(Refusal::Target);
        }
        if target.starts_with('/') || target == "*" && method == b"OPTIONS" {
            return Ok(Self { path: target, authority: None });
        }
        let (scheme, rest) = target.split_once("://").ok_or(Refusal::Target)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(Refusal::Target);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        Ok(Self { path, authority: Some(authority) })
    }

    /// Writes the request line; says what of a route the target had, which is left out.
    fn write(&self, method: &[u8], url: Option<&AffinityUrl>, out: &mut Buffer) -> Result<Found, Refusal> {
        let missing = match self.path {
            "" if method == b"OPTIONS" => b"*",
            path if path.starts_with(['/', '*']) => b"".as_slice(),
            _ => b"/",
        };
        let Some(url) = url else {
            out.put_all(&[method, b" ", missing, self.path.as_bytes(), b" HTTP/1.1\r\n"]);
            return Ok(Found::default());
        };
        out.put_all(&[method, b" ", missing]);
        let found = url.copy_target(self.path, out).map_err(|_| Refusal::Target)?;
        out.put(b" HTTP/1.1\r\n");
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stayput_core::{Clock, Keyring, SystemClock, SystemRandom};

    use super::*;
    use crate::config::{PoolConfig, SiteConfig, UpstreamConfig};

    fn read_as(raw: &str) -> Result<(Request, String), Refusal> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let upstreams = vec![UpstreamConfig::new("a", ([127, 0, 0, 1], 1).into())];
        let config = SiteConfig::new(vec![PoolConfig::new(upstreams)]);
        let site = Site::new(&config, &Keyring::generate(&SystemRandom), &clock, None);
        let mut out = Buffer::default();
        let mut origin = Origin::new([192, 0, 2, 1].into(), &[], false);
        let request = read(raw.as_bytes(), &site, b"self", &mut origin, &mut out)?;
        Ok((request, String::from_utf8(out.filled().to_vec()).unwrap()))
    }

    fn refused(raw: &str) -> Refusal {
        read_as(raw).map(|(_, written)| written).unwrap_err()
    }

    #[test]
    fn a_head_is_rewritten_as_bytes() {
        let raw = "POST /a?b HTTP/1.1\r\nAccept: */*\r\nHost: shop.example:81 \r\nX-Forwarded-For: 6.6.6.6\r\n\
                   Connection: keep-alive, x-gone\r\nX-Gone: 1\r\nCookie: a=1; stayput-affinity=x\r\n\
                   Content-Length:  5 \r\nForwarded: for=6.6.6.6\r\nX-Odd:\tas  is \r\n\r\n";
        let (request, written) = read_as(raw).unwrap();
        assert_eq!(
            written,
            "POST /a?b HTTP/1.1\r\nHost: shop.example:81\r\nAccept: */*\r\nX-Odd:\tas  is \r\nCookie: a=1\r\n\
             Content-Length: 5\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n\
             X-Forwarded-Host: shop.example:81\r\n\r\n"
        );
        assert!(request.keep_alive && !request.method.is_idempotent());
        assert_eq!(request.framing, Framing::Length(5));
    }

    #[test]
    fn an_absolute_target_becomes_host_and_path() {
        let line = |raw: &str| {
            let (_, written) = read_as(raw).unwrap();
            written.lines().take(2).collect::<Vec<_>>().join("|")
        };
        assert_eq!(line("GET http://a:8/x?y HTTP/1.1\r\nHost: b\r\n\r\n"), "GET /x?y HTTP/1.1|Host: a:8");
        assert_eq!(line("GET HTTP://a?y HTTP/1.1\r\nHost: b\r\n\r\n"), "GET /?y HTTP/1.1|Host: a");
        assert_eq!(line("OPTIONS http://a HTTP/1.1\r\nHost: b\r\n\r\n"), "OPTIONS * HTTP/1.1|Host: a");
        for target in ["http://", "http:///x", "http://u@a/", "ftp://a/", "a:80", "*", "/a#b", "/\u{e9}"] {
            let refusal = refused(&format!("GET {target} HTTP/1.1\r\nHost: b\r\n\r\n"));
            assert!(matches!(refusal, Refusal::Target | Refusal::Host), "{target}");
        }
    }

    #[test]
    fn host_must_stand_once_and_be_one() {
        for host in ["", "Host: a\r\nHost: a\r\n", "Host: \r\n", "Host: a/b\r\n", "Host: u@a\r\n"] {
            assert_eq!(refused(&format!("GET / HTTP/1.1\r\n{host}\r\n")), Refusal::Host, "{host}");
        }
        assert!(read_as("GET / HTTP/1.0\r\n\r\n").unwrap().1.contains("\r\nHost: self\r\n"));
    }

    #[test]
    fn malformed_heads_are_refused() {
        for raw in [
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n",
            "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / \r\nHost: a\r\n\r\n",
            "GET /\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(refused(raw), Refusal::Syntax, "{raw:?}");
        }
        assert_eq!(refused("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), Refusal::Version);
        assert_eq!(refused("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"), Refusal::Connect);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(129));
        assert_eq!(refused(&many), Refusal::HeadTooLarge);
    }

    #[test]
    fn keep_alive_is_the_default_of_1_1_and_the_exception_of_1_0() {
        let keeps = |raw: &str| read_as(raw).unwrap().0.keep_alive;
        assert!(keeps("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.0\r\nHost: a\r\n\r\n"));
        assert!(keeps("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n"));
    }
}
