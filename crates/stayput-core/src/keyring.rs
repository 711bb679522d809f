//! The keys that sign cookies, seal records and tag affinity: one primary, the others still accepted.
//!
//! A keyring never writes itself to a log: `Debug` shows key ids only, errors name lines and never their text.

use std::fmt;

use aws_lc_rs::{aead, constant_time, hkdf, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::id::StorageKey;
use crate::random::{self, Random};

/// Names a key in cookies and sealed data: four bytes derived from the key, not secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; Self::LEN]);

impl KeyId {
    /// Length in bytes.
    pub const LEN: usize = 4;

    pub(crate) fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// One 256-bit key, with a subkey for each purpose derived by HKDF-SHA-256 (RFC 5869), so that no two purposes
/// ever share key material.
pub struct Key {
    id: KeyId,
    secret: [u8; Self::LEN],
    cookie: hmac::Key,
    affinity: hmac::Key,
    log: hmac::Key,
    seal: aead::LessSafeKey,
}

impl Key {
    /// Length of the secret in bytes.
    pub const LEN: usize = 32;

    /// A new random key.
    pub fn generate(random: &dyn Random) -> Self {
        Self::from_secret(random::bytes(random))
    }

    /// The key's public name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    fn from_secret(secret: [u8; Self::LEN]) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"stayput key v1").extract(&secret);
        let [a, b, c, d, ..] = derive(&root, b"key id");
        let seal = aead::UnboundKey::new(&aead::AES_256_GCM_SIV, &derive(&root, b"seal"));
        Self {
            id: KeyId([a, b, c, d]),
            secret,
            cookie: hmac::Key::new(hmac::HMAC_SHA256, &derive(&root, b"cookie")),
            affinity: hmac::Key::new(hmac::HMAC_SHA256, &derive(&root, b"affinity")),
            log: hmac::Key::new(hmac::HMAC_SHA256, &derive(&root, b"log")),
            seal: aead::LessSafeKey::new(seal.expect("an AES-256 key is 32 bytes long")),
        }
    }

    pub(crate) fn cookie(&self) -> &hmac::Key {
        &self.cookie
    }

    pub(crate) fn seal(&self) -> &aead::LessSafeKey {
        &self.seal
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.id).finish()
    }
}

fn derive(root: &hkdf::Prk, purpose: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    root.expand(&[purpose], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut out))
        .expect("HKDF-SHA-256 gives up to 8160 bytes");
    out
}

/// A server's name as an affinity cookie carries it: a keyed tag that tells nobody its address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AffinityTag([u8; Self::LEN]);

impl AffinityTag {
    /// Length in bytes.
    pub const LEN: usize = 12;

    /// The tag as text for a cookie: 16 characters of base64url.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
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

    /// Reads a keyring from its text: a key a line, the primary first; empty lines and lines that begin with `#`
    /// are skipped.
    ///
    /// # Errors
    ///
    /// Names the line that is no key or repeats one, or says that there is none. Never quotes the line.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let (line, number) = (line.trim(), index + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = parse_key(line).ok_or(KeyringError::NotAKey { line: number })?;
            if keys.iter().any(|earlier| earlier.id == key.id) {
                return Err(KeyringError::Repeated { line: number });
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(KeyringError::Empty) } else { Ok(Self { keys }) }
    }

    /// The keyring as text, secrets included: for a file that only its owner can read.
    pub fn danger_to_text(&self) -> String {
        let mut text = String::from(
            "# Stayput keyring. Who holds it can forge sessions: keep it secret, and the same on every server.\n\
             # A key a line; the first one signs and seals, the others are still accepted.\n",
        );
        for key in &self.keys {
            text.push_str(KEY_PREFIX);
            text.push_str(&URL_SAFE_NO_PAD.encode(key.secret));
            text.push('\n');
        }
        text
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
        self.keys.iter().find(|key| key.id == id)
    }

    /// The tags by which affinity cookies name the server `identity`: the primary key's first, which is the one to
    /// write; all are to be honoured.
    pub fn affinity_tags(&self, identity: &str) -> impl Iterator<Item = AffinityTag> {
        self.keys.iter().map(move |key| {
            let tag = hmac::sign(&key.affinity, identity.as_bytes());
            AffinityTag(first_chunk(tag.as_ref()))
        })
    }
}

impl Keyring {
    /// The name of the session under `key` in logs: the same on every server, until another key becomes primary (OWASP
    /// session management cheat sheet: a salted hash at most).
    pub fn log_tag(&self, key: &StorageKey) -> LogTag {
        LogTag(first_chunk(hmac::sign(&self.primary().log, key.as_bytes()).as_ref()))
    }
}

fn parse_key(line: &str) -> Option<Key> {
    let bytes = URL_SAFE_NO_PAD.decode(line.strip_prefix(KEY_PREFIX)?).ok()?;
    Some(Key::from_secret(bytes.try_into().ok()?))
}

/// The first `N` bytes of a longer tag.
pub(crate) fn first_chunk<const N: usize>(tag: &[u8]) -> [u8; N] {
    *tag.first_chunk().expect("a tag is truncated to less than its length")
}

/// Whether two tags are equal, in time that does not depend on where they differ.
pub(crate) fn tags_equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// Marks a line as a key, for people and for scanners that look for leaked secrets.
const KEY_PREFIX: &str = "stayput-key-v1.";

/// What is wrong with a keyring's text. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyringError {
    /// The line is not a key.
    NotAKey {
        /// The line.
        line: usize,
    },
    /// The line holds a key that an earlier line holds too.
    Repeated {
        /// The line.
        line: usize,
    },
    /// There is no key at all.
    Empty,
}

impl fmt::Display for KeyringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAKey { line } => {
                write!(f, "line {line} is no key (expected `{KEY_PREFIX}` and 43 characters of base64url)")
            }
            Self::Repeated { line } => write!(f, "line {line} repeats a key of an earlier line"),
            Self::Empty => f.write_str("no key in it"),
        }
    }
}

impl std::error::Error for KeyringError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn a_keyring_survives_being_written_and_read() {
        let keyring = Keyring { keys: vec![Key::generate(&SystemRandom), Key::generate(&SystemRandom)] };
        let read = Keyring::parse(&keyring.danger_to_text()).unwrap();
        let ids = |keyring: &Keyring| keyring.keys().iter().map(Key::id).collect::<Vec<_>>();
        assert_eq!(ids(&read), ids(&keyring));
        assert_eq!(read.primary().secret, keyring.primary().secret);
    }

    #[test]
    fn mistakes_name_the_line_and_never_its_text() {
        let good = Keyring::generate(&SystemRandom).danger_to_text();
        assert_eq!(Keyring::parse("").unwrap_err(), KeyringError::Empty);
        assert_eq!(Keyring::parse(&format!("{good}{good}")).unwrap_err(), KeyringError::Repeated { line: 6 });
        let error = Keyring::parse("\nstayput-key-v1.short").unwrap_err();
        assert_eq!(error, KeyringError::NotAKey { line: 2 });
        assert!(!error.to_string().contains("short"));
    }

    #[test]
    fn secrets_never_show_in_debug_output() {
        let keyring = Keyring::generate(&SystemRandom);
        let secret = URL_SAFE_NO_PAD.encode(keyring.primary().secret);
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
