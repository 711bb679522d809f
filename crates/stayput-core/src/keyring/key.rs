//! One key, and its public name. The secret leaves it as subkeys only, and as text for the keyring's file.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{aead, hkdf, hmac};

use super::Past;
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

impl FromStr for KeyId {
    type Err = NotAKeyId;

    fn from_str(text: &str) -> Result<Self, NotAKeyId> {
        let is_id = text.len() == 2 * Self::LEN && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u32::from_str_radix(text, 16).ok().filter(|_| is_id).ok_or(NotAKeyId)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// The text is no key's id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAKeyId;

impl fmt::Display for NotAKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key's id has 8 hexadecimal digits")
    }
}

impl std::error::Error for NotAKeyId {}

/// One 256-bit key, with a subkey for each purpose derived by HKDF-SHA-256 (RFC 5869), so that no two purposes
/// ever share key material.
pub struct Key {
    id: KeyId,
    secret: [u8; Self::LEN],
    pub(super) past: Past,
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

    /// What it was before; of a primary key that says nothing.
    pub fn past(&self) -> Past {
        self.past
    }

    pub(super) fn from_secret(secret: [u8; Self::LEN]) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"stayput key v1").extract(&secret);
        let [a, b, c, d, ..] = derive(&root, b"key id");
        let seal = aead::UnboundKey::new(&aead::AES_256_GCM_SIV, &derive(&root, b"seal"));
        Self {
            id: KeyId([a, b, c, d]),
            secret,
            past: Past::Unknown,
            cookie: hmac::Key::new(hmac::HMAC_SHA256, &derive(&root, b"cookie")),
            affinity: hmac::Key::new(hmac::HMAC_SHA256, &derive(&root, b"affinity")),
            log: hmac::Key::new(hmac::HMAC_SHA256, &derive(&root, b"log")),
            seal: aead::LessSafeKey::new(seal.expect("an AES-256 key is 32 bytes long")),
        }
    }

    pub(super) fn secret(&self) -> &[u8; Self::LEN] {
        &self.secret
    }

    pub(super) fn affinity(&self) -> &hmac::Key {
        &self.affinity
    }

    pub(super) fn log(&self) -> &hmac::Key {
        &self.log
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn an_id_survives_being_written_and_read_and_nothing_else_is_one() {
        let id = Key::generate(&SystemRandom).id();
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "1a2b3c4", "1a2b3c4d5", "+1a2b3c4", "1a2b3c4x", "ä2b3c4d"] {
            assert_eq!(text.parse::<KeyId>(), Err(NotAKeyId), "{text}");
        }
    }
}
