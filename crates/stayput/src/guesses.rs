//! Who makes cookies up. Nobody guesses 192 random bits under a signature; but who tries is worth knowing about, and is
//! made to wait.
//!
//! Only cookies that no honest client sends are counted, and each value once in a row: neither the expired sessions of the
//! many people behind one address nor one browser's damaged cookie, sent again and again, slow anybody down; nor ever who
//! presents a good one.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stayput_core::Timestamp;

/// Made-up cookies of the last minute, by network; together where addresses aren't known.
#[derive(Debug, Default)]
pub(crate) struct Guesses {
    windows: Mutex<HashMap<Option<IpAddr>, Window>>,
    hasher: RandomState,
}

#[derive(Clone, Debug)]
struct Window {
    began: Timestamp,
    count: u32,
    /// Hash of the value that was counted last.
    last: u64,
}

/// What one more made-up cookie means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guess {
    /// It may be an accident.
    Few,
    /// It is the one that makes it guessing.
    Begins,
    /// Guessing goes on.
    GoesOn,
}

impl Guesses {
    /// Counts the made-up cookie `value` from `address`.
    pub(crate) fn count(&self, address: Option<IpAddr>, value: &[u8], now: Timestamp) -> Guess {
        let last = self.hasher.hash_one(value);
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |window: &Window| now.since(window.began) >= WINDOW;
        if windows.len() >= MOST {
            windows.retain(|_, window| !is_over(window));
        }
        if windows.len() >= MOST {
            // So many networks at once: forgetting some of the counts is better than growing without end.
            windows.clear();
        }
        let first = Window { began: now, count: 0, last: 0 };
        let window = windows.entry(address.map(network)).or_insert_with(|| first.clone());
        if is_over(window) {
            *window = first;
        }
        let is_another = window.count == 0 || window.last != last;
        window.count = window.count.saturating_add(u32::from(is_another));
        window.last = last;
        match window.count {
            0..FEW => Guess::Few,
            FEW if is_another => Guess::Begins,
            _ => Guess::GoesOn,
        }
    }
}

/// An IPv6 client chooses freely among the addresses of its /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// From this many in a window on it is guessing.
const FEW: u32 = 20;

const WINDOW: Duration = Duration::from_mins(1);

/// Most networks that are counted.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + second * 1000)
    }

    #[test]
    fn guessing_begins_once_a_minute_and_is_each_networks_own() {
        let guesses = Guesses::default();
        let (one, other) = (Some([192, 0, 2, 1].into()), Some([192, 0, 2, 2].into()));
        for n in 1..FEW {
            assert_eq!(guesses.count(one, &n.to_be_bytes(), at(0)), Guess::Few);
        }
        assert_eq!(guesses.count(one, b"a", at(59)), Guess::Begins);
        assert_eq!(guesses.count(one, b"b", at(59)), Guess::GoesOn);
        assert_eq!(guesses.count(other, b"c", at(59)), Guess::Few);
        assert_eq!(guesses.count(one, b"d", at(60)), Guess::Few);
    }

    #[test]
    fn one_damaged_cookie_sent_again_and_again_is_no_guessing() {
        let guesses = Guesses::default();
        assert!((0..1000).all(|_| guesses.count(None, b"damaged", at(0)) == Guess::Few));
    }

    #[test]
    fn an_ipv6_network_is_one_guesser() {
        let guesses = Guesses::default();
        let from = |host: u16| Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host).into());
        let last =
            (1..=FEW).map(|n| guesses.count(from(u16::try_from(n).unwrap()), &n.to_be_bytes(), at(0))).last();
        assert_eq!(last, Some(Guess::Begins));
    }

    #[test]
    fn any_number_of_networks_takes_bounded_memory() {
        let guesses = Guesses::default();
        for n in 0..100_000u32 {
            guesses.count(Some(n.to_be_bytes().into()), b"", at(0));
        }
        assert!(guesses.windows.lock().unwrap().len() <= MOST);
    }
}
