//! The answers that the gateway gives itself, in plain words.
//!
//! They never repeat anything that the client has sent.

use crate::buffer::Buffer;
use crate::date;
use crate::request_id;

/// Why a request is not answered by an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    LineBreak,
    Syntax,
    Version,
    Connect,
    Target,
    Host,
    ContentLength,
    LengthAndCoding,
    Coding,
    ConnectionOptions,
    LastForward,
    HeadTooLarge,
    TargetTooLong,
    HeadTooSlow,
    BodyMalformed,
    BodyIncomplete,
    BodyTooLarge,
    BodyTooSlow,
    Overloaded,
    NoPool,
    NoUpstream,
    UpstreamFailed,
    AnswerMalformed,
    AnswerTooLate,
}

impl Refusal {
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::NoPool => 404,
            Self::Version => 505,
            Self::Connect | Self::LastForward => 501,
            Self::TargetTooLong => 414,
            Self::HeadTooLarge => 431,
            Self::HeadTooSlow | Self::BodyTooSlow => 408,
            Self::BodyTooLarge => 413,
            Self::Overloaded | Self::NoUpstream => 503,
            Self::UpstreamFailed | Self::AnswerMalformed => 502,
            Self::AnswerTooLate => 504,
            _ => 400,
        }
    }

    fn reason(self) -> &'static str {
        match self.status() {
            404 => "Not Found",
            408 => "Request Timeout",
            413 => "Content Too Large",
            414 => "URI Too Long",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            _ => "Bad Request",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::LineBreak => "A line of the request ends without CR LF.",
            Self::Syntax => "The request line or a header field is malformed.",
            Self::Version => "Only HTTP/1.1 and HTTP/1.0 are spoken here.",
            Self::Connect => "CONNECT is not offered here.",
            Self::Target => "The request target is malformed.",
            Self::Host => "The Host field is missing, repeated or malformed.",
            Self::ContentLength => "Content-Length is repeated or not a plain number.",
            Self::LengthAndCoding => "Content-Length and Transfer-Encoding exclude each other.",
            Self::Coding => "The only transfer coding understood here is chunked, once, in HTTP/1.1.",
            Self::ConnectionOptions => "The Connection field has too many options.",
            Self::LastForward => "Max-Forwards is used up, and the gateway itself answers no such request.",
            Self::TargetTooLong => "The request target is too long.",
            Self::HeadTooLarge => "The header fields are too many or too large.",
            Self::HeadTooSlow => "The request did not arrive in time.",
            Self::BodyMalformed => "The chunked body is malformed.",
            Self::BodyIncomplete => "The body ended before its announced length.",
            Self::BodyTooLarge => "The body is larger than allowed.",
            Self::BodyTooSlow => "The body stopped arriving.",
            Self::Overloaded => "Too many connections at the moment; please try again.",
            Self::NoPool => "There is no application at this host and path.",
            Self::NoUpstream => "No server is available at the moment; please try again.",
            Self::UpstreamFailed => {
                "The server failed while it had the request; whether it acted on it is unknown."
            }
            Self::AnswerMalformed => "The server's answer is malformed.",
            Self::AnswerTooLate => "The server did not answer in time.",
        }
    }

    /// Writes the whole answer, with the request's id if the client is to know it; without the body where the request was a
    /// HEAD.
    pub(crate) fn write(self, close: bool, head_only: bool, id: Option<&[u8]>, out: &mut Buffer) {
        let (status, reason, text) = (self.status(), self.reason(), self.text());
        let length = text.len() + 1;
        let retry = if status == 503 { "Retry-After: 1\r\n" } else { "" };
        let close = if close { "Connection: close\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\n{retry}{close}",
        );
        out.put(head.as_bytes());
        date::put(out);
        if let Some(id) = id {
            request_id::put(id, out);
        }
        out.put(b"\r\n");
        if !head_only {
            out.put(text.as_bytes());
            out.put(b"\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_our_own_is_framed_and_says_what_is_wrong() {
        let mut out = Buffer::default();
        Refusal::NoUpstream.write(true, false, None, &mut out);
        let text = std::str::from_utf8(out.filled()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
        assert!(head.contains("\r\nRetry-After: 1\r\nConnection: close\r\nDate: "));
        assert!(body.starts_with("No server is available"));
    }

    #[test]
    fn a_head_request_gets_the_length_but_no_body() {
        let mut out = Buffer::default();
        Refusal::UpstreamFailed.write(false, true, None, &mut out);
        assert!(out.filled().ends_with(b"\r\n\r\n"));
        assert!(!out.filled().windows(17).any(|window| window == b"Connection: close"));
    }
}
