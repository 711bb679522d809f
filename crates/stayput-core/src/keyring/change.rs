//! The life of a key: added, promoted, and retired when nothing signed with it can be alive any more.
//!
//! No change leaves a keyring without its primary key.

use std::fmt;
use std::time::Duration;

use super::{Key, KeyId, Keyring, first_chunk};
use crate::clock::Timestamp;
use crate::id::sha256;

/// What a key was before, unless it is the primary one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Past {
    /// It was never the primary one, so nothing is signed with it. It was added then.
    Added(Timestamp),
    /// It was the primary one until then.
    Demoted(Timestamp),
    /// Nobody noted it: a keyring that was changed by hand. It may have been the primary one until just now.
    Unknown,
}

impl Keyring {
    /// Adds a key: accepted from now on, and not primary until it is promoted.
    ///
    /// # Errors
    ///
    /// [`KeyChangeError::Present`] if a key of that id is there already.
    pub fn add(&mut self, mut key: Key, now: Timestamp) -> Result<(), KeyChangeError> {
        if self.find(key.id()).is_some() {
            return Err(KeyChangeError::Present(key.id()));
        }
        key.past = Past::Added(now.rounded_up());
        self.keys.push(key);
        Ok(())
    }

    /// Makes a key the primary one; the former primary is still accepted. Nothing happens if it is primary already.
    ///
    /// All servers must accept the key by now: those that don't, take what is signed with it for a stranger's.
    ///
    /// # Errors
    ///
    /// [`KeyChangeError::NoSuchKey`].
    pub fn promote(&mut self, id: KeyId, now: Timestamp) -> Result<(), KeyChangeError> {
        match self.position(id)? {
            0 => {}
            place => {
                self.keys[0].past = Past::Demoted(now.rounded_up());
                let mut key = self.keys.remove(place);
                key.past = Past::Unknown;
                self.keys.insert(0, key);
            }
        }
        Ok(())
    }

    /// Removes a key at once: whatever is signed with it is refused from now on. See [`Keyring::may_retire`].
    ///
    /// # Errors
    ///
    /// [`KeyChangeError::NoSuchKey`], and [`KeyChangeError::Primary`]: so the last key is never removed either.
    pub fn retire(&mut self, id: KeyId) -> Result<(), KeyChangeError> {
        match self.position(id)? {
            0 => Err(KeyChangeError::Primary(id)),
            place => {
                self.keys.remove(place);
                Ok(())
            }
        }
    }

    /// Whether a key can be retired without logging anybody out: one longest absolute timeout after it ceased to be the
    /// primary one, or at once if it never was.
    ///
    /// # Errors
    ///
    /// Why not, and from when on.
    pub fn may_retire(
        &self,
        id: KeyId,
        now: Timestamp,
        longest_absolute_timeout: Duration,
    ) -> Result<(), KeyChangeError> {
        let place = self.position(id)?;
        match self.keys[place].past {
            _ if place == 0 => Err(KeyChangeError::Primary(id)),
            Past::Added(_) => Ok(()),
            Past::Unknown => Err(KeyChangeError::UnknownPast(id)),
            Past::Demoted(at) => match at.after(longest_absolute_timeout) {
                from if from <= now => Ok(()),
                from => Err(KeyChangeError::TooEarly { id, from }),
            },
        }
    }

    /// A short text that is the same on all servers which have the same keys in the same order. Not secret.
    pub fn fingerprint(&self) -> String {
        let mut bytes = b"stayput keyring".to_vec();
        for key in &self.keys {
            bytes.extend_from_slice(key.id().as_bytes());
        }
        let number = u64::from_be_bytes(first_chunk(&sha256(&bytes)));
        [48, 32, 16, 0].map(|shift| format!("{:04x}", (number >> shift) & 0xffff)).join("-")
    }

    /// Whether any key is in both. What no key connects has nothing signed in common either.
    pub fn shares_a_key_with(&self, other: &Self) -> bool {
        self.keys.iter().any(|key| other.find(key.id()).is_some())
    }

    fn position(&self, id: KeyId) -> Result<usize, KeyChangeError> {
        self.keys.iter().position(|key| key.id() == id).ok_or(KeyChangeError::NoSuchKey(id))
    }
}

/// Why a keyring was not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum KeyChangeError {
    /// The keyring has no such key.
    NoSuchKey(KeyId),
    /// The keyring has a key of that id already.
    Present(KeyId),
    /// It is the primary key, which signs and seals.
    Primary(KeyId),
    /// Sessions that were signed with it may still be alive.
    TooEarly {
        /// The key.
        id: KeyId,
        /// From when on it may be retired.
        from: Timestamp,
    },
    /// Nobody noted when it ceased to be primary, so sessions that were signed with it may still be alive.
    UnknownPast(KeyId),
}

impl fmt::Display for KeyChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchKey(id) => write!(f, "no key {id} in the keyring"),
            Self::Present(id) => write!(f, "key {id} is in the keyring already"),
            Self::Primary(id) => write!(f, "key {id} is the primary one; promote another one first"),
            Self::TooEarly { id, from } => {
                write!(
                    f,
                    "key {id} signed sessions that may still be alive; it may be retired from {from} on"
                )
            }
            Self::UnknownPast(id) => {
                write!(f, "the keyring does not say when key {id} ceased to be primary, if it ever was")
            }
        }
    }
}

impl std::error::Error for KeyChangeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const LONGEST: Duration = Duration::from_hours(12);

    /// A keyring whose second key was just added.
    fn two_keys() -> (Keyring, KeyId, KeyId) {
        let mut keyring = Keyring::generate(&SystemRandom);
        let key = Key::generate(&SystemRandom);
        let (first, second) = (keyring.primary().id(), key.id());
        keyring.add(key, NOW).unwrap();
        (keyring, first, second)
    }

    fn reread(keyring: &Keyring) -> Keyring {
        Keyring::parse(&keyring.danger_to_text()).unwrap()
    }

    #[test]
    fn an_added_key_is_accepted_and_not_primary() {
        let (mut keyring, first, second) = two_keys();
        assert_eq!(keyring.primary().id(), first);
        let newcomer = Keyring::parse(&keyring.danger_to_text()).unwrap().keys.remove(1);
        let sealed = Keyring { keys: vec![newcomer] }.seal(b"", b"data", &SystemRandom);
        assert_eq!(keyring.open(b"", &sealed).unwrap(), b"data");
        let again = Keyring::parse(&keyring.danger_to_text()).unwrap().keys.remove(1);
        assert_eq!(keyring.add(again, NOW), Err(KeyChangeError::Present(second)));
    }

    #[test]
    fn a_promoted_key_is_primary_and_the_former_one_says_since_when_it_is_not() {
        let (mut keyring, first, second) = two_keys();
        keyring.promote(second, NOW).unwrap();
        assert_eq!(keyring.primary().id(), second);
        assert_eq!(reread(&keyring).find(first).unwrap().past(), Past::Demoted(NOW));

        // And back: that one is not on its way out any more.
        let later = NOW.after(Duration::from_hours(1));
        keyring.promote(first, later).unwrap();
        assert_eq!(keyring.primary().id(), first);
        assert!(!keyring.danger_to_text().contains("27-01-15T08:00:00"), "{NOW}");
        assert_eq!(reread(&keyring).find(second).unwrap().past(), Past::Demoted(later));

        let before = keyring.danger_to_text();
        keyring.promote(first, later).unwrap();
        assert_eq!(keyring.danger_to_text(), before, "it was primary already");
    }

    #[test]
    fn a_key_may_be_retired_one_longest_absolute_timeout_after_it_ceased_to_be_primary() {
        let (mut keyring, first, second) = two_keys();
        assert_eq!(keyring.may_retire(first, NOW, LONGEST), Err(KeyChangeError::Primary(first)));
        keyring.promote(second, NOW.after(Duration::from_millis(1))).unwrap();
        let from = NOW.after(LONGEST + Duration::from_secs(1));
        let keyring = reread(&keyring);
        for (now, outcome) in [
            (NOW, Err(KeyChangeError::TooEarly { id: first, from })),
            (from.before(Duration::from_millis(1)), Err(KeyChangeError::TooEarly { id: first, from })),
            (from, Ok(())),
        ] {
            assert_eq!(keyring.may_retire(first, now, LONGEST), outcome, "{now}");
        }
        let error = keyring.may_retire(first, NOW, LONGEST).unwrap_err().to_string();
        assert!(error.contains(&first.to_string()) && error.contains("2027-01-15T20:00:01Z"), "{error}");
    }

    #[test]
    fn a_key_that_never_was_primary_may_be_retired_at_once_and_one_of_unknown_past_not() {
        let (keyring, first, second) = two_keys();
        assert_eq!(reread(&keyring).may_retire(second, NOW, LONGEST), Ok(()));

        let older_file = keyring.danger_to_text().replace(&format!(" added={NOW}"), "");
        let keyring = Keyring::parse(&older_file).unwrap();
        assert_eq!(keyring.may_retire(second, NOW, LONGEST), Err(KeyChangeError::UnknownPast(second)));
        assert_eq!(keyring.primary().id(), first);
    }

    #[test]
    fn a_retired_key_is_gone_and_the_primary_one_never_goes() {
        let (mut keyring, first, second) = two_keys();
        assert_eq!(keyring.retire(first), Err(KeyChangeError::Primary(first)));
        keyring.retire(second).unwrap();
        assert_eq!(keyring.retire(second), Err(KeyChangeError::NoSuchKey(second)));
        assert_eq!(keyring.promote(second, NOW), Err(KeyChangeError::NoSuchKey(second)));
        assert_eq!(keyring.keys().len(), 1);
    }

    #[test]
    fn fingerprints_tell_keyrings_apart_by_keys_and_by_order_and_by_nothing_else() {
        let (mut keyring, _, second) = two_keys();
        let before = keyring.fingerprint();
        assert_eq!(before.len(), 19);
        assert_eq!(reread(&keyring).fingerprint(), before);
        keyring.promote(second, NOW).unwrap();
        let promoted = keyring.fingerprint();
        keyring.retire(keyring.keys()[1].id()).unwrap();
        assert!(promoted != before && keyring.fingerprint() != promoted);
    }
}
