//! What a client has seen of its session, as its version cookie says: `a few bytes of the storage key . version`.
//!
//! It is a hint and no secret: who makes it up gets the store asked, at most once in a short lease.

use stayput_core::{Generation, Header, StorageKey};

/// What a client has seen of its session, as its cookies say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) version: Option<SeenVersion>,
    /// The generation of its session cookie, which nobody can make up.
    pub(crate) generation: Generation,
}

impl Seen {
    /// Whether a record with this header is what the client has seen, or newer.
    pub(super) fn is_in(&self, header: &Header) -> bool {
        self.generation_is_in(header) && self.version.is_none_or(|version| version <= SeenVersion::of(header))
    }

    /// By its generation alone. A late answer may have put an older version cookie beside a newer session cookie.
    pub(super) fn generation_is_in(&self, header: &Header) -> bool {
        self.generation.0 <= header.generation.0
    }
}

/// How often a session's record had been written when its client last saw it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SeenVersion(u64);

impl SeenVersion {
    pub(crate) fn of(header: &Header) -> Self {
        Self(header.version().count)
    }

    /// A version as it was written down.
    pub(crate) fn of_count(count: u64) -> Self {
        Self(count)
    }

    /// Reads the version cookie, if it is about the session under `key`.
    #[inline]
    pub(crate) fn decode(cookie: &[u8], key: &StorageKey) -> Option<Self> {
        let (of_key, count) = cookie.split_at_checked(OF_KEY)?;
        let count = count.strip_prefix(b".")?;
        if of_key != key_tag(key) || count.is_empty() || count.len() > MOST_DIGITS {
            return None;
        }
        let digit =
            |count: u64, byte: &u8| byte.is_ascii_digit().then(|| count * 10 + u64::from(byte - b'0'));
        count.iter().try_fold(0, digit).map(Self)
    }

    /// The version cookie of the session under `key`.
    pub(crate) fn encode(self, key: &StorageKey) -> String {
        let (tag, count) = (key_tag(key), self.0.to_string());
        [&String::from_utf8_lossy(&tag), ".", &count].concat()
    }
}

/// Enough of the key to tell a client's sessions apart, as hexadecimal digits.
#[inline]
pub(crate) fn key_tag(key: &StorageKey) -> [u8; OF_KEY] {
    let first = *key.as_bytes().first_chunk().expect("a key is longer than that");
    // Half a byte to each byte, and then all eight digits at a time.
    let halves = u64::from(u32::from_be_bytes(first));
    let halves = (halves | halves << 16) & 0x0000_ffff_0000_ffff;
    let halves = (halves | halves << 8) & 0x00ff_00ff_00ff_00ff;
    let halves = (halves | halves << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let are_letters = ((halves + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (halves + 0x3030_3030_3030_3030 + are_letters * u64::from(b'a' - b'9' - 1)).to_be_bytes()
}

/// Characters of a version cookie that name the session.
const OF_KEY: usize = 8;

/// Digits of the largest count that surely fits.
const MOST_DIGITS: usize = 19;
