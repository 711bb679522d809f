//! Sixteen bytes at a time: where in a head something else begins.
//!
//! It judges nothing: whoever asks looks at the byte that was found, and at those at the end that don't fill a block by itself.

use std::hint::black_box;

/// Bytes that are looked at together. Compilers make one vector of them.
const BLOCK: usize = 16;
const HALF: usize = BLOCK / 2;

/// Where the first byte from `at` on is that is neither a letter nor a dash. If there is none among the blocks, where they end.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it is done for each line")]
#[expect(
    clippy::needless_bitwise_bool,
    reason = "a vector has no ways out: 0.8 of 17.2 thousand instructions a request"
)]
pub(super) fn plain_end(bytes: &[u8], at: usize) -> usize {
    end(bytes, at, |byte| ((byte | 0x20).wrapping_sub(b'a') < 26) | (byte == b'-'))
}

/// Where the first byte from `at` on is that is below `LEAST` or 127. If there is none among the blocks, where they end.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it is done for each line")]
#[expect(
    clippy::needless_bitwise_bool,
    reason = "a vector has no ways out: 0.8 of 17.2 thousand instructions a request"
)]
pub(super) fn text_end<const LEAST: u8>(bytes: &[u8], at: usize) -> usize {
    end(bytes, at, |byte| (byte >= LEAST) & (byte != 0x7f))
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "it is done for each line")]
fn end(bytes: &[u8], mut at: usize, goes_on: impl Fn(u8) -> bool) -> usize {
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>) {
        let mut marks = [0_u8; BLOCK];
        for (mark, &byte) in marks.iter_mut().zip(block) {
            *mark = if goes_on(byte) { 0 } else { 0xff };
        }
        // What the compiler sees through it takes apart, and puts together from single bytes again.
        let marks = black_box(marks);
        let (halves, _) = marks.as_chunks::<HALF>();
        for (half, marks) in halves.iter().enumerate() {
            let marks = u64::from_le_bytes(*marks);
            if marks != 0 {
                return at + half * HALF + marks.trailing_zeros() as usize / 8;
            }
        }
        at += BLOCK;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_told_from_the_others_wherever_it_stands() {
        const LENGTH: usize = 2 * BLOCK;
        for (byte, at) in (0..=u8::MAX).flat_map(|byte| (0..LENGTH).map(move |at| (byte, at))) {
            let found = |around: u8, end: fn(&[u8], usize) -> usize| {
                let mut bytes = [around; LENGTH];
                bytes[at] = byte;
                end(&bytes, 0)
            };
            let expected = |goes_on| if goes_on { LENGTH } else { at };
            let is_plain = byte.is_ascii_alphabetic() || byte == b'-';
            for around in [b'a', b'Z', b'-'] {
                assert_eq!(found(around, plain_end), expected(is_plain), "{byte} at {at} among {around}");
            }
            for around in [b'!', b'~', 0x80, 0xff] {
                let is_text = byte >= b' ' && byte != 0x7f;
                assert_eq!(found(around, text_end::<b' '>), expected(is_text), "{byte} at {at}, {around}");
                let is_graphic = is_text && byte != b' ';
                assert_eq!(found(around, text_end::<b'!'>), expected(is_graphic), "{byte} at {at}, {around}");
            }
        }
    }

    #[test]
    fn what_fills_no_block_is_left_to_others() {
        assert_eq!(plain_end(b"abcdefghijklmno:", 1), 1);
        assert_eq!(plain_end(b"abcdefghijklmnop:", 0), 16);
        assert_eq!(text_end::<b' '>(b"0123456789abcde\r", 0), 15);
        assert_eq!(text_end::<b' '>(b"0123456789abcdef01234567\r", 0), 16);
    }
}
