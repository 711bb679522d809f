//! Session cookies that were verified lately: the next request with the same one compares it with what was, instead of computing
//! its tag and its session's storage key again.
//!
//! It never takes a cookie that the keyring would refuse, and says nothing of sessions: whether there is one is asked each time.

use std::hint::black_box;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use stayput_core::{CookieValue, DecodedCookie, Keyring, StorageKey};

/// A bounded number of verified cookies, each in the one place that it may have.
pub(crate) struct Verified {
    places: Box<[Mutex<Option<Box<Entry>>>]>,
}

struct Entry {
    value: Value,
    with_subject: bool,
    /// What verified it. As long as this points there, no other keyring has that address.
    keyring: Weak<Keyring>,
    cookie: DecodedCookie,
    key: StorageKey,
}

type Value = [u8; CookieValue::ENCODED_LEN];

impl Default for Verified {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::default()).collect() }
    }
}

impl Verified {
    /// What `keyring` said of the cookie of a session with a subject, or of an anonymous one, and the session's storage key.
    #[inline]
    pub(crate) fn find(
        &self,
        value: &[u8],
        with_subject: bool,
        keyring: &Keyring,
    ) -> Option<(DecodedCookie, StorageKey)> {
        let value = <&Value>::try_from(value).ok()?;
        let place = self.place(value);
        let entry = place.as_deref()?;
        let is_same = entry.with_subject == with_subject
            && std::ptr::eq(entry.keyring.as_ptr(), keyring)
            && are_equal(&entry.value, value);
        is_same.then(|| (entry.cookie.clone(), entry.key))
    }

    /// Keeps what `keyring` said of a cookie.
    pub(crate) fn keep(
        &self,
        value: &[u8],
        with_subject: bool,
        keyring: &Arc<Keyring>,
        cookie: &DecodedCookie,
        key: StorageKey,
    ) {
        let Ok(value) = <&Value>::try_from(value) else { return };
        let keyring = Arc::downgrade(keyring);
        let entry = Entry { value: *value, with_subject, keyring, cookie: cookie.clone(), key };
        *self.place(value) = Some(Box::new(entry));
    }

    /// The place of a cookie, by some characters of its session's id, which are random. Who makes cookies up never gets them kept.
    #[inline]
    fn place(&self, value: &Value) -> MutexGuard<'_, Option<Box<Entry>>> {
        let characters = *value[IN_ID..].first_chunk().expect("a value is longer than that");
        let mixed = u64::from_le_bytes(characters).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let place = usize::try_from(mixed).unwrap_or_default() % PLACES;
        self.places[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether two values are equal, in time that does not depend on where they differ: one of them is a secret.
fn are_equal(a: &Value, b: &Value) -> bool {
    black_box(a.iter().zip(b).fold(0, |differing, (a, b)| differing | (a ^ b))) == 0
}

/// Where characters stand that are all of the session's id.
const IN_ID: usize = 8;

/// Some 2.5 MB of cookies when all places are taken.
const PLACES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use stayput_core::{Generation, SessionId, SystemRandom};

    use super::*;

    /// A cookie that is kept, with the keyring that verified it.
    fn kept() -> (Verified, Arc<Keyring>, String, CookieValue) {
        let (verified, keyring) = (Verified::default(), Arc::new(Keyring::generate(&SystemRandom)));
        let cookie =
            CookieValue { id: SessionId::generate(&SystemRandom), generation: Generation::default() };
        let text = cookie.encode("name", &keyring);
        let decoded = CookieValue::decode("name", text.as_bytes(), &keyring).unwrap();
        verified.keep(text.as_bytes(), true, &keyring, &decoded, cookie.id.storage_key());
        (verified, keyring, text, cookie)
    }

    #[test]
    fn a_verified_cookie_is_found_as_it_was() {
        let (verified, keyring, text, cookie) = kept();
        let (found, key) = verified.find(text.as_bytes(), true, &keyring).unwrap();
        assert_eq!((found.value, found.under_primary), (cookie.clone(), true));
        assert_eq!(key, cookie.id.storage_key());
    }

    #[test]
    fn a_cookie_that_differs_in_any_bit_is_not_found() {
        let (verified, keyring, text, _) = kept();
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone().into_bytes();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(verified.find(&flipped, true, &keyring).is_none(), "bit {bit}");
        }
        for len in 0..text.len() {
            assert!(verified.find(&text.as_bytes()[..len], true, &keyring).is_none(), "cut to {len}");
        }
    }

    #[test]
    fn a_cookie_is_not_found_under_the_name_of_the_other_kind() {
        let (verified, keyring, text, _) = kept();
        assert!(verified.find(text.as_bytes(), false, &keyring).is_none());
    }

    #[test]
    fn another_keyring_verifies_for_itself() {
        let (verified, keyring, text, _) = kept();
        drop(keyring);
        for _ in 0..100 {
            let other = Arc::new(Keyring::generate(&SystemRandom));
            assert!(verified.find(text.as_bytes(), true, &other).is_none());
        }
    }
}
