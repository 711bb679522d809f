//! How often a request may be sent again: a budget, so that retries can't bring down what is left.
//!
//! It never refuses a request its first attempt.

use std::cell::Cell;

/// A retry costs as much as this many requests pay in: retries stay below 20% of requests.
const COST: u32 = 5;
/// What can be saved, and what there is at the start: enough for everything in flight when a busy server dies, be the
/// gateway as new as it may.
const MOST: u32 = 1000 * COST;

/// One worker's budget.
pub(crate) struct RetryBudget(Cell<u32>);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(Cell::new(MOST))
    }
}

impl RetryBudget {
    /// Pays in for a new request.
    pub(crate) fn pay_in(&self) {
        self.0.set(MOST.min(self.0.get() + 1));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn savings_are_spent_first_and_then_a_fifth_of_the_requests() {
        let budget = RetryBudget::default();
        assert_eq!((0..2000).filter(|_| budget.allows()).count(), 1000);
        let allowed = (0..1000).filter(|_| {
            budget.pay_in();
            budget.allows()
        });
        assert_eq!(allowed.count(), 200);
    }

    #[test]
    fn savings_are_bounded() {
        let budget = RetryBudget::default();
        (0..100_000).for_each(|_| budget.pay_in());
        assert_eq!((0..100_000).filter(|_| budget.allows()).count(), 1000);
    }
}
