//! Sealing: AES-256-GCM-SIV (RFC 8452) with a random nonce, bound to its context as associated data.
//!
//! GCM-SIV, because a repeated nonce must not be fatal. Layout: `key id (4) ‖ nonce (12) ‖ ciphertext ‖ tag (16)`.
//! Nothing is ever returned from bytes that don't authenticate.

use std::fmt;

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};

use crate::keyring::{KeyId, Keyring, first_chunk};
use crate::random::{self, Random};

const TAG_LEN: usize = 16;
const PREFIX_LEN: usize = KeyId::LEN + NONCE_LEN;

impl Keyring {
    /// Seals `plaintext` under the primary key, bound to `context`: only with the same context can it be opened.
    pub fn seal(&self, context: &[u8], plaintext: &[u8], random: &dyn Random) -> Vec<u8> {
        let key = self.primary();
        let nonce: [u8; NONCE_LEN] = random::public_bytes(random);
        let mut sealed = Vec::with_capacity(PREFIX_LEN + plaintext.len() + TAG_LEN);
        sealed.extend_from_slice(key.id().as_bytes());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        let tag = key
            .seal()
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context),
                &mut sealed[PREFIX_LEN..],
            )
            .expect("session data is far below the AEAD's limit of 64 GiB");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens what [`Keyring::seal`] sealed, under whichever of the keys it was.
    ///
    /// # Errors
    ///
    /// [`OpenError::UnknownKey`] points at the keyring, [`OpenError::Broken`] at the data.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        if sealed.len() < PREFIX_LEN + TAG_LEN {
            return Err(OpenError::Broken);
        }
        let (prefix, body) = sealed.split_at(PREFIX_LEN);
        let (key_id, nonce) = prefix.split_at(KeyId::LEN);
        let key_id = KeyId::from_bytes(first_chunk(key_id));
        let key = self.find(key_id).ok_or(OpenError::UnknownKey(key_id))?;

        let nonce = Nonce::assume_unique_for_key(first_chunk(nonce));
        let mut plaintext = body.to_vec();
        let len = key
            .seal()
            .open_in_place(nonce, Aad::from(context), &mut plaintext)
            .map_err(|_| OpenError::Broken)?
            .len();
        plaintext.truncate(len);
        Ok(plaintext)
    }

    /// Whether `sealed` is under the primary key; if not, it is to be sealed again at its next write.
    pub fn sealed_under_primary(&self, sealed: &[u8]) -> bool {
        sealed.starts_with(self.primary().id().as_bytes())
    }
}

/// Why sealed data can't be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The keyring lacks the key: this server's keyring is not the one the data was written with.
    UnknownKey(KeyId),
    /// The bytes were changed, cut, or belong to another record.
    Broken,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey(id) => write!(f, "sealed by key {id}, which is not in the keyring"),
            Self::Broken => f.write_str("sealed data was changed or belongs elsewhere"),
        }
    }
}

impl std::error::Error for OpenError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn sealed_data_opens_only_in_its_context() {
        let keyring = Keyring::generate(&SystemRandom);
        let sealed = keyring.seal(b"here", b"data", &SystemRandom);
        assert_eq!(keyring.open(b"here", &sealed).unwrap(), b"data");
        assert_eq!(keyring.open(b"there", &sealed), Err(OpenError::Broken));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let keyring = Keyring::generate(&SystemRandom);
        let sealed = keyring.seal(b"", b"data", &SystemRandom);
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(keyring.open(b"", &flipped).is_err(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(keyring.open(b"", &sealed[..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn another_installations_data_names_its_key() {
        let (ours, theirs) = (Keyring::generate(&SystemRandom), Keyring::generate(&SystemRandom));
        let sealed = theirs.seal(b"", b"data", &SystemRandom);
        assert_eq!(ours.open(b"", &sealed), Err(OpenError::UnknownKey(theirs.primary().id())));
    }

    #[test]
    fn the_ciphertext_does_not_show_the_plaintext() {
        let keyring = Keyring::generate(&SystemRandom);
        let sealed = keyring.seal(b"", b"a readable sentence", &SystemRandom);
        assert!(!sealed.windows(8).any(|window| window == b"readable"));
    }
}
