//! Heads read in one go: the first line, and the fields with what they are to a gateway.
//!
//! It is as strict as RFC 9112 lets a server be, and mends nothing: no bare line break, no folded line, no blank before a
//! colon, no byte in a name, value or target that does not belong there. It allocates nothing.

use std::cell::RefCell;

use super::kind::is_token;
use super::{Fields, Kind, MAX_FIELDS, words};

/// Why there is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is malformed, or not whole.
    Syntax,
    /// The version is neither HTTP/1.1 nor HTTP/1.0.
    Version,
    /// More than [`MAX_FIELDS`].
    TooManyFields,
    /// The `Connection` fields name more options than anyone needs.
    TooManyOptions,
}

/// The head of a request.
pub(crate) struct RequestHead<'h, 'b> {
    pub(crate) method: &'b [u8],
    pub(crate) target: &'b str,
    pub(crate) is_1_0: bool,
    pub(crate) fields: Fields<'h, 'b>,
}

/// The head of an answer.
pub(crate) struct AnswerHead<'h, 'b> {
    pub(crate) is_1_0: bool,
    pub(crate) status: u16,
    pub(crate) fields: Fields<'h, 'b>,
}

/// Room for the fields of one head.
pub(crate) struct Lines([Line; MAX_FIELDS]);

/// Where in the head a field line begins, and where in it things are.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) start: u32,
    pub(super) colon: u32,
    pub(super) value: u32,
    pub(super) value_end: u32,
    /// Told once all lines are known.
    pub(super) kind: Kind,
}

impl<'h, 'b> RequestHead<'h, 'b> {
    /// The head at the start of `bytes`, whatever follows it.
    pub(crate) fn read(bytes: &'b [u8], lines: &'h mut Lines) -> Result<Self, Fault> {
        let mut reader = Reader::new(bytes);
        let method = reader.method()?;
        let target = reader.target()?;
        let is_1_0 = reader.is_1_0()?;
        reader.line_break()?;
        Ok(Self { method, target, is_1_0, fields: reader.fields(lines)? })
    }
}

impl<'h, 'b> AnswerHead<'h, 'b> {
    /// The head at the start of `bytes`, whatever follows it.
    pub(crate) fn read(bytes: &'b [u8], lines: &'h mut Lines) -> Result<Self, Fault> {
        let mut reader = Reader::new(bytes);
        let is_1_0 = reader.is_1_0()?;
        let status = reader.status()?;
        reader.reason()?;
        Ok(Self { is_1_0, status, fields: reader.fields(lines)? })
    }
}

impl Lines {
    pub(crate) const fn new() -> Self {
        Self([Line { start: 0, colon: 0, value: 0, value_end: 0, kind: Kind::Other }; MAX_FIELDS])
    }

    /// Lends a thread's own, which need not be cleared for each head. Whoever has them must not ask for them again.
    pub(crate) fn with<T>(then: impl FnOnce(&mut Self) -> T) -> T {
        thread_local! {
            static LINES: RefCell<Lines> = const { RefCell::new(Lines::new()) };
        }
        LINES.with_borrow_mut(then)
    }
}

/// Bytes, and how far they have been read.
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        // Places are kept in 32 bits. What is longer is not whole for that.
        let most = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
        Self { bytes: &bytes[..bytes.len().min(most)], at: 0 }
    }

    /// A token and a blank.
    fn method(&mut self) -> Result<&'b [u8], Fault> {
        let end = self.token_end(self.at)?;
        let method = &self.bytes[self.at..end];
        self.at = end;
        self.one(b' ')?;
        Ok(method)
    }

    /// What a target is made of, and a blank.
    fn target(&mut self) -> Result<&'b str, Fault> {
        let start = self.at;
        loop {
            self.at = words::text_end::<b'!'>(self.bytes, self.at);
            if !matches!(self.byte(self.at)?, b'!'..=b'~' | 0x80..) {
                break;
            }
            self.at += 1;
        }
        let target = &self.bytes[start..self.at];
        self.one(b' ')?;
        if target.is_empty() {
            return Err(Fault::Syntax);
        }
        std::str::from_utf8(target).map_err(|_| Fault::Syntax)
    }

    fn is_1_0(&mut self) -> Result<bool, Fault> {
        let is_1_0 = match self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            Some(b"HTTP/1.1") => false,
            Some(b"HTTP/1.0") => true,
            _ => return Err(Fault::Version),
        };
        self.at += b"HTTP/1.1".len();
        Ok(is_1_0)
    }

    /// A blank and three digits.
    fn status(&mut self) -> Result<u16, Fault> {
        let Some([b' ', digits @ ..]) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<4>) else {
            return Err(Fault::Syntax);
        };
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(Fault::Syntax);
        }
        self.at += b" 200".len();
        Ok(digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0')))
    }

    /// The rest of a status line: nothing, or a blank and text.
    fn reason(&mut self) -> Result<(), Fault> {
        if self.byte(self.at)? == b' ' {
            self.at = self.text_end(self.at)?;
        }
        self.line_break()
    }

    fn fields<'h>(mut self, lines: &'h mut Lines) -> Result<Fields<'h, 'b>, Fault> {
        let mut count = 0;
        while self.byte(self.at)? != b'\r' {
            let line = self.line()?;
            *lines.0.get_mut(count).ok_or(Fault::TooManyFields)? = line;
            count += 1;
        }
        self.line_break()?;
        Fields::new(&self.bytes[..self.at], &mut lines.0[..count])
    }

    #[expect(clippy::inline_always, reason = "it is done for each line")]
    #[inline(always)]
    fn line(&mut self) -> Result<Line, Fault> {
        let start = self.at;
        let colon = self.token_end(start)?;
        if self.byte(colon)? != b':' {
            return Err(Fault::Syntax);
        }
        let mut value = colon + 1;
        while matches!(self.byte(value)?, b' ' | b'\t') {
            value += 1;
        }
        let end = self.text_end(value)?;
        self.at = end;
        self.line_break()?;
        let mut value_end = end;
        while value_end > value && matches!(self.bytes[value_end - 1], b' ' | b'\t') {
            value_end -= 1;
        }
        Ok(Line {
            start: narrow(start),
            colon: narrow(colon),
            value: narrow(value),
            value_end: narrow(value_end),
            kind: Kind::Other,
        })
    }

    /// Where the token that begins at `at` ends, which has at least one byte.
    #[expect(clippy::inline_always, reason = "it is done for each line")]
    #[inline(always)]
    fn token_end(&self, at: usize) -> Result<usize, Fault> {
        let mut end = words::plain_end(self.bytes, at);
        while is_token(self.byte(end)?) {
            end += 1;
        }
        if end == at { Err(Fault::Syntax) } else { Ok(end) }
    }

    /// Where the text that begins at `at` ends, which may be empty.
    #[expect(clippy::inline_always, reason = "it is done for each line")]
    #[inline(always)]
    fn text_end(&self, at: usize) -> Result<usize, Fault> {
        let mut end = at;
        loop {
            end = words::text_end::<b' '>(self.bytes, end);
            if !matches!(self.byte(end)?, b'\t' | b' '..=b'~' | 0x80..) {
                return Ok(end);
            }
            end += 1;
        }
    }

    #[inline]
    fn line_break(&mut self) -> Result<(), Fault> {
        if self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) != Some(b"\r\n") {
            return Err(Fault::Syntax);
        }
        self.at += 2;
        Ok(())
    }

    #[inline]
    fn one(&mut self, byte: u8) -> Result<(), Fault> {
        if self.byte(self.at)? != byte {
            return Err(Fault::Syntax);
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn byte(&self, at: usize) -> Result<u8, Fault> {
        self.bytes.get(at).copied().ok_or(Fault::Syntax)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "what is read is cut where 32 bits end")]
fn narrow(place: usize) -> u32 {
    place as u32
}
