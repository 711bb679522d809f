//! The keys that sign cookies, seal records and tag affinity: one primary, the others still accepted.
//!
//! A keyring never writes itself to a log: `Debug` shows key ids only, errors name lines and never their text.

mod change;
mod key;
mod text;

use std::fmt;

use aws_lc_rs::{constant_time, hmac};
use data_encoding::BASE64URL_NOPAD;

pub use self::change::{KeyChangeError, Past};
pub use self::key::{Key, KeyId, NotAKeyId};
pub use self::text::KeyringError;
use crate::id::StorageKey;
use crate::random::Random;

/// A server's name as an affinity cookie carries it: a keyed tag that tells nobody its address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AffinityTag([u8; Self::LEN]);

impl AffinityTag {
    /// Length in bytes.
    pub const LEN: usize = 12;

    /// The tag as text for a cookie: 16 characters of base64url.
    pub fn encode(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }
}

impl fmt::Debug for AffinityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AffinityTag({})", self.encode())
    }
}

/// A session's name in logs and events: a keyed tag, by which nobody who reads them finds its record or its cookie.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogTag([u8; Self::LEN]);

impl LogTag {
    /// Length in bytes.
    pub const LEN: usize = 8;
}

impl fmt::Display for LogTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for LogTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogTag({self})")
    }
}

/// The ordered keys: the first is the primary, which signs and seals; all are accepted.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    /// A keyring with one new key.
    pub fn generate(random: &dyn Random) -> Self {
        Self { keys: vec![Key::generate(random)] }
    }

    /// The key that signs and seals.
    pub fn primary(&self) -> &Key {
        self.keys.first().expect("a keyring has a key")
    }

    /// All keys, the primary first.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The key of that id.
    pub fn find(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id() == id)
    }

    /// The tags by which affinity cookies name the server `identity`: the primary key's first, which is the one to
    /// write; all are to be honoured.
    pub fn affinity_tags(&self, identity: &str) -> impl Iterator<Item = AffinityTag> {
        self.keys.iter().map(move |key| {
            let tag = hmac::sign(key.affinity(), identity.as_bytes());
            AffinityTag(first_chunk(tag.as_ref()))
        })
    }
}

impl Keyring {
    /// The name of the session under `key` in logs: the same on every server, until another key becomes primary (OWASP
    /// session management cheat sheet: a salted hash at most).
    pub fn log_tag(&self, key: &StorageKey) -> LogTag {
        LogTag(first_chunk(hmac::sign(self.primary().log(), key.as_bytes()).as_ref()))
    }
}

/// The first `N` bytes of a longer tag.
pub(crate) fn first_chunk<const N: usize>(tag: &[u8]) -> [u8; N] {
    *tag.first_chunk().expect("a tag is truncated to less than its length")
}

/// Whether two tags are equal, in time that does not depend on where they differ.
pub(crate) fn tags_equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn secrets_never_show_in_debug_output() {
        let keyring = Keyring::generate(&SystemRandom);
        let secret = BASE64URL_NOPAD.encode(keyring.primary().secret());
        assert!(!format!("{keyring:?}").contains(&secret));
    }

    #[test]
    fn affinity_tags_differ_by_server_and_by_key() {
        let keyring = Keyring { keys: vec![Key::generate(&SystemRandom), Key::generate(&SystemRandom)] };
        let a: Vec<_> = keyring.affinity_tags("a").collect();
        let b: Vec<_> = keyring.affinity_tags("b").collect();
        assert_eq!(a, keyring.affinity_tags("a").collect::<Vec<_>>());
        assert_ne!(a[0], a[1]);
        assert_ne!(a[0], b[0]);
        assert_eq!(a[0].encode().len(), 16);
    }
}
