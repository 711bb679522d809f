//! The value of an HTML attribute, with its character references read, and where each byte of it stands in the source.
//!
//! Only what stands for ASCII is decoded: nothing else matters to an address's structure. Anything else counts as some
//! byte that is not ASCII.

use std::ops::Range;

pub(super) struct Attribute {
    pub(super) text: Vec<u8>,
    /// By byte of the text, and one more for its end: where it stands in the source.
    places: Vec<usize>,
}

impl Attribute {
    /// The value `source`, whose characters stand for one byte each.
    pub(super) fn read(source: &str) -> Self {
        let source: Vec<u8> = source.chars().map(|c| u8::try_from(c).unwrap_or(FOREIGN)).collect();
        let (mut text, mut places, mut at) = (Vec::new(), Vec::new(), 0);
        while at < source.len() {
            let (byte, length) = reference(&source[at..]).unwrap_or((source[at], 1));
            text.push(byte);
            places.push(at);
            at += length;
        }
        places.push(source.len());
        Self { text, places }
    }

    /// Where a place of the text is in the source.
    pub(super) fn place(&self, at: usize) -> usize {
        self.places[at]
    }

    pub(super) fn range(&self, range: &Range<usize>) -> Range<usize> {
        self.place(range.start)..self.place(range.end)
    }
}

/// What the character reference at the start stands for, and its length. `None` if there is none, or one of a name that
/// matters to nobody here.
fn reference(source: &[u8]) -> Option<(u8, usize)> {
    let rest = source.strip_prefix(b"&")?;
    match rest.strip_prefix(b"#") {
        Some(number) => numeric(number).map(|(byte, length)| (byte, length + 2)),
        None => named(rest).map(|(byte, length)| (byte, length + 1)),
    }
}

fn numeric(rest: &[u8]) -> Option<(u8, usize)> {
    let (radix, prefix) = if matches!(rest.first(), Some(b'x' | b'X')) { (16, 1) } else { (10, 0) };
    let digits = rest[prefix..].iter().map_while(|&byte| char::from(byte).to_digit(radix));
    let (mut value, mut count) = (0_u32, 0);
    for digit in digits {
        (value, count) = (value.saturating_mul(radix).saturating_add(digit), count + 1);
    }
    let length = prefix + count;
    let semicolon = usize::from(rest.get(length) == Some(&b';'));
    let ascii = u8::try_from(value).ok().filter(|byte| (1..0x80).contains(byte));
    (count > 0).then_some((ascii.unwrap_or(FOREIGN), length + semicolon))
}

fn named(rest: &[u8]) -> Option<(u8, usize)> {
    let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let (name, next) = (&rest[..length], rest.get(length));
    if next == Some(&b';') {
        let known = NAMED.iter().find(|(its, _)| its.as_bytes() == name);
        return known.map(|&(_, byte)| (byte, length + 1));
    }
    // Some may go without a semicolon, but not before what would make them look like a parameter's name (HTML, 13.2.5.73).
    let known = BARE.iter().find(|(its, _)| its.as_bytes() == name).filter(|_| next != Some(&b'='));
    known.map(|&(_, byte)| (byte, length))
}

/// A byte that is not ASCII.
const FOREIGN: u8 = 0xff;

const BARE: [(&str, u8); 8] = [
    ("amp", b'&'),
    ("AMP", b'&'),
    ("lt", b'<'),
    ("LT", b'<'),
    ("gt", b'>'),
    ("GT", b'>'),
    ("quot", b'"'),
    ("QUOT", b'"'),
];

/// All names of ASCII characters that addresses or their parts may have.
const NAMED: [(&str, u8); 39] = [
    ("amp", b'&'),
    ("AMP", b'&'),
    ("lt", b'<'),
    ("LT", b'<'),
    ("gt", b'>'),
    ("GT", b'>'),
    ("quot", b'"'),
    ("QUOT", b'"'),
    ("apos", b'\''),
    ("Tab", b'\t'),
    ("NewLine", b'\n'),
    ("excl", b'!'),
    ("num", b'#'),
    ("dollar", b'$'),
    ("percnt", b'%'),
    ("lpar", b'('),
    ("rpar", b')'),
    ("ast", b'*'),
    ("midast", b'*'),
    ("plus", b'+'),
    ("comma", b','),
    ("period", b'.'),
    ("sol", b'/'),
    ("colon", b':'),
    ("semi", b';'),
    ("equals", b'='),
    ("quest", b'?'),
    ("commat", b'@'),
    ("lsqb", b'['),
    ("lbrack", b'['),
    ("bsol", b'\\'),
    ("rsqb", b']'),
    ("rbrack", b']'),
    ("Hat", b'^'),
    ("lowbar", b'_'),
    ("UnderBar", b'_'),
    ("grave", b'`'),
    ("verbar", b'|'),
    ("vert", b'|'),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &str) -> String {
        Attribute::read(source).text.iter().map(|&byte| char::from(byte)).collect()
    }

    #[test]
    fn references_to_ascii_are_read_as_browsers_do() {
        for (source, is) in [
            ("/a?b&amp;c", "/a?b&c"),
            ("/a?b&c=1&d", "/a?b&c=1&d"),
            ("&#47;a&#x2F;b&#X2f;c", "/a/b/c"),
            ("&#47a", "/a"),
            ("&sol;a&quest;b&num;c&colon;", "/a?b#c:"),
            ("?a&amp=1", "?a&amp=1"),
            ("?a&amp", "?a&"),
            ("?a&lt/", "?a</"),
            ("?a&ltb", "?a&ltb"),
            ("&eacute;&copy", "&eacute;&copy"),
            ("&#233;&#0;&#x110000;&#99999999999;", "\u{ff}\u{ff}\u{ff}\u{ff}"),
            ("&#;&#x;&", "&#;&#x;&"),
        ] {
            assert_eq!(text(source), is, "{source}");
        }
    }

    #[test]
    fn every_byte_knows_its_place_in_the_source() {
        let attribute = Attribute::read("/a&quest;b&#38;c\u{e9}");
        assert_eq!(attribute.text, b"/a?b&c\xe9");
        assert_eq!(attribute.places, [0, 1, 2, 9, 10, 15, 16, 17]);
        assert_eq!(attribute.range(&(2..4)), 2..10);
    }
}
