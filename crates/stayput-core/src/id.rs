//! Who a session is: the id that only its client knows, and the key that only the store knows.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use aws_lc_rs::digest;

use crate::keyring::first_chunk;
use crate::random::{self, Random};

/// The secret name of a session: 24 random bytes (192 bits; OWASP ASVS 5.0, 7.2.3 asks for 128).
///
/// It exists in the client's cookie and, while a request runs and some time after, in the memory of a server. It is never stored,
/// logged or printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId([u8; Self::LEN]);

impl SessionId {
    /// Length in bytes.
    pub const LEN: usize = 24;

    /// A new id.
    pub fn generate(random: &dyn Random) -> Self {
        Self(random::bytes(random))
    }

    /// The name that a store knows this session by.
    pub fn storage_key(&self) -> StorageKey {
        StorageKey::of(&self.0)
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

/// The name of a record in a store: SHA-256 of the session id.
///
/// Who reads a store learns no session id from it, so a leaked store can't be replayed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StorageKey([u8; Self::LEN]);

impl StorageKey {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// The key of something that is not a session but lives among them, such as a marker of the application.
    ///
    /// Names can't meet session ids: a name is hashed with a prefix, an id without one.
    pub fn named(name: &str) -> Self {
        Self::of(format!("stayput name\0{name}").as_bytes())
    }

    /// The session's name in its subject's own list.
    pub fn handle(&self) -> SessionHandle {
        let named = [b"stayput handle\0".as_slice(), &self.0].concat();
        SessionHandle(first_chunk(&sha256(&named)))
    }

    /// A key as a store kept it.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The key as a store keeps it.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    fn of(bytes: &[u8]) -> Self {
        Self(sha256(bytes))
    }
}

/// It is a SHA-256 that only the server chooses: eight of its bytes tell keys apart as well as all of them.
impl Hash for StorageKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Some(tail) = self.0.last_chunk() {
            state.write_u64(u64::from_ne_bytes(*tail));
        }
    }
}

impl fmt::Debug for StorageKey {
    /// Four bytes: enough to tell two keys apart in a test, not enough to name a record in a store.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorageKey({:08x}…)", u32::from_be_bytes(first_chunk(&self.0)))
    }
}

/// Names a session in its subject's list, in 24 characters that a page or a form may hold. Who has it can neither use the
/// session nor find its record.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionHandle([u8; Self::LEN]);

impl SessionHandle {
    /// Length in bytes.
    pub const LEN: usize = 12;
}

impl fmt::Display for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionHandle({self})")
    }
}

impl FromStr for SessionHandle {
    type Err = NotAHandle;

    fn from_str(text: &str) -> Result<Self, NotAHandle> {
        let mut bytes = [0; Self::LEN];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if !rest.is_empty() || pairs.len() != Self::LEN {
            return Err(NotAHandle);
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *byte =
                digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| high << 4 | low).ok_or(NotAHandle)?;
        }
        Ok(Self(bytes))
    }
}

/// A text that is no [`SessionHandle`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAHandle;

impl fmt::Display for NotAHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a session's handle, which has 24 hexadecimal digits")
    }
}

impl std::error::Error for NotAHandle {}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 is 32 bytes long")
}

/// Counter of a session's renewals. Part of its cookie and of its record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Generation(pub u32);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn a_million_ids_are_unique() {
        let ids: HashSet<_> = (0..1_000_000).map(|_| SessionId::generate(&SystemRandom).0).collect();
        assert_eq!(ids.len(), 1_000_000);
    }

    #[test]
    fn a_handle_is_read_as_it_was_written_and_tells_nothing_of_the_key() {
        let key = SessionId::generate(&SystemRandom).storage_key();
        let text = key.handle().to_string();
        assert_eq!(text.parse(), Ok(key.handle()));
        assert!(!format!("{:02x?}", key.as_bytes()).replace(", ", "").contains(&text[..8]));
        for wrong in ["", "00", &text[1..], &format!("{text}00"), &"g".repeat(24), &"ä".repeat(12)] {
            assert_eq!(wrong.parse::<SessionHandle>(), Err(NotAHandle), "{wrong}");
        }
    }

    #[test]
    fn an_id_never_shows_in_debug_output() {
        let id = SessionId([0xab; 24]);
        assert_eq!(format!("{id:?}"), "SessionId(…)");
    }

    #[test]
    fn the_storage_key_is_sha_256_of_the_id() {
        // printf '%024d' 0 | tr 0 '\0' | sha256sum
        let key = SessionId([0; 24]).storage_key();
        assert_eq!(key.as_bytes()[..4], [0x9d, 0x90, 0x8e, 0xcf]);
        assert_ne!(StorageKey::named(""), StorageKey::of(b""));
    }
}
