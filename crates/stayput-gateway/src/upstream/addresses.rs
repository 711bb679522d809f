//! The addresses at which an upstream is found now: one for good, or those of its name.
//!
//! Nobody waits here: the list is locked for as long as it takes to copy a pointer, and only by who makes a connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::UpstreamAddress;

/// In this order, since every request reads the generation.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Addresses {
    /// Counts the sets that there have been.
    generation: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    /// The one that could be connected to last comes first.
    all: Arc<[SocketAddr]>,
    /// What the last look-up came to; nothing before the first one.
    was_found: Option<bool>,
}

/// What a look-up has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing, or nothing that was not said before.
    None,
    /// The addresses are others now.
    Moved,
    /// The name can be resolved again.
    Back,
    /// The name can't be resolved any more; its last addresses stay, if there have been any.
    Lost,
}

impl Addresses {
    pub(super) fn new(address: &UpstreamAddress) -> Self {
        let all = address.socket().into_iter().collect();
        Self { generation: AtomicU64::new(0), known: Mutex::new(Known { all, was_found: None }) }
    }

    /// In the order in which they are to be tried.
    pub(crate) fn all(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&self.known().all)
    }

    /// A number that changes with the set of addresses.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether its name has been looked up, successfully or not.
    pub(crate) fn were_looked_up(&self) -> bool {
        self.known().was_found.is_some()
    }

    /// The last one that could be connected to is tried first from now on.
    pub(crate) fn prefer(&self, address: SocketAddr) {
        let mut known = self.known();
        if let Some(at) = known.all.iter().position(|its| *its == address).filter(|&at| at > 0) {
            let mut all = known.all.to_vec();
            all[..=at].rotate_right(1);
            known.all = all.into();
        }
    }

    /// Takes note of what a look-up has found; nothing means that it failed.
    pub(crate) fn found(&self, mut all: Vec<SocketAddr>) -> News {
        let mut known = self.known();
        let before = known.was_found.replace(!all.is_empty());
        if all.is_empty() {
            return if before == Some(false) { News::None } else { News::Lost };
        }
        // A server of names that shuffles its answers has not moved anybody, and whoever is asked first is still there.
        all.sort_unstable();
        all.dedup();
        all.truncate(MOST);
        let mut sorted = known.all.to_vec();
        sorted.sort_unstable();
        let moves = all != sorted;
        if moves {
            if let Some(at) = known.all.first().and_then(|first| all.iter().position(|its| its == first)) {
                all[..=at].rotate_right(1);
            }
            known.all = all.into();
            self.generation.fetch_add(1, Ordering::Release);
        }
        match before {
            Some(false) => News::Back,
            Some(true) if moves => News::Moved,
            _ => News::None,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More are not tried: they share the time that there is for connecting.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 80).into()
    }

    #[test]
    fn the_address_that_worked_last_is_tried_first_for_as_long_as_it_is_there() {
        let name = UpstreamAddress::Name { host: "a".into(), port: 80 };
        let addresses = Addresses::new(&name);
        assert!(addresses.all().is_empty() && !addresses.were_looked_up());
        assert_eq!(
            addresses.found(vec![at(3), at(1), at(2), at(1)]),
            News::None,
            "the first time is no news"
        );
        assert_eq!(*addresses.all(), [at(1), at(2), at(3)]);
        addresses.prefer(at(3));
        assert_eq!(*addresses.all(), [at(3), at(1), at(2)]);
        addresses.prefer(at(9));
        let generation = addresses.generation();
        assert_eq!(addresses.found(vec![at(2), at(1), at(3)]), News::None);
        assert_eq!(
            (*addresses.all()).to_vec(),
            [at(3), at(1), at(2)],
            "the order of an answer means nothing"
        );
        assert_eq!(addresses.generation(), generation);
        assert_eq!(addresses.found(vec![at(2), at(3), at(4)]), News::Moved);
        assert_eq!(*addresses.all(), [at(3), at(2), at(4)]);
        assert_ne!(addresses.generation(), generation);
    }

    #[test]
    fn a_name_that_is_lost_keeps_its_addresses_and_is_told_of_once() {
        let addresses = Addresses::new(&UpstreamAddress::Name { host: "a".into(), port: 80 });
        addresses.found(vec![at(1)]);
        let generation = addresses.generation();
        let news = [vec![], vec![], vec![at(1)], vec![at(1)]].map(|found| addresses.found(found));
        assert_eq!(news, [News::Lost, News::None, News::Back, News::None]);
        assert_eq!((addresses.all().to_vec(), addresses.generation()), (vec![at(1)], generation));
    }
}
