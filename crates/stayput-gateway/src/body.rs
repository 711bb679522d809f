//! A body on its way through: which of the bytes at hand belong to it.
//!
//! It never buffers: it judges what is there and says how much of it may go on.

use crate::chunked::Chunked;
use crate::framing::Framing;

/// What is left of a body.
pub(crate) struct Body {
    shape: Shape,
    /// How many bytes of data may still come.
    allowed: u64,
}

enum Shape {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

/// Why a body may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadBody {
    Malformed,
    TooLarge,
}

impl Body {
    pub(crate) fn new(framing: Framing, limit: Option<u64>) -> Result<Self, BadBody> {
        let allowed = limit.unwrap_or(u64::MAX);
        let shape = match framing {
            Framing::Empty => Shape::Length(0),
            Framing::Length(length) if length > allowed => return Err(BadBody::TooLarge),
            Framing::Length(length) => Shape::Length(length),
            Framing::Chunked => Shape::Chunked(Chunked::new()),
            Framing::UntilClose => Shape::UntilClose,
        };
        Ok(Self { shape, allowed })
    }

    /// How many of `bytes` belong to the body and may go on as they are.
    pub(crate) fn accept(&mut self, bytes: &[u8]) -> Result<usize, BadBody> {
        match &mut self.shape {
            Shape::Length(left) => {
                let n = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= n as u64;
                Ok(n)
            }
            Shape::UntilClose => Ok(bytes.len()),
            Shape::Chunked(chunked) => {
                let mut at = 0;
                while at < bytes.len() && !chunked.is_done() {
                    let run = chunked.next_run(&bytes[at..]).map_err(|_| BadBody::Malformed)?;
                    if run.is_data {
                        self.allowed =
                            self.allowed.checked_sub(run.length as u64).ok_or(BadBody::TooLarge)?;
                    }
                    at += run.length;
                }
                Ok(at)
            }
        }
    }

    /// As `accept`, and moves the data, bare of its coding, to the front: for receivers that know no codings.
    /// Answers how many bytes were judged and how many of them are data.
    pub(crate) fn accept_bare(&mut self, bytes: &mut [u8]) -> Result<(usize, usize), BadBody> {
        let Shape::Chunked(chunked) = &mut self.shape else {
            return self.accept(bytes).map(|n| (n, n));
        };
        let (mut at, mut data) = (0, 0);
        while at < bytes.len() && !chunked.is_done() {
            let run = chunked.next_run(&bytes[at..]).map_err(|_| BadBody::Malformed)?;
            if run.is_data {
                bytes.copy_within(at..at + run.length, data);
                data += run.length;
            }
            at += run.length;
        }
        Ok((at, data))
    }

    pub(crate) fn is_complete(&self) -> bool {
        match &self.shape {
            Shape::Length(left) => *left == 0,
            Shape::Chunked(chunked) => chunked.is_done(),
            Shape::UntilClose => false,
        }
    }

    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(self.shape, Shape::UntilClose)
    }

    /// Whether at least `n` more bytes are to be expected.
    pub(crate) fn is_longer_than(&self, n: usize) -> bool {
        !matches!(self.shape, Shape::Length(left) if left <= n as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_body_is_left_alone() {
        let mut body = Body::new(Framing::Length(5), None).unwrap();
        assert_eq!(body.accept(b"hel"), Ok(3));
        assert_eq!(body.accept(b"loGET /"), Ok(2));
        assert!(body.is_complete());
        let mut body = Body::new(Framing::Chunked, None).unwrap();
        assert_eq!(body.accept(b"1\r\na\r\n0\r\n\r\nGET /"), Ok(11));
        assert!(body.is_complete());
    }

    #[test]
    fn the_limit_counts_data_and_holds_for_both_framings() {
        assert_eq!(Body::new(Framing::Length(6), Some(5)).err(), Some(BadBody::TooLarge));
        let mut body = Body::new(Framing::Chunked, Some(5)).unwrap();
        assert!(body.accept(b"3\r\nabc\r\n2\r\nde\r\n").is_ok());
        assert_eq!(body.accept(b"1\r\nf"), Err(BadBody::TooLarge));
    }

    #[test]
    fn bare_data_is_moved_together() {
        let mut body = Body::new(Framing::Chunked, None).unwrap();
        let mut bytes = *b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nX";
        assert_eq!(body.accept_bare(&mut bytes), Ok((bytes.len() - 1, 5)));
        assert_eq!(&bytes[..5], b"abcde");
        assert!(body.is_complete());
    }
}
