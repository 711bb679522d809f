//! Chance as a value: the operating system's in production, seeded in tests.

use std::cell::RefCell;
use std::fmt;

/// A source of random bytes.
///
/// Session ids, write tags and nonces are drawn from it. Outside tests it must be cryptographically secure
/// (OWASP ASVS 5.0, 7.2.3).
pub trait Random: Send + Sync + fmt::Debug + 'static {
    /// Fills `out` with random bytes that may become a secret.
    fn fill(&self, out: &mut [u8]);

    /// Fills `out` with random bytes that anybody may see afterwards: nonces, write tags. They may be drawn ahead.
    fn fill_public(&self, out: &mut [u8]) {
        self.fill(out);
    }
}

/// The operating system's generator, through the crypto library.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, out: &mut [u8]) {
        aws_lc_rs::rand::fill(out)
            .expect("the operating system's random source does not fail once it is seeded");
    }

    /// Takes the bytes from a pool of the thread's own: a call of the generator costs about a microsecond, however few
    /// bytes it is for, and every write needs two.
    fn fill_public(&self, out: &mut [u8]) {
        let pooled = POOL.try_with(|pool| pool.borrow_mut().take(out)).unwrap_or(false);
        if !pooled {
            self.fill(out);
        }
    }
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_LEN], taken: POOL_LEN }) };
}

const POOL_LEN: usize = 1024;

struct Pool {
    bytes: [u8; POOL_LEN],
    taken: usize,
}

impl Pool {
    /// Fills `out`, unless it is so long that it had better be drawn by itself. No byte is given twice.
    fn take(&mut self, out: &mut [u8]) -> bool {
        if out.len() > POOL_LEN / 8 {
            return false;
        }
        if POOL_LEN - self.taken < out.len() {
            SystemRandom.fill(&mut self.bytes);
            self.taken = 0;
        }
        let end = self.taken + out.len();
        out.copy_from_slice(&self.bytes[self.taken..end]);
        self.taken = end;
        true
    }
}

/// `N` random bytes that may become a secret.
pub(crate) fn bytes<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut out = [0; N];
    random.fill(&mut out);
    out
}

/// `N` random bytes that anybody may see.
pub(crate) fn public_bytes<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut out = [0; N];
    random.fill_public(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn bytes_drawn_ahead_are_given_once_on_whatever_thread() {
        let draw = || (0..10_000).map(|_| public_bytes::<12>(&SystemRandom)).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
        let drawn: HashSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(drawn.len(), 40_000);
        assert_ne!(public_bytes::<300>(&SystemRandom), [0; 300]);
    }
}
