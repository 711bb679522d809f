//! The chunked coding (RFC 9112, 7.1), checked as it passes.
//!
//! It never lets a byte through that it has not understood: a bare line break, a wrong end of a chunk or a trailer
//! that frames or routes makes the body malformed there and then.

use crate::head::{Kind, is_token};

/// Most bytes that chunk extensions and trailers may take in one body, together.
const OVERHEAD: usize = 16 * 1024;
/// Most digits of a chunk's size: 64 bits.
const SIZE_DIGITS: u8 = 16;
/// Trailer names up to this length are compared with the forbidden ones, all of which are shorter.
const NAME: usize = 20;

/// The body is not what RFC 9112 calls chunked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A chunked body as far as it has been seen.
pub(crate) struct Chunked {
    state: State,
    overhead: usize,
    name: [u8; NAME],
    name_length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { size: u64, digits: u8 },
    Extension { size: u64 },
    SizeEnd { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    Done,
}

/// A run of bytes of one sort.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) length: usize,
    pub(crate) is_data: bool,
}

impl Chunked {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Size { size: 0, digits: 0 },
            overhead: OVERHEAD,
            name: [0; NAME],
            name_length: 0,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The run at the start of `bytes`: data, or all framing up to the next data. Empty when there are no bytes or
    /// the body is done.
    pub(crate) fn next_run(&mut self, bytes: &[u8]) -> Result<Run, Malformed> {
        if let State::Data { left } = self.state {
            let length = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let left = left - length as u64;
            self.state = if left == 0 { State::DataCr } else { State::Data { left } };
            return Ok(Run { length, is_data: true });
        }
        let mut length = 0;
        while length < bytes.len() && !matches!(self.state, State::Data { .. } | State::Done) {
            self.state = self.step(bytes[length])?;
            length += 1;
        }
        Ok(Run { length, is_data: false })
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        match (self.state, byte) {
            (State::Size { size, digits }, _) => size_step(size, digits, byte),
            (State::Extension { size }, b'\r') => Ok(State::SizeEnd { size }),
            (State::Extension { .. } | State::TrailerValue, _) if is_text(byte) => self.spend(self.state),
            (State::SizeEnd { size: 0 } | State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::SizeEnd { size }, b'\n') => Ok(State::Data { left: size }),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
            (State::TrailerStart, b'\r') => Ok(State::LastLf),
            (State::TrailerStart, _) => {
                self.name_length = 0;
                self.name_step(byte)
            }
            (State::TrailerName, b':') => self.name_end(),
            (State::TrailerName, _) => self.name_step(byte),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::LastLf, b'\n') => Ok(State::Done),
            _ => Err(Malformed),
        }
    }

    fn spend(&mut self, next: State) -> Result<State, Malformed> {
        self.overhead = self.overhead.checked_sub(1).ok_or(Malformed)?;
        Ok(next)
    }

    fn name_step(&mut self, byte: u8) -> Result<State, Malformed> {
        if !is_token(byte) {
            return Err(Malformed);
        }
        if let Some(slot) = self.name.get_mut(self.name_length) {
            *slot = byte;
        }
        self.name_length += 1;
        self.spend(State::TrailerName)
    }

    fn name_end(&mut self) -> Result<State, Malformed> {
        let forbidden = self.name.get(..self.name_length).is_some_and(is_forbidden_trailer)
            || Kind::of(&self.name[..self.name_length.min(NAME)]) == Kind::Forwarding;
        if forbidden { Err(Malformed) } else { self.spend(State::TrailerValue) }
    }
}

fn size_step(size: u64, digits: u8, byte: u8) -> Result<State, Malformed> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b'\r' if digits > 0 => return Ok(State::SizeEnd { size }),
        b';' if digits > 0 => return Ok(State::Extension { size }),
        _ => return Err(Malformed),
    };
    if digits == SIZE_DIGITS {
        return Err(Malformed);
    }
    Ok(State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
}

/// What must not come late: it frames, routes, authenticates or changes how the body is read (RFC 9110, 6.5.1).
fn is_forbidden_trailer(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 7] = [
        b"authorization",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"set-cookie",
        b"trailer",
        b"location",
    ];
    !matches!(Kind::of(name), Kind::Other | Kind::RequestId)
        || NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data of a body fed in pieces of these sizes, and how many bytes the body took.
    fn decode(bytes: &[u8], mut piece: impl FnMut() -> usize) -> Result<(Vec<u8>, usize, bool), Malformed> {
        let (mut chunked, mut data, mut at) = (Chunked::new(), Vec::new(), 0);
        while at < bytes.len() && !chunked.is_done() {
            let end = bytes.len().min(at + piece());
            let run = chunked.next_run(&bytes[at..end])?;
            if run.is_data {
                data.extend_from_slice(&bytes[at..at + run.length]);
            }
            at += run.length;
        }
        Ok((data, at, chunked.is_done()))
    }

    const WHOLE: &[u8] =
        b"5\r\nhello\r\n00a;name=\"v\"\r\n, world..!\r\n0\r\nX-Sum: 1\r\nServer-Timing: a\r\n\r\nGET /next";

    #[test]
    fn a_body_is_decoded_and_ends_where_it_ends() {
        let (data, taken, done) = decode(WHOLE, || WHOLE.len()).unwrap();
        assert_eq!(data, b"hello, world..!");
        assert_eq!(&WHOLE[taken..], b"GET /next");
        assert!(done);
    }

    #[test]
    fn every_split_gives_the_same_result() {
        let expected = decode(WHOLE, || WHOLE.len());
        assert_eq!(decode(WHOLE, || 1), expected);
        for seed in 1..200_u64 {
            let mut state = seed;
            let mut piece = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                usize::try_from(state >> 60).unwrap() + 1
            };
            assert_eq!(decode(WHOLE, &mut piece), expected, "seed {seed}");
        }
    }

    #[test]
    fn malformed_bodies_are_refused_however_they_are_split() {
        let bodies: [&[u8]; 22] = [
            b"\r\nhello",
            b"g\r\n",
            b"-1\r\n",
            b"+5\r\nhello\r\n",
            b" 5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\rhello\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello!\r\n",
            b"5;a\nb\r\nhello\r\n",
            b"5;\0\r\nhello\r\n",
            b"10000000000000000\r\n",
            b"00000000000000005\r\nhello\r\n",
            b"0\r\n\n",
            b"0\r\nContent-Length: 5\r\n\r\n",
            b"0\r\ntransfer-encoding: chunked\r\n\r\n",
            b"0\r\nHost: a\r\n\r\n",
            b"0\r\nX-Forwarded-For-Anything-At-All: a\r\n\r\n",
            b"0\r\n folded\r\n\r\n",
            b"0\r\nname : v\r\n\r\n",
        ];
        for body in bodies {
            let text = String::from_utf8_lossy(body);
            assert_eq!(decode(body, || body.len()), Err(Malformed), "{text:?}");
            assert_eq!(decode(body, || 1), Err(Malformed), "{text:?} byte by byte");
        }
    }

    #[test]
    fn endless_extensions_and_trailers_are_refused() {
        let extension = [b"1;".as_slice(), &b"a".repeat(OVERHEAD + 1)].concat();
        assert_eq!(decode(&extension, || 4096), Err(Malformed));
        let many = b"1;aaaaaaaaaaaaaaaa\r\nx\r\n".repeat(OVERHEAD / 16 + 1);
        assert_eq!(decode(&many, || 4096), Err(Malformed));
        let trailers = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(OVERHEAD)].concat();
        assert_eq!(decode(&trailers, || 4096), Err(Malformed));
    }

    #[test]
    fn the_largest_size_is_a_size() {
        let mut chunked = Chunked::new();
        chunked.next_run(b"ffffffffffffffff\r\n").unwrap();
        assert_eq!(chunked.state, State::Data { left: u64::MAX });
    }
}
