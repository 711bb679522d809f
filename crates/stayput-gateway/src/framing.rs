//! Where a message's body ends, decided once and strictly (RFC 9112, 6).
//!
//! It never guesses: whatever two servers could read differently is refused.

use crate::head::{Fields, Kind};
use crate::refusal::Refusal;

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    Empty,
    /// That many bytes.
    Length(u64),
    Chunked,
    /// An answer that ends with its connection.
    UntilClose,
}

/// An answer that can be read in more than one way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ambiguous;

/// The framing of a request.
pub(crate) fn of_request(fields: &Fields<'_, '_>, is_1_0: bool) -> Result<Framing, Refusal> {
    let length = fields.only(Kind::ContentLength).map_err(|_| Refusal::ContentLength)?;
    match (length, fields.has(Kind::TransferEncoding)) {
        (Some(_), true) => Err(Refusal::LengthAndCoding),
        (None, true) if is_1_0 || !is_chunked(fields) => Err(Refusal::Coding),
        (None, true) => Ok(Framing::Chunked),
        (Some(value), false) => parse_length(value).map(Framing::Length).ok_or(Refusal::ContentLength),
        (None, false) => Ok(Framing::Empty),
    }
}

/// The framing of an answer to a request; `has_body` is what request and status say: HEAD, 1xx, 204 and 304 have none.
pub(crate) fn of_answer(fields: &Fields<'_, '_>, is_1_0: bool, has_body: bool) -> Result<Framing, Ambiguous> {
    let length = fields.only(Kind::ContentLength).map_err(|_| Ambiguous)?;
    let framing = match (length, fields.has(Kind::TransferEncoding)) {
        (Some(_), true) => return Err(Ambiguous),
        (None, true) if is_1_0 || !is_chunked(fields) => return Err(Ambiguous),
        (None, true) => Framing::Chunked,
        (Some(value), false) => Framing::Length(parse_length(value).ok_or(Ambiguous)?),
        (None, false) => Framing::UntilClose,
    };
    Ok(if has_body { framing } else { Framing::Empty })
}

/// Digits and nothing else: no sign, no list.
pub(crate) fn parse_length(value: &[u8]) -> Option<u64> {
    // `u64::from_str` accepts a leading plus.
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    value.iter().try_fold(0_u64, |length, digit| length.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

fn is_chunked(fields: &Fields<'_, '_>) -> bool {
    matches!(fields.only(Kind::TransferEncoding), Ok(Some(value)) if value.eq_ignore_ascii_case(b"chunked"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{Lines, RequestHead};

    fn with_fields<T>(lines: &str, then: impl FnOnce(&Fields<'_, '_>) -> T) -> T {
        let raw = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        let mut lines = Lines::new();
        let head = RequestHead::read(raw.as_bytes(), &mut lines).unwrap();
        then(&head.fields)
    }

    fn request(lines: &str) -> Result<Framing, Refusal> {
        with_fields(lines, |fields| of_request(fields, false))
    }

    fn answer(lines: &str, has_body: bool) -> Result<Framing, Ambiguous> {
        with_fields(lines, |fields| of_answer(fields, false, has_body))
    }

    #[test]
    fn plain_framing_is_understood() {
        assert_eq!(request(""), Ok(Framing::Empty));
        assert_eq!(request("Content-Length: 18446744073709551615\r\n"), Ok(Framing::Length(u64::MAX)));
        assert_eq!(request("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
    }

    #[test]
    fn every_doubtful_length_is_refused() {
        for value in ["", "+5", "-5", "5,5", "5, 5", "0x5", "5 5", "18446744073709551616", "5;", "\u{0665}"] {
            let lines = format!("Content-Length: {value}\r\n");
            assert_eq!(request(&lines), Err(Refusal::ContentLength), "{value}");
            assert_eq!(answer(&lines, true), Err(Ambiguous), "{value}");
        }
        let twice = "Content-Length: 5\r\nContent-Length: 5\r\n";
        assert_eq!(request(twice), Err(Refusal::ContentLength));
        assert_eq!(answer(twice, false), Err(Ambiguous));
    }

    #[test]
    fn any_coding_but_chunked_once_is_refused() {
        for value in
            ["", "gzip", "chunked, chunked", "gzip, chunked", "chunked, identity", "xchunked", "chunked;a"]
        {
            let lines = format!("Transfer-Encoding: {value}\r\n");
            assert_eq!(request(&lines), Err(Refusal::Coding), "{value}");
            assert_eq!(answer(&lines, true), Err(Ambiguous), "{value}");
        }
        assert_eq!(request(&"Transfer-Encoding: chunked\r\n".repeat(2)), Err(Refusal::Coding));
        let refused = with_fields("Transfer-Encoding: chunked\r\n", |fields| of_request(fields, true));
        assert_eq!(refused, Err(Refusal::Coding), "HTTP/1.0 has no codings");
    }

    #[test]
    fn length_and_coding_together_are_refused() {
        let lines = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(request(lines), Err(Refusal::LengthAndCoding));
        assert_eq!(answer(lines, true), Err(Ambiguous));
    }

    #[test]
    fn an_answer_without_a_length_ends_with_its_connection_unless_it_has_no_body() {
        assert_eq!(answer("", true), Ok(Framing::UntilClose));
        assert_eq!(answer("", false), Ok(Framing::Empty));
        assert_eq!(answer("Content-Length: 5\r\n", false), Ok(Framing::Empty));
    }
}
