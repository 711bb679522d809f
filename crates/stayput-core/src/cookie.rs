//! The session cookie's value, written and read: `base64url(key id ‖ session id ‖ generation ‖ tag)`.
//!
//! The tag is HMAC-SHA-256 over the cookie's name and all that precedes it, truncated to 16 bytes. So a value can
//! neither be made up nor moved to a cookie of another name, and any server can compute a session's newest cookie.
//! Bytes that don't authenticate never become a [`SessionId`].

use std::fmt;

use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;

use crate::id::{Generation, SessionId};
use crate::keyring::{KeyId, Keyring, first_chunk, tags_equal};

/// What a session cookie says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CookieValue {
    /// The session.
    pub id: SessionId,
    /// Its generation when the cookie was written.
    pub generation: Generation,
}

/// A cookie value that authenticated, and under which key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecodedCookie {
    /// What the cookie says.
    pub value: CookieValue,
    /// Whether the primary key signed it; if not, the cookie is to be issued again.
    pub under_primary: bool,
}

const ENCODED_LEN: usize = CookieValue::ENCODED_LEN;
const TAG_LEN: usize = 16;
const SIGNED_LEN: usize = KeyId::LEN + SessionId::LEN + size_of::<u32>();

impl CookieValue {
    /// Length of a value in characters.
    pub const ENCODED_LEN: usize = 64;

    /// The value for the cookie `name`, signed by the primary key: 64 characters that need no quoting.
    pub fn encode(&self, name: &str, keyring: &Keyring) -> String {
        let key = keyring.primary();
        let mut bytes = Vec::with_capacity(SIGNED_LEN + TAG_LEN);
        bytes.extend_from_slice(key.id().as_bytes());
        bytes.extend_from_slice(self.id.as_bytes());
        bytes.extend_from_slice(&self.generation.0.to_be_bytes());
        let tag = tag(key.cookie(), name, &bytes);
        bytes.extend_from_slice(&tag);
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// Reads the value of the cookie `name` as a client sent it: any bytes, of any length.
    ///
    /// # Errors
    ///
    /// Says why the value is refused. The caller treats all reasons alike towards the client: no session.
    pub fn decode(name: &str, value: &[u8], keyring: &Keyring) -> Result<DecodedCookie, CookieRefused> {
        let bytes = decode_exactly(value)?;
        let (signed, sent_tag) = bytes.split_at(SIGNED_LEN);
        let (key_id, rest) = signed.split_at(KeyId::LEN);
        let (id, generation) = rest.split_at(SessionId::LEN);

        let key_id = KeyId::from_bytes(first_chunk(key_id));
        let key = keyring.find(key_id).ok_or(CookieRefused::UnknownKey(key_id))?;
        if !tags_equal(&tag(key.cookie(), name, signed), sent_tag) {
            return Err(CookieRefused::Forged);
        }
        let id = SessionId::from_bytes(first_chunk(id));
        let generation = Generation(u32::from_be_bytes(first_chunk(generation)));
        let under_primary = key_id == keyring.primary().id();
        Ok(DecodedCookie { value: Self { id, generation }, under_primary })
    }
}

/// The bytes of a value of the right length. Done for every request, and of a known length: a library for any length
/// takes three times the instructions.
fn decode_exactly(value: &[u8]) -> Result<[u8; SIGNED_LEN + TAG_LEN], CookieRefused> {
    // The length is checked first: a 64 KB value costs nothing.
    let value: &[u8; ENCODED_LEN] = value.try_into().map_err(|_| CookieRefused::Length(value.len()))?;
    let mut bytes = [0; SIGNED_LEN + TAG_LEN];
    let mut seen = 0;
    for (six, fours) in bytes.as_chunks_mut().0.iter_mut().zip(value.as_chunks::<4>().0.as_chunks::<2>().0) {
        let [high, low] = fours.map(digits);
        seen |= high | low;
        let [_, _, decoded @ ..] = (u64::from(high) << 24 | u64::from(low)).to_be_bytes();
        *six = decoded;
    }
    if seen & NO_DIGIT == 0 { Ok(bytes) } else { Err(CookieRefused::Alphabet) }
}

/// The three bytes that four characters stand for, or [`NO_DIGIT`] among others.
fn digits(four: [u8; 4]) -> u32 {
    let [a, b, c, d] = four.map(usize::from);
    DIGITS[0][a] | DIGITS[1][b] | DIGITS[2][c] | DIGITS[3][d]
}

/// What each character stands for in base64url (RFC 4648 section 5), in each of four places.
static DIGITS: [[u32; 256]; 4] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut digits = [[NO_DIGIT; 256]; 4];
    let mut place = 0;
    while place < 4 {
        let (mut digit, mut value) = (0, 0);
        while digit < alphabet.len() {
            digits[place][alphabet[digit] as usize] = value << (18 - 6 * place);
            (digit, value) = (digit + 1, value + 1);
        }
        place += 1;
    }
    digits
};

/// A bit that no digit has in any place.
const NO_DIGIT: u32 = 1 << 31;

fn tag(key: &hmac::Key, name: &str, signed: &[u8]) -> [u8; TAG_LEN] {
    let mut context = hmac::Context::with_key(key);
    // The signed part has a fixed length, so name and rest can't be shifted against each other.
    context.update(name.as_bytes());
    context.update(signed);
    first_chunk(context.sign().as_ref())
}

/// Why a cookie value is not a session's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CookieRefused {
    /// It is not 64 characters long, but this long.
    Length(usize),
    /// It is not base64url.
    Alphabet,
    /// It names a key that the keyring does not hold: retired, or another installation's.
    UnknownKey(KeyId),
    /// Its tag is wrong: made up, changed, or moved from a cookie of another name.
    Forged,
}

impl fmt::Display for CookieRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(len) => write!(f, "{len} bytes long where {ENCODED_LEN} are right"),
            Self::Alphabet => f.write_str("not base64url"),
            Self::UnknownKey(id) => write!(f, "signed by key {id}, which is not in the keyring"),
            Self::Forged => f.write_str("signature does not fit"),
        }
    }
}

impl std::error::Error for CookieRefused {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    const NAME: &str = "__Host-stayput-session";

    fn value() -> CookieValue {
        CookieValue { id: SessionId::generate(&SystemRandom), generation: Generation(7) }
    }

    #[test]
    fn a_value_is_read_as_it_was_written() {
        let (keyring, value) = (Keyring::generate(&SystemRandom), value());
        let text = value.encode(NAME, &keyring);
        let decoded = CookieValue::decode(NAME, text.as_bytes(), &keyring).unwrap();
        assert_eq!(decoded, DecodedCookie { value, under_primary: true });
    }

    #[test]
    fn every_character_is_read_as_base64url_or_refused() {
        for character in 0..=u8::MAX {
            let mut value = [b'A'; ENCODED_LEN];
            value[usize::from(character) % ENCODED_LEN] = character;
            let expected = BASE64URL_NOPAD.decode(&value).map_err(|_| CookieRefused::Alphabet);
            assert_eq!(decode_exactly(&value).map(|bytes| bytes.to_vec()), expected, "{character}");
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let keyring = Keyring::generate(&SystemRandom);
        let text = value().encode(NAME, &keyring).into_bytes();
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(CookieValue::decode(NAME, &flipped, &keyring).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_value_moved_to_another_name_is_forged() {
        let keyring = Keyring::generate(&SystemRandom);
        let text = value().encode(NAME, &keyring);
        let refused = CookieValue::decode("__Host-stayput-anonymous", text.as_bytes(), &keyring);
        assert_eq!(refused.unwrap_err(), CookieRefused::Forged);
    }

    #[test]
    fn a_former_primary_key_is_accepted_and_a_foreign_one_is_not() {
        let (old, new) = (Keyring::generate(&SystemRandom), Keyring::generate(&SystemRandom));
        let both = Keyring::parse(&format!("{}{}", new.danger_to_text(), old.danger_to_text())).unwrap();
        let text = value().encode(NAME, &old);
        assert!(!CookieValue::decode(NAME, text.as_bytes(), &both).unwrap().under_primary);
        let refused = CookieValue::decode(NAME, text.as_bytes(), &new).unwrap_err();
        assert_eq!(refused, CookieRefused::UnknownKey(old.primary().id()));
    }

    #[test]
    fn hostile_bytes_are_refused_whatever_their_length() {
        let keyring = Keyring::generate(&SystemRandom);
        let good = value().encode(NAME, &keyring).into_bytes();
        let shortened = (0..good.len()).map(|len| good[..len].to_vec());
        let odd = [vec![0; 64], vec![b'='; 64], vec![b'+'; 64], vec![b'A'; 65_536], b"\r\n\0".to_vec()];
        for bytes in shortened.chain(odd) {
            assert!(CookieValue::decode(NAME, &bytes, &keyring).is_err());
        }
        let refused = CookieValue::decode(NAME, &vec![b'A'; 65_536], &keyring).unwrap_err();
        assert_eq!(refused, CookieRefused::Length(65_536));
    }
}
