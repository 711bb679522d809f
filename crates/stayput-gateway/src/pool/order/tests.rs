//! What the order promises, over many pools: the same everywhere, fair by weight, and moving as few as can be.

#![expect(clippy::cast_precision_loss, reason = "counts are small")]

use super::*;

impl Order {
    /// All upstreams in the client's own order.
    pub(crate) fn all(&self, client: ClientHash) -> impl Iterator<Item = usize> {
        let mut last = None;
        std::iter::from_fn(move || {
            let (index, rank) = self.least(client.slot(), |_, rank| Some(rank) > last)?;
            last = Some(rank);
            Some(index)
        })
    }
}

/// A pool of `n` upstreams whose names and weights follow from the seed.
fn pool(n: usize, seed: u64, most_weight: u16) -> Vec<(String, u16)> {
    let weight = |index| 1 + u16::try_from(mix(seed ^ (index << 8)) % u64::from(most_weight)).unwrap();
    (0..n as u64).map(|index| (format!("server-{seed}-{index}"), weight(index))).collect()
}

fn order(pool: &[(String, u16)]) -> Order {
    Order::uncached(pool.iter().map(|(name, weight)| (name.as_str(), *weight)))
}

fn clients(n: usize) -> impl Iterator<Item = ClientHash> {
    (0..n).map(|number| ClientHash::of(&number.to_be_bytes()))
}

fn first<'p>(order: &Order, pool: &'p [(String, u16)], client: ClientHash) -> &'p str {
    &pool[order.best(client, |_| true).unwrap()].0
}

/// Pools of all sizes, with equal weights and with different ones.
fn pools() -> impl Iterator<Item = Vec<(String, u16)>> {
    let sizes = [1, 2, 3, 5, 10, 30, 64];
    sizes.into_iter().flat_map(|n| [1, 4, 20].map(|most| pool(n, n as u64 * 31 + u64::from(most), most)))
}

const CLIENTS: usize = 4000;

#[test]
fn the_first_choice_does_not_depend_on_the_order_in_the_configuration() {
    for pool in pools() {
        let mut turned = pool.clone();
        turned.reverse();
        turned.rotate_left(pool.len() / 3);
        let (one, other) = (order(&pool), order(&turned));
        for client in clients(500) {
            assert_eq!(first(&one, &pool, client), first(&other, &turned, client));
            let named = |order: &Order, pool: &[(String, u16)]| -> Vec<_> {
                order.all(client).map(|index| pool[index].0.clone()).collect()
            };
            assert_eq!(named(&one, &pool), named(&other, &turned));
        }
    }
}

#[test]
fn one_more_upstream_takes_its_share_and_moves_nobody_between_the_others() {
    for pool in pools() {
        for weight in [1, 20] {
            let mut grown = pool.clone();
            grown.insert(pool.len() / 2, ("newcomer".to_owned(), weight));
            let (before, after) = (order(&pool), order(&grown));
            let mut moved = 0;
            for client in clients(CLIENTS) {
                let (old, new) = (first(&before, &pool, client), first(&after, &grown, client));
                assert!(old == new || new == "newcomer", "{old} to {new}");
                moved += usize::from(old != new);
            }
            let all: u16 = grown.iter().map(|(_, weight)| weight).sum();
            // Four standard deviations of what chance adds to a share of these clients.
            let fair = CLIENTS as f64 * f64::from(weight) / f64::from(all);
            let chance = 4.0 * fair.sqrt();
            assert!((moved as f64) < fair + chance.max(0.02 * fair), "{moved} where {fair} are fair");
        }
    }
}

#[test]
fn with_equal_weights_one_more_moves_at_most_a_fifth_over_its_share() {
    for n in (1..20).chain([64, 160]) {
        let (pool, newcomer) = (pool(n, 5, 1), "newcomer".to_owned());
        let grown: Vec<_> = pool.iter().cloned().chain([(newcomer, 1)]).collect();
        let (before, after) = (order(&pool), order(&grown));
        // As many as there must be for chance alone not to be a fifth.
        let count = 500 * (n + 1);
        let moved =
            clients(count).filter(|&client| first(&before, &pool, client) != first(&after, &grown, client));
        let share = moved.count() as f64 / count as f64;
        assert!(share <= 1.2 / (n as f64 + 1.0), "{share} with {n}");
    }
}

#[test]
fn removing_one_moves_only_its_own_and_each_to_the_next_in_its_order() {
    for pool in pools().filter(|pool| pool.len() > 1) {
        let mut shrunk = pool.clone();
        let gone = shrunk.remove(pool.len() / 2).0;
        let (before, after) = (order(&pool), order(&shrunk));
        for client in clients(2000) {
            let (old, new) = (first(&before, &pool, client), first(&after, &shrunk, client));
            if old == gone {
                let second = before.all(client).nth(1).unwrap();
                assert_eq!(new, pool[second].0);
            } else {
                assert_eq!(old, new);
            }
        }
    }
}

#[test]
fn raising_a_weight_moves_clients_to_it_only() {
    for pool in pools() {
        let mut raised = pool.clone();
        raised[0].1 += 2;
        let (before, after) = (order(&pool), order(&raised));
        for client in clients(3000) {
            let (old, new) = (first(&before, &pool, client), first(&after, &raised, client));
            assert!(old == new || new == pool[0].0, "{old} to {new}");
        }
    }
}

#[test]
fn clients_are_shared_out_by_weight() {
    for pool in pools() {
        let (order, all) = (order(&pool), pool.iter().map(|(_, weight)| f64::from(*weight)).sum::<f64>());
        let count = 100 * pool.len();
        let mut shares = vec![0.0; pool.len()];
        clients(count).for_each(|client| shares[order.best(client, |_| true).unwrap()] += 1.0);
        for (share, (_, weight)) in shares.iter().zip(&pool) {
            let fair = count as f64 * f64::from(*weight) / all;
            assert!((share - fair).abs() <= 5.0 * fair.sqrt() + 1.0, "{share} where {fair} are fair");
        }
    }
}

#[test]
fn the_table_holds_what_is_worked_out_and_weights_of_one_kind_are_no_weights() {
    for pool in [pool(1, 1, 1), pool(3, 2, 1), pool(20, 3, 9)] {
        let named = || pool.iter().map(|(name, weight)| (name.as_str(), *weight));
        let (cached, order) = (Order::new(named()), order(&pool));
        for client in clients(5000) {
            assert_eq!(Some(cached.first(client)), order.best(client, |_| true));
        }
    }
    let (light, heavy) =
        (pool(9, 4, 1), pool(9, 4, 1).into_iter().map(|(name, _)| (name, 7)).collect::<Vec<_>>());
    let (light_order, heavy_order) = (order(&light), order(&heavy));
    clients(2000).for_each(|client| {
        assert_eq!(first(&light_order, &light, client), first(&heavy_order, &heavy, client));
    });
}

#[test]
fn it_never_changes() {
    // Other versions of the gateway run beside this one: who changes this moves everybody's clients.
    let pool: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| (name.to_owned(), 1)).into();
    let order = |pool: &[(String, u16)]| -> String {
        let order = order(pool);
        clients(16).map(|client| first(&order, pool, client).to_owned()).collect()
    };
    assert_eq!(order(&pool), "abbbeeaeddebceed");
    let weighted: Vec<_> = pool.iter().zip(1..).map(|((name, _), weight)| (name.clone(), weight)).collect();
    assert_eq!(order(&weighted), "cbdbeededdeeceed");
    assert_eq!(ClientHash::of(b"alice"), ClientHash(5_740_778_884_353_851_572));
}

#[test]
fn logarithms_are_right() {
    for chance in (0..1000).map(mix).chain([0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, u64::MAX / 3]) {
        let expected = 52.0 - ((chance >> 12) as f64 + 0.5).log2();
        assert!((minus_log2(chance) - expected).abs() < 1e-10, "{chance}");
        assert!(at_least(chance) <= minus_log2(chance), "{chance}");
    }
}
