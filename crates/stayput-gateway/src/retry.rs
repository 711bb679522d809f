//! How often a request may be sent again: a budget, so that retries can't bring down what is left.
//!
//! It never refuses a request its first attempt.

use std::cell::Cell;

use crate::config::Limits;

/// What a retry costs, when each request pays in the percentage of retries that is allowed.
const COST: u32 = 100;

/// One worker's budget.
pub(crate) struct RetryBudget(Cell<u32>);

impl RetryBudget {
    /// With all that can be saved, be the gateway as new as it may.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self(Cell::new(most(limits)))
    }

    /// Pays in for a new request.
    pub(crate) fn pay_in(&self, limits: &Limits) {
        self.0.set(most(limits).min(self.0.get() + limits.retry_percent));
    }

    /// Whether one more retry is allowed.
    pub(crate) fn allows(&self) -> bool {
        match self.0.get().checked_sub(COST) {
            Some(left) => {
                self.0.set(left);
                true
            }
            None => false,
        }
    }
}

/// One retry at least can be saved for, where any are allowed at all.
fn most(limits: &Limits) -> u32 {
    limits.retry_savings.max(u32::from(limits.retry_percent > 0)) * COST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(retry_percent: u32, retry_savings: u32) -> Limits {
        Limits { retry_percent, retry_savings, ..Limits::default() }
    }

    #[test]
    fn savings_are_spent_first_and_then_so_many_in_a_hundred_requests() {
        for (limits, saved, paid) in [
            (Limits::default(), 1000, 200),
            (limits(50, 7), 7, 500),
            (limits(0, 3), 3, 0),
            (limits(20, 0), 1, 200),
            (limits(0, 0), 0, 0),
        ] {
            let budget = RetryBudget::new(&limits);
            assert_eq!((0..2000).filter(|_| budget.allows()).count(), saved);
            let allowed = (0..1000).filter(|_| {
                budget.pay_in(&limits);
                budget.allows()
            });
            assert_eq!(allowed.count(), paid);
        }
    }

    #[test]
    fn savings_are_bounded_and_shrink_with_a_reload() {
        let budget = RetryBudget::new(&limits(20, 1000));
        (0..100_000).for_each(|_| budget.pay_in(&limits(20, 1000)));
        budget.pay_in(&limits(20, 10));
        assert_eq!((0..100_000).filter(|_| budget.allows()).count(), 10);
    }
}
