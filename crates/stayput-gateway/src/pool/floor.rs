//! Which of the servers that something is held against a pool can miss.
//!
//! It never takes out the last one that works, and none at all where none works.

/// What matters of a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) weight: u64,
    /// Whether it can be reached, and takes new clients.
    pub(super) is_usable: bool,
    /// Since when something has been held against it.
    pub(super) accused_since: Option<u64>,
    /// Whether it is out now.
    pub(super) is_out: bool,
}

/// Whom to take out; `None` if all that could serve are accused, so that nobody is to be believed.
///
/// At least `floor` percent of the weight stays in. Who is out already is taken first, then who has been accused for longer,
/// so that servers don't take turns.
pub(super) fn missable(servers: &[Standing], floor: u8) -> Option<Vec<bool>> {
    let usable = |its: &&Standing| its.is_usable;
    if servers.iter().all(|its| its.accused_since.is_none()) {
        return Some(vec![false; servers.len()]);
    }
    if servers.iter().filter(usable).all(|its| its.accused_since.is_some()) {
        return None;
    }
    let all: u64 = servers.iter().map(|its| its.weight).sum();
    let mut left: u64 = servers.iter().filter(usable).map(|its| its.weight).sum();
    let mut accused: Vec<_> =
        (0..servers.len()).filter(|&index| servers[index].accused_since.is_some()).collect();
    accused.sort_by_key(|&index| (!servers[index].is_out, servers[index].accused_since));
    let mut out = vec![false; servers.len()];
    for index in accused {
        // One that can't be reached, or gets no new clients anyway, is no loss.
        let loss = if servers[index].is_usable { servers[index].weight } else { 0 };
        if loss == 0 || (left - loss) * 100 >= all * u64::from(floor) {
            out[index] = true;
            left -= loss;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::super::Chance;
    use super::*;

    fn server(weight: u64, accused_since: Option<u64>) -> Standing {
        Standing { weight, is_usable: true, accused_since, is_out: false }
    }

    #[test]
    fn an_accused_server_is_missed_unless_too_little_is_left() {
        let [good, bad] = [server(1, None), server(1, Some(1))];
        assert_eq!(missable(&[good, bad], 30), Some(vec![false, true]));
        assert_eq!(missable(&[good, bad, bad, bad], 30), Some(vec![false, true, true, false]));
        assert_eq!(missable(&[good, bad, bad, bad], 100), Some(vec![false; 4]));
        assert_eq!(missable(&[server(1, None), server(9, Some(1))], 30), Some(vec![false; 2]), "by weight");
        assert_eq!(missable(&[good, bad, bad, bad], 0), Some(vec![false, true, true, true]));
    }

    #[test]
    fn where_all_that_could_serve_are_accused_nobody_is_believed() {
        let down = Standing { is_usable: false, ..server(1, None) };
        let bad = server(1, Some(1));
        assert_eq!(missable(&[bad, bad], 0), None);
        assert_eq!(missable(&[bad, down], 0), None);
        assert_eq!(missable(&[bad], 0), None);
    }

    #[test]
    fn who_is_out_stays_out_and_the_longest_accused_goes_first() {
        let out = Standing { is_out: true, ..server(1, Some(7)) };
        let servers = [server(1, Some(5)), out, server(1, Some(3)), server(1, None)];
        assert_eq!(missable(&servers, 50), Some(vec![false, true, true, false]));
    }

    #[test]
    fn of_any_pool_the_floor_stays_in_and_one_that_works() {
        for seed in 0..2000 {
            let chance = Chance::from_seed(seed);
            let one = || Standing {
                weight: 1 + chance.below(9) as u64,
                is_usable: chance.below(4) > 0,
                accused_since: (chance.below(2) == 0).then(|| chance.below(100) as u64),
                is_out: chance.below(3) == 0,
            };
            let servers: Vec<_> = (0..=chance.below(12)).map(|_| one()).collect();
            let floor = u8::try_from(chance.below(101)).unwrap();
            let works = |its: &Standing| its.is_usable && its.accused_since.is_none();
            let told = || format!("seed {seed}: {servers:?}, floor {floor}");
            let Some(out) = missable(&servers, floor) else {
                assert!(!servers.iter().any(works), "{}", told());
                continue;
            };
            let weight = |is_in: &dyn Fn(usize) -> bool| {
                let counts = |index: &usize| servers[*index].is_usable && is_in(*index);
                (0..servers.len()).filter(counts).map(|index| servers[index].weight).sum::<u64>()
            };
            let all: u64 = servers.iter().map(|its| its.weight).sum();
            let (left, before) = (weight(&|index| !out[index]), weight(&|_| true));
            assert!(left * 100 >= all * u64::from(floor) || left == before, "{}", told());
            let innocent =
                (0..servers.len()).find(|&index| out[index] && servers[index].accused_since.is_none());
            assert_eq!(innocent, None, "{}", told());
            // Nobody stays in who could be missed as well.
            let kept =
                (0..servers.len()).filter(|&index| !out[index] && servers[index].accused_since.is_some());
            for index in kept {
                let weight = servers[index].weight;
                let is_lossless = !servers[index].is_usable;
                assert!(!is_lossless && (left - weight) * 100 < all * u64::from(floor), "{}", told());
            }
        }
    }
}
