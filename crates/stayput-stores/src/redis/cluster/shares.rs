//! Who has which slots, in a form that two views of a cluster can be compared by.

use crate::redis::config::Endpoint;

/// Each primary's share of the slots, as few ranges as it takes, in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::redis) struct Shares(Vec<(usize, usize, Endpoint)>);

impl Shares {
    /// Of ranges, both ends included, in any order and any pieces.
    pub(super) fn of<'a>(ranges: impl IntoIterator<Item = (usize, usize, &'a Endpoint)>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_by_key(|(first, ..)| *first);
        let mut shares: Vec<(usize, usize, Endpoint)> = Vec::new();
        for (first, last, endpoint) in ranges {
            match shares.last_mut() {
                Some((_, end, owner)) if *end + 1 == first && owner == endpoint => *end = last,
                _ => shares.push((first, last, endpoint.clone())),
            }
        }
        Self(shares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_shares_are_equal_whatever_pieces_they_are_told_in() {
        let [a, b] = [1, 2].map(|port| Endpoint { host: "host".to_owned(), port });
        let whole = Shares::of([(0, 9, &a), (10, 19, &b), (20, 29, &a)]);
        assert_eq!(whole, Shares::of([(25, 29, &a), (10, 19, &b), (0, 9, &a), (20, 24, &a)]));
        for other in [
            Shares::of([(0, 9, &a), (10, 19, &b), (20, 28, &a)]),
            Shares::of([(0, 10, &a), (11, 19, &b), (20, 29, &a)]),
            Shares::of([(0, 9, &a), (10, 29, &b)]),
            Shares::of([(0, 29, &a)]),
        ] {
            assert_ne!(whole, other);
        }
    }
}
