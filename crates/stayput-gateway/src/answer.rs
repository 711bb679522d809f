//! An answer's head: judged, and rewritten for the client in the same pass.
//!
//! It never passes on an answer whose end is in doubt, and never a switch of protocols.

use crate::affinity::SetCookie;
use crate::buffer::Buffer;
use crate::date;
use crate::framing::{self, Framing};
use crate::head::{AnswerHead, Fields, Kind, Lines};
use crate::links::{Links, Marked};
use crate::request::Request;
use crate::request_id;

/// An answer's head, as far as it matters once it is rewritten.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// Whether the body is a page whose links are to carry the route. Its framing for the client is another then.
    pub(crate) is_page: bool,
    /// Whether the upstream goes on with its connection.
    pub(crate) upstream_keeps: bool,
    /// Whether the client may go on with its connection.
    pub(crate) client_keeps: bool,
}

impl Answer {
    /// Whether another answer follows (RFC 9110, 15.2).
    pub(crate) fn is_interim(&self) -> bool {
        self.status < 200
    }
}

/// An answer that can't be passed on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What keeps the client on the upstream that answers.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pinning<'a> {
    pub(crate) cookie: Option<&'a SetCookie<'a>>,
    pub(crate) links: Option<&'a Links<'a>>,
    /// The request's id, if the client is to know it.
    pub(crate) id: Option<&'a [u8]>,
}

/// Reads and judges the head that `bytes` begin with, of an answer to `request`, and writes the head for the client to `out`:
/// with what pins the client, and announcing the connection's end unless `keep`. Says how long the head was.
pub(crate) fn read(
    bytes: &[u8],
    request: &Request,
    pinning: Pinning<'_>,
    keep: bool,
    out: &mut Buffer,
) -> Result<(Answer, usize), Malformed> {
    Lines::with(|lines| {
        let head = AnswerHead::read(bytes, lines).map_err(|_| Malformed)?;
        let length = head.fields.head_length();
        judge(&head, request, pinning, keep, out).map(|answer| (answer, length))
    })
}

fn judge(
    head: &AnswerHead<'_, '_>,
    request: &Request,
    pinning: Pinning<'_>,
    keep: bool,
    out: &mut Buffer,
) -> Result<Answer, Malformed> {
    let AnswerHead { is_1_0, status, fields } = head;
    let (is_1_0, status) = (*is_1_0, *status);
    if status < 100 || status == 101 {
        return Err(Malformed);
    }
    let has_body = !request.method.is_head() && status >= 200 && status != 204 && status != 304;
    let framing = framing::of_answer(fields, is_1_0, has_body).map_err(|_| Malformed)?;
    let mut answer = Answer {
        status,
        framing,
        is_page: false,
        upstream_keeps: !fields.close && (!is_1_0 || fields.keep_alive),
        client_keeps: keep,
    };
    write(fields, &mut answer, request, pinning, out);
    Ok(answer)
}

fn write(
    fields: &Fields<'_, '_>,
    answer: &mut Answer,
    request: &Request,
    pinning: Pinning<'_>,
    out: &mut Buffer,
) {
    let (status, reason) = fields.start_line()[b"HTTP/1.1".len()..].split_at(b" 200".len());
    // The space is there even where no reason is (RFC 9112, 4).
    let space: &[u8] = if reason.starts_with(b" ") { b"" } else { b" " };
    out.put_all(&[b"HTTP/1.1", status, space, reason]);
    let marked = write_fields(fields, answer.status, pinning, out);
    let has_body = answer.framing != Framing::Empty;
    answer.is_page = marked.page && has_body;
    answer.client_keeps &= !ends_with_connection(answer, request);
    if (answer.framing == Framing::Chunked || answer.is_page) && !request.is_1_0 {
        out.put(b"Transfer-Encoding: chunked\r\n");
    }
    // RFC 9110, 8.6: 1xx and 204 have no length; the answer to a HEAD and a 304 may tell what it would be.
    if !answer.is_interim() && answer.status != 204 && !marked.page {
        for length in fields.all(Kind::ContentLength) {
            out.put_all(&[b"Content-Length: ", length, b"\r\n"]);
        }
    }
    if !answer.is_interim() {
        // RFC 9110, 6.6.1: who has a clock says when it got what came without a date.
        if !fields.has(Kind::Date) {
            date::put(out);
        }
        write_connection(answer, request, out);
        write_pinning(fields, pinning.cookie, marked, out);
        if let Some(id) = pinning.id {
            request_id::put(id, out);
        }
    }
    out.put(b"\r\n");
}

/// Whether the client is told by nothing else where the body ends.
fn ends_with_connection(answer: &Answer, request: &Request) -> bool {
    match answer.framing {
        Framing::Empty => false,
        Framing::Chunked => request.is_1_0,
        Framing::Length(_) => answer.is_page && request.is_1_0,
        Framing::UntilClose => !answer.is_page || request.is_1_0,
    }
}

fn write_fields(fields: &Fields<'_, '_>, status: u16, pinning: Pinning<'_>, out: &mut Buffer) -> Marked {
    let drop = |kind| is_replaced(kind) || kind == Kind::RequestId && pinning.id.is_some();
    if let Some(links) = pinning.links.filter(|_| status >= 200) {
        return links.copy_fields(fields, status, drop, out);
    }
    fields.copy(drop, out);
    Marked::default()
}

fn write_connection(answer: &Answer, request: &Request, out: &mut Buffer) {
    if !answer.client_keeps {
        out.put(b"Connection: close\r\n");
    } else if request.is_1_0 {
        out.put(b"Connection: keep-alive\r\n");
    }
}

/// A shared cache must not give one client's pin to all.
fn write_pinning(
    fields: &Fields<'_, '_>,
    set_cookie: Option<&SetCookie<'_>>,
    marked: Marked,
    out: &mut Buffer,
) {
    if let Some(cookie) = set_cookie {
        cookie.write(out);
    }
    let is_one_clients = set_cookie.is_some() || marked.field || marked.page;
    if is_one_clients && !fields.all(Kind::CacheControl).any(is_private) {
        out.put(b"Cache-Control: private\r\n");
    }
}

fn is_private(cache_control: &[u8]) -> bool {
    let mut directives = cache_control.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    directives.any(|one| one.eq_ignore_ascii_case(b"private") || one.eq_ignore_ascii_case(b"no-store"))
}

fn is_replaced(kind: Kind) -> bool {
    matches!(kind, Kind::Connection | Kind::ContentLength | Kind::HopByHop | Kind::TransferEncoding)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stayput_core::{Clock, Keyring, SystemClock, SystemRandom};

    use super::*;
    use crate::affinity::{Affinity, Route};
    use crate::config::{PoolConfig, Rule, UpstreamConfig, UrlRule};
    use crate::pool::Whereto;
    use crate::request::Method;

    const REQUEST: Request = Request {
        lacks_id: false,
        pool: 0,
        framing: Framing::Empty,
        route: Route {
            whereto: Whereto::Anywhere,
            pin: None,
            is_pin_in_url: false,
            is_by_cookie: true,
            is_by_url: false,
        },
        is_1_0: false,
        method: Method::Idempotent,
        keep_alive: true,
    };

    fn read_as(raw: &str, request: &Request) -> Result<(Answer, String), Malformed> {
        read_with(raw, request, None)
    }

    fn read_with(
        raw: &str,
        request: &Request,
        cookie: Option<&SetCookie<'_>>,
    ) -> Result<(Answer, String), Malformed> {
        let mut out = Buffer::default();
        let pinning = Pinning { cookie, ..Pinning::default() };
        let (answer, length) = read(raw.as_bytes(), request, pinning, request.keep_alive, &mut out)?;
        assert_eq!(length, raw.len());
        Ok((answer, String::from_utf8(out.filled().to_vec()).unwrap()))
    }

    #[test]
    fn a_head_is_rewritten_as_bytes() {
        let raw = "HTTP/1.1 200 Fine by me\r\nServer:  x\r\nDate: then\r\nConnection: keep-alive, X-Gone\r\nX-Gone: 1\r\n\
                   Keep-Alive: timeout=5\r\nSet-Cookie: a=1\r\nContent-Length: 5\r\n\r\n";
        let (answer, written) = read_as(raw, &REQUEST).unwrap();
        assert_eq!(
            written,
            "HTTP/1.1 200 Fine by me\r\nServer:  x\r\nDate: then\r\nSet-Cookie: a=1\r\nContent-Length: 5\r\n\r\n"
        );
        assert!(answer.upstream_keeps && answer.client_keeps);
    }

    #[test]
    fn a_pin_comes_with_a_private_answer_unless_it_is_private_enough() {
        let pool = PoolConfig::new(vec![UpstreamConfig::new("a", ([127, 0, 0, 1], 1).into())]);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let affinity = Affinity::new(&pool, &Keyring::generate(&SystemRandom), &clock);
        let cookie = affinity.set_cookie(&REQUEST.route, 0).unwrap();
        let mut line = Buffer::default();
        cookie.write(&mut line);
        let line = String::from_utf8(line.filled().to_vec()).unwrap();
        let written = |control: &str| {
            let raw = format!("HTTP/1.1 200 OK\r\n{control}Content-Length: 0\r\n\r\n");
            read_with(&raw, &REQUEST, Some(&cookie)).unwrap().1
        };
        assert!(line.starts_with("Set-Cookie: stayput-affinity="));
        assert!(written("").ends_with(&format!("{line}Cache-Control: private\r\n\r\n")));
        let public = written("Cache-Control: public, private=\"a\"\r\n");
        assert!(public.ends_with("Cache-Control: private\r\n\r\n"));
        for control in ["Cache-Control: no-store\r\n", "cache-control: max-age=1, Private\r\n"] {
            assert!(written(control).ends_with(&format!("{line}\r\n")), "{control}");
        }
    }

    #[test]
    fn an_answer_whose_links_carry_a_route_is_private() {
        let mut pool = PoolConfig::new(vec![UpstreamConfig::new("a", ([127, 0, 0, 1], 1).into())]);
        pool.affinity.rules = vec![Rule::Url(UrlRule { html: true, ..UrlRule::default() })];
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let affinity = Affinity::new(&pool, &Keyring::generate(&SystemRandom), &clock);
        let route = Route { is_by_url: true, ..Route::default() };
        let links = affinity.links(&route, 0, || b"a").unwrap();
        let is_private = |lines: &str| {
            let raw = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n");
            let (pinning, mut out) =
                (Pinning { links: Some(&links), ..Pinning::default() }, Buffer::default());
            read(raw.as_bytes(), &REQUEST, pinning, true, &mut out).unwrap();
            String::from_utf8(out.filled().to_vec()).unwrap().contains("\r\nCache-Control: private\r\n")
        };
        assert!(is_private("Location: /b\r\n") && is_private("Content-Type: text/html\r\n"));
        assert!(!is_private("Location: //other/\r\n") && !is_private("Content-Type: text/plain\r\n"));
        assert!(affinity.links(&Route::default(), 0, || b"a").is_none(), "nobody asked for it");
    }

    #[test]
    fn answers_in_doubt_are_refused() {
        for raw in [
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 099 Odd\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        ] {
            assert_eq!(read_as(raw, &REQUEST).map(|_| ()), Err(Malformed), "{raw:?}");
        }
    }

    #[test]
    fn a_1_0_client_gets_no_coding_and_a_close() {
        let request = Request { is_1_0: true, ..REQUEST };
        let raw = "HTTP/1.1 200 OK\r\nDate: then\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (answer, written) = read_as(raw, &request).unwrap();
        assert_eq!(written, "HTTP/1.1 200 OK\r\nDate: then\r\nConnection: close\r\n\r\n");
        assert!(!answer.client_keeps);
        let (answer, written) = read_as("HTTP/1.1 204 No\r\nDate: then\r\n\r\n", &request).unwrap();
        assert_eq!(written, "HTTP/1.1 204 No\r\nDate: then\r\nConnection: keep-alive\r\n\r\n");
        assert!(answer.client_keeps);
    }

    #[test]
    fn what_has_no_body_keeps_the_length_it_may_have() {
        let head = Request { method: Method::Head, ..REQUEST };
        let raw = |status: u16| format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n");
        for (status, request, keeps_length) in
            [(200, &head, true), (304, &REQUEST, true), (204, &REQUEST, false), (103, &REQUEST, false)]
        {
            let (answer, written) = read_as(&raw(status), request).unwrap();
            assert_eq!(answer.framing, Framing::Empty, "{status}");
            assert_eq!(written.contains("Content-Length: 5"), keeps_length, "{status}");
        }
    }
}
