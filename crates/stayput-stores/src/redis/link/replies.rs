//! What a server sends, cut into values.
//!
//! It reads the short and frequent ones itself: strings, numbers, and a word of assent. Where others end it finds out, and
//! leaves their meaning to redis-rs.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use redis::{RedisError, RedisResult, Value};
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that have arrived, up to the last value that was taken out.
pub(super) struct Replies {
    buffer: Vec<u8>,
    /// The bytes that count are these.
    start: usize,
    end: usize,
    walk: Walk,
}

/// How much of a value is there: where the next part of it begins, and how many parts are still to come. It is kept between
/// two arrivals, so that a long list is walked through once.
#[derive(Clone, Copy)]
struct Walk {
    at: usize,
    left: usize,
}

impl Replies {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; ROOM], start: 0, end: 0, walk: Walk::BEGIN }
    }

    /// Takes in what has arrived; how much that was.
    pub(super) fn poll_fill(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let mut free = ReadBuf::new(&mut self.buffer[self.end..]);
        let outcome = stream.poll_read(context, &mut free);
        let length = free.filled().len();
        self.end += length;
        outcome.map_ok(|()| length)
    }

    /// The next value, if the whole of it is there.
    pub(super) fn next(&mut self) -> RedisResult<Option<Value>> {
        let bytes = &self.buffer[self.start..self.end];
        let found = match self.walk.left {
            1 if self.walk.at == 0 => frequent(bytes)?,
            _ => None,
        };
        let (value, length) = match found {
            Some(found) => found,
            None => match self.walk.on(bytes)? {
                Some(length) => (redis::parse_redis_value(&bytes[..length])?, length),
                None => return Ok(None),
            },
        };
        self.walk = Walk::BEGIN;
        self.start += length;
        Ok(Some(value))
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            // What one large value took is given back.
            if self.buffer.len() > ROOM {
                self.buffer = vec![0; ROOM];
            }
        } else if self.buffer.len() - self.end < ROOM / 4 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() - self.end < ROOM / 4 {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
    }
}

impl Walk {
    const BEGIN: Self = Self { at: 0, left: 1 };

    /// Goes on through what is there; the value's length if it ends there.
    fn on(&mut self, bytes: &[u8]) -> RedisResult<Option<usize>> {
        while self.left > 0 {
            let Some((line, mut next)) = line(bytes, self.at) else { return Ok(None) };
            let (kind, rest) = line.split_first().ok_or_else(|| unreadable("an empty line"))?;
            let parts = match kind {
                b'$' | b'=' | b'!' => {
                    if let Some(length) = length(rest)? {
                        next += length + LINE_END;
                        if next > bytes.len() {
                            return Ok(None);
                        }
                    }
                    0
                }
                b'*' | b'~' | b'>' => length(rest)?.unwrap_or(0),
                b'%' => length(rest)?.unwrap_or(0) * 2,
                // An attribute comes before what it is about.
                b'|' => length(rest)?.unwrap_or(0) * 2 + 1,
                b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => 0,
                _ => return Err(unreadable("no kind of value has this letter")),
            };
            *self = Self { at: next, left: self.left - 1 + parts };
        }
        Ok(Some(self.at))
    }
}

/// A value of the frequent kinds, and its length, if the whole of it is there.
fn frequent(bytes: &[u8]) -> RedisResult<Option<(Value, usize)>> {
    let Some((line, next)) = line(bytes, 0) else { return Ok(None) };
    Ok(match line.split_first() {
        Some((b'$', rest)) => match length(rest)? {
            None => Some((Value::Nil, next)),
            Some(length) if next + length + LINE_END <= bytes.len() => {
                let value = Value::BulkString(bytes[next..next + length].to_vec());
                Some((value, next + length + LINE_END))
            }
            Some(_) => None,
        },
        Some((b':', rest)) => Some((Value::Int(number(rest)?), next)),
        Some((b'+', b"OK")) => Some((Value::Okay, next)),
        _ => None,
    })
}

/// The line that begins at a place, and where the next one does.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = &bytes[at..];
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    Some((rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]), at + end + 1))
}

/// How many there are of something; `None` stands for nothing at all.
fn length(digits: &[u8]) -> RedisResult<Option<usize>> {
    match number(digits)? {
        -1 => Ok(None),
        number => match usize::try_from(number) {
            Ok(length) if length <= LONGEST => Ok(Some(length)),
            _ => Err(unreadable("a length that no value has")),
        },
    }
}

fn number(digits: &[u8]) -> RedisResult<i64> {
    // Lengths are short, and come with every value.
    if (1..=SURELY_FITS).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) {
        return Ok(digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')));
    }
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| unreadable("a number is none"))
}

fn unreadable(cause: &'static str) -> RedisError {
    (redis::ErrorKind::Parse, "the server says what nobody understands", cause.to_owned()).into()
}

/// So many digits are surely no more than the largest number.
const SURELY_FITS: usize = 18;

/// As much as arrives at once.
const ROOM: usize = 64 * 1024;

/// What Redis itself holds to be the most.
const LONGEST: usize = 512 * 1024 * 1024;

const LINE_END: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of bytes that arrive in pieces of a length.
    fn read(mut bytes: &[u8], piece: usize) -> RedisResult<Vec<Value>> {
        let (mut replies, mut values) = (Replies::new(), Vec::new());
        let mut context = Context::from_waker(std::task::Waker::noop());
        while !bytes.is_empty() {
            let (mut now, later) = bytes.split_at(piece.min(bytes.len()));
            while !now.is_empty() {
                let filled = replies.poll_fill(Pin::new(&mut now), &mut context);
                assert!(matches!(filled, Poll::Ready(Ok(1..))));
            }
            while let Some(value) = replies.next()? {
                values.push(value);
            }
            bytes = later;
        }
        Ok(values)
    }

    #[test]
    fn values_are_those_of_the_librarys_parser_however_they_arrive() {
        let long = vec![b'x'; 3 * ROOM];
        let parts: [&[u8]; 20] = [
            b"$5\r\na\r\nbc\r\n",
            b"+OK\r\n",
            b"$0\r\n\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b":-7\r\n",
            b":007\r\n",
            b":999999999999999999\r\n",
            b":9223372036854775807\r\n",
            b":-9223372036854775808\r\n",
            b"+QUEUED\r\n",
            b"-MOVED 1 127.0.0.1:7000\r\n",
            b"*0\r\n",
            b"*3\r\n*2\r\n:1\r\n$1\r\n\n\r\n-ERR within\r\n$-1\r\n",
            b"_\r\n",
            b"#t\r\n",
            b",1.5\r\n",
            b"%2\r\n+a\r\n:1\r\n$1\r\nb\r\n~2\r\n:1\r\n:2\r\n",
            b">3\r\n+message\r\n$1\r\nc\r\n$2\r\nhi\r\n",
            &[format!("${}\r\n", long.len()).as_bytes(), &long, b"\r\n"].concat(),
        ];
        let expected: Vec<_> = parts.iter().map(|part| redis::parse_redis_value(part).unwrap()).collect();
        let bytes = parts.concat();
        for piece in [1, 2, 3, 7, 100, ROOM - 1, ROOM, bytes.len()] {
            assert_eq!(read(&bytes, piece).unwrap(), expected, "{piece}");
        }
    }

    #[test]
    fn what_is_no_value_is_an_error() {
        let wrong: [&[u8]; 9] = [
            b"HTTP/1.1 400\r\n",
            b"$x\r\n",
            b"$-2\r\n",
            b"$999999999999\r\n",
            b"*-3\r\n",
            b"\r\n",
            b":\r\n",
            b":9223372036854775808\r\n",
            b"%?\r\n",
        ];
        for bytes in wrong {
            assert_eq!(read(bytes, 1).unwrap_err().kind(), redis::ErrorKind::Parse, "{bytes:?}");
        }
    }
}
