//! Chance as a value: the operating system's in production, seeded in tests.

use std::fmt;

/// A source of random bytes.
///
/// Session ids, write tags and nonces are drawn from it. Outside tests it must be cryptographically secure
/// (OWASP ASVS 5.0, 7.2.3).
pub trait Random: Send + Sync + fmt::Debug + 'static {
    /// Fills `out` with random bytes.
    fn fill(&self, out: &mut [u8]);
}

/// The operating system's generator, through the crypto library.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, out: &mut [u8]) {
        aws_lc_rs::rand::fill(out)
            .expect("the operating system's random source does not fail once it is seeded");
    }
}

/// `N` random bytes.
pub(crate) fn bytes<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut out = [0; N];
    random.fill(&mut out);
    out
}
