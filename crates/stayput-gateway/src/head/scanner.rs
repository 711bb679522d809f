//! Where a head ends that arrives piece by piece.
//!
//! It refuses bare CR and bare LF as they arrive: other servers disagree on what they mean, which is how requests are
//! smuggled.

use memchr::memchr2;

/// Finds the end of a head that arrives piece by piece, looking at each byte once.
#[derive(Default)]
pub(crate) struct Scanner {
    line: usize,
    seen: usize,
}

/// A CR or LF on its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BareLineBreak;

impl Scanner {
    /// The head's length with its empty line, once that is there. `bytes` is all that has arrived so far.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, BareLineBreak> {
        while let Some(found) = memchr2(b'\r', b'\n', &bytes[self.seen..]) {
            let at = self.seen + found;
            match (bytes[at], bytes.get(at + 1)) {
                (b'\r', None) => {
                    self.seen = at;
                    return Ok(None);
                }
                (b'\r', Some(b'\n')) if at == self.line => return Ok(Some(at + 2)),
                (b'\r', Some(b'\n')) => (self.line, self.seen) = (at + 2, at + 2),
                _ => return Err(BareLineBreak),
            }
        }
        self.seen = bytes.len();
        Ok(None)
    }

    /// Whether it has seen nothing yet that it would have to see again.
    pub(crate) fn is_fresh(&self) -> bool {
        self.seen == 0
    }

    pub(crate) fn is_in_first_line(&self) -> bool {
        self.line == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Result<Option<usize>, BareLineBreak> {
        Scanner::default().scan(bytes)
    }

    #[test]
    fn a_head_ends_at_its_empty_line_however_it_is_split() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        let end = bytes.len() - 4;
        assert_eq!(scan(bytes), Ok(Some(end)));
        for split in 0..end {
            let mut scanner = Scanner::default();
            assert_eq!(scanner.scan(&bytes[..split]), Ok(None), "split at {split}");
            assert_eq!(scanner.scan(bytes), Ok(Some(end)), "split at {split}");
        }
    }

    #[test]
    fn a_bare_line_break_is_refused_before_the_head_is_whole() {
        assert_eq!(scan(b"GET / HTTP/1.1\n"), Err(BareLineBreak));
        assert_eq!(scan(b"GET / HTTP/1.1\rHost"), Err(BareLineBreak));
        assert_eq!(scan(b"GET / HTTP/1.1\r\nHost: a\n"), Err(BareLineBreak));
        assert_eq!(scan(b"GET / HTTP/1.1\r\r\n"), Err(BareLineBreak));
        let mut scanner = Scanner::default();
        assert_eq!(scanner.scan(b"GET / HTTP/1.1\r"), Ok(None));
        assert_eq!(scanner.scan(b"GET / HTTP/1.1\rX"), Err(BareLineBreak));
    }
}
