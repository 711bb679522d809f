//! Sixteen bytes at a time: where in a head something else begins.
//!
//! It judges nothing: whoever asks looks at the byte that was found, and at those at the end that don't fill a block by itself.

use std::hint::black_box;

/// Bytes that are looked at together. Compilers make one vector of them.
const BLOCK: usize = 16;
const HALF: usize = BLOCK / 2;

/// Where the first byte from `at` on is that is neither a letter nor a dash. If there is none among the blocks, where they end.
#[expect(clippy::inline_always, reason = "a call for each name costs as much as what it does")]
#[inline(always)]
pub(super) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    for block in blocks(bytes, at) {
        // Nearly all names are shorter than a block.
        match first(block, is_plain) {
            BLOCK => at += BLOCK,
            within => return at + within,
        }
    }
    at
}

/// Where the first byte from `at` on is that is below `LEAST` or 127. If there is none among the blocks, where they end.
#[expect(clippy::inline_always, reason = "a call for each value costs as much as what it does")]
#[inline(always)]
pub(super) fn text_end<const LEAST: u8>(bytes: &[u8], mut at: usize) -> usize {
    for block in blocks(bytes, at) {
        // Without a way out this is one vector and one test, too.
        if !block.iter().fold(true, |all, &byte| all & is_text::<LEAST>(byte)) {
            return at + first(block, is_text::<LEAST>);
        }
        at += BLOCK;
    }
    at
}

#[expect(clippy::needless_bitwise_bool, reason = "a vector has no ways out")]
fn is_plain(byte: u8) -> bool {
    ((byte | 0x20).wrapping_sub(b'a') < 26) | (byte == b'-')
}

#[expect(clippy::needless_bitwise_bool, reason = "a vector has no ways out")]
fn is_text<const LEAST: u8>(byte: u8) -> bool {
    (byte >= LEAST) & (byte != 0x7f)
}

fn blocks(bytes: &[u8], at: usize) -> &[[u8; BLOCK]] {
    bytes.get(at..).unwrap_or_default().as_chunks().0
}

/// Where in a block the first byte is that doesn't go on; behind it if all do.
#[expect(clippy::inline_always, reason = "it is a dozen instructions")]
#[inline(always)]
fn first(block: &[u8; BLOCK], goes_on: impl Fn(u8) -> bool) -> usize {
    let mut marks = [0_u8; BLOCK];
    for (mark, &byte) in marks.iter_mut().zip(block) {
        *mark = if goes_on(byte) { 0 } else { 0xff };
    }
    // What the compiler sees through it takes apart, and puts together from single bytes again.
    let marks = black_box(marks);
    let (halves, _) = marks.as_chunks::<HALF>();
    let [one, other] = [halves[0], halves[1]].map(u64::from_le_bytes);
    let bit = if one == 0 { u64::BITS + other.trailing_zeros() } else { one.trailing_zeros() };
    bit as usize / 8
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
