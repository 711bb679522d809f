//! Ids of requests: one for each, by which it is found again in the logs of all that had to do with it.
//!
//! They are unique, and no secrets: who knows one can tell the next.

use std::cell::{Cell, RefCell};

use memchr::memmem;
use stayput_core::{Random, SystemRandom};

use crate::buffer::Buffer;

/// A field's name, as far as its value.
const NAME: &[u8] = b"X-Request-Id: ";
const LINE: &[u8] = b"\r\nX-Request-Id: ";
const DIGITS: usize = 16;
/// The field with an id of two times 16 digits, and the empty line.
const TAIL: usize = NAME.len() + 2 * DIGITS + 4;
/// Longer ids of others are not kept.
const LONGEST: usize = 128;

/// Makes a worker's ids: a count, scattered, and behind it what tells the worker from all others that there ever were.
pub(crate) struct IdMaker {
    next: Cell<u64>,
    tail: RefCell<[u8; TAIL]>,
}

impl IdMaker {
    pub(crate) fn from_system() -> Self {
        let mut bytes = [0; 16];
        SystemRandom.fill(&mut bytes);
        let [first, own] =
            [&bytes[..8], &bytes[8..]].map(|half| half.iter().fold(0, |n, &b| n << 8 | u64::from(b)));
        let mut tail = [0; TAIL];
        tail[..NAME.len()].copy_from_slice(NAME);
        tail[NAME.len() + DIGITS..][..DIGITS].copy_from_slice(&hex(own));
        tail[NAME.len() + 2 * DIGITS..].copy_from_slice(b"\r\n\r\n");
        Self { next: Cell::new(first), tail: RefCell::new(tail) }
    }

    /// Adds a new id to a head that ends there.
    pub(crate) fn add(&self, head: &mut Buffer) {
        let next = self.next.get();
        self.next.set(next.wrapping_add(1));
        let mut tail = self.tail.borrow_mut();
        tail[NAME.len()..][..DIGITS].copy_from_slice(&hex(scattered(next)));
        head.take_back(b"\r\n".len());
        head.put(&*tail);
    }
}

/// Writes the field with an id.
pub(crate) fn put(id: &[u8], out: &mut Buffer) {
    out.put_all(&[NAME, id, b"\r\n"]);
}

/// The id in a head for an upstream, behind which its body may follow.
pub(crate) fn in_head(head: &[u8]) -> Option<&[u8]> {
    // The line's beginning belongs to it: what a client sends may have the name in the middle of a line.
    let from = memmem::find(head, LINE)? + LINE.len();
    let length = memchr::memchr(b'\r', &head[from..])?;
    Some(&head[from..from + length])
}

/// Whether another's id can stand in a log and in a field without doing harm there.
pub(crate) fn is_plain(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:/+=@".contains(byte);
    (1..=LONGEST).contains(&id.len()) && id.iter().all(is_plain)
}

/// Another number for each (the last steps of `SplitMix64`), so that who samples by an id's first digits draws evenly.
fn scattered(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// All digits at once: each request pays for it.
fn hex(n: u64) -> [u8; DIGITS] {
    let half = |n: u64| {
        let n = (n | n << 16) & 0x0000_ffff_0000_ffff;
        let n = (n | n << 8) & 0x00ff_00ff_00ff_00ff;
        let n = (n | n << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        let letters = ((n + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
        (n + 0x3030_3030_3030_3030 + letters * 0x27).to_be_bytes()
    };
    let mut digits = [0; DIGITS];
    digits[..8].copy_from_slice(&half(n >> 32));
    digits[8..].copy_from_slice(&half(n & 0xffff_ffff));
    digits
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_of_all_workers_differ_and_are_32_digits_in_the_last_field() {
        let workers = [IdMaker::from_system(), IdMaker::from_system()];
        let mut all = HashSet::new();
        for n in 0..20_000 {
            let mut head = Buffer::default();
            let start = b"GET / HTTP/1.1\r\nHost: a\r\nX: X-Request-Id: x\r\n";
            head.put_all(&[start, b"\r\n"]);
            workers[n % 2].add(&mut head);
            head.put(b"X-Request-Id: body\r\n");
            let id = in_head(head.filled()).unwrap();
            assert!(id.len() == 32 && id.iter().all(|byte| b"0123456789abcdef".contains(byte)), "{id:?}");
            assert!(head.filled()[start.len()..].starts_with(b"X-Request-Id: "));
            assert!(head.filled().ends_with(b"\r\n\r\nX-Request-Id: body\r\n"));
            assert!(all.insert(id.to_vec()));
        }
    }

    #[test]
    fn digits_are_those_of_the_number() {
        for n in [0, 0x0123_4567_89ab_cdef, u64::MAX, 0x90a0_0f09_9a0a_a9f0] {
            assert_eq!(std::str::from_utf8(&hex(n)).unwrap(), format!("{n:016x}"));
        }
    }

    #[test]
    fn others_ids_are_kept_only_if_they_can_do_no_harm() {
        for id in ["a", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "Root=1-67891233-abcdef", &"x".repeat(128)] {
            assert!(is_plain(id.as_bytes()), "{id}");
        }
        for id in ["", "a b", "a\"b", "a,b", "a\\b", "\u{e9}", "a\tb", &"x".repeat(129)] {
            assert!(!is_plain(id.as_bytes()), "{id}");
        }
    }
}
