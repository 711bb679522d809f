//! Keys, chance and time that are the same in every run, so that a kept input means tomorrow what it means today.
//!
//! Never for production: whoever reads this file can forge what these keys sign.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use stayput_core::{Keyring, Random, SessionId};

/// The names that the session and the anonymous cookie have by default.
pub(super) const NAMES: [&str; 2] = ["__Host-stayput-session", "__Host-stayput-anonymous"];

/// The cookie that a login over another leaves besides.
pub(super) const SPARE: &str = "__Host-stayput-spare";

/// Name of the cookie that says which version of its session a client has seen.
pub(super) const VERSION: &str = "__Host-stayput-version";

/// Name of the cookie that carries a session over an outage.
pub(super) const LIFEBOAT: &str = "__Host-stayput-lifeboat";

const PRIMARY: &str = "stayput-key-v1.for-tests-only-do-not-use-anywhere-else-AAA";
const FORMER: &str = "stayput-key-v1.for-tests-only-do-not-use-anywhere-else-BBA";
const STRANGE: &str = "stayput-key-v1.for-tests-only-do-not-use-anywhere-else-CCA";

/// The keyring that is attacked: a primary key and a former one.
pub(super) static KEYRING: LazyLock<Arc<Keyring>> = LazyLock::new(|| Arc::new(parse(&[PRIMARY, FORMER])));

/// The same keys before the former one was replaced.
pub(super) static FORMER_KEYRING: LazyLock<Keyring> = LazyLock::new(|| parse(&[FORMER, PRIMARY]));

/// Another installation's keyring.
pub(super) static STRANGE_KEYRING: LazyLock<Keyring> = LazyLock::new(|| parse(&[STRANGE]));

fn parse(keys: &[&str]) -> Keyring {
    Keyring::parse(&keys.join("\n")).expect("the keys above are keys")
}

/// Chance that counts: every draw repeats its number. So a test can tell what was drawn.
#[derive(Debug)]
pub(super) struct Counting(AtomicU64);

impl Counting {
    /// Draws `first`, then the numbers after it.
    pub(super) const fn from(first: u64) -> Self {
        Self(AtomicU64::new(first))
    }

    /// The number that is drawn next.
    pub(super) fn next(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Random for Counting {
    fn fill(&self, out: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        for (byte, value) in out.iter_mut().zip(number.into_iter().cycle()) {
            *byte = value;
        }
    }
}

/// The session id that the draw `number` makes.
pub(super) fn id(number: u64) -> SessionId {
    SessionId::generate(&Counting::from(number))
}
