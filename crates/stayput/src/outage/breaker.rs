//! The circuit breaker: when a store is taken for out, and how traffic comes back to it.
//!
//! It is fed by calls that were sent, and by nothing else: what was turned away here, or by the store for want of room, says
//! nothing of the store's health.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use stayput_core::{StoreErrorKind, Uptime};

/// Decides which calls are sent.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// A store in this process can be slow, but not away: nothing would be gained by not asking it.
    is_local: bool,
    state: AtomicU8,
    /// Calls that failed one after another, while the store is taken for well.
    failures: AtomicU32,
    /// Whether a probe is under way because a call failed: one at a time is enough.
    is_suspected: AtomicBool,
    /// While traffic comes back: how many calls there may be at a time, and how many there are.
    limit: AtomicU32,
    in_flight: AtomicU32,
    /// When the store was last found to be back, as milliseconds of uptime.
    back_at: AtomicU64,
}

/// That a call may be sent. To be given back with what became of it, or dropped if nobody waited for that.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    is_counted: bool,
}

/// What a call's outcome changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// A call failed after others had not: a probe is to say whether that was more than an accident.
    Suspect,
    /// The store is taken for out from now on.
    Out,
    /// It is taken for well again.
    Back,
}

impl Breaker {
    /// A breaker that lets everything through.
    pub(crate) fn of_local_store() -> Self {
        Self { is_local: true, ..Self::default() }
    }

    /// Lets a call be sent, unless the store is out, or on its way back and busy with as much as is asked of it then.
    pub(crate) fn admit(&self) -> Option<Pass<'_>> {
        match self.state.load(Ordering::Acquire) {
            WELL => Some(Pass { breaker: self, is_counted: false }),
            COMING_BACK => {
                let limit = self.limit.load(Ordering::Acquire);
                let is_free = |count: u32| (count < limit).then_some(count + 1);
                self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, is_free).ok()?;
                Some(Pass { breaker: self, is_counted: true })
            }
            _ => None,
        }
    }

    /// Whether calls are turned away.
    pub(crate) fn is_out(&self) -> bool {
        self.state.load(Ordering::Acquire) == OUT
    }

    /// The probe of a suspected store was answered, or wasn't. Says whether it is taken for out because of that.
    pub(crate) fn examined(&self, is_answered: bool) -> bool {
        self.is_suspected.store(false, Ordering::Release);
        !is_answered && self.turn(WELL, OUT)
    }

    /// Whether other servers may not have noticed yet that the store is back.
    pub(crate) fn was_out_lately(&self, now: Uptime) -> bool {
        let back_at = self.back_at.load(Ordering::Acquire);
        back_at > 0 && now < Uptime::from_millis(back_at).after(NOTICED)
    }

    /// Notes when the store was found to be back.
    pub(crate) fn returned(&self, now: Uptime) {
        self.back_at.store(now.as_millis().max(1), Ordering::Release);
    }

    /// A probe was answered: traffic comes back, one call at a time to begin with, and then twice as many after each answer.
    pub(crate) fn probed(&self) {
        self.limit.store(1, Ordering::Release);
        let _ = self.state.compare_exchange(OUT, COMING_BACK, Ordering::AcqRel, Ordering::Acquire);
    }

    fn note(&self, is_answered: bool) -> Option<Turn> {
        if self.is_local {
            return None;
        }
        match (self.state.load(Ordering::Acquire), is_answered) {
            (WELL, true) => {
                if self.failures.load(Ordering::Relaxed) > 0 {
                    self.failures.store(0, Ordering::Relaxed);
                }
                None
            }
            (WELL, false) => match self.failures.fetch_add(1, Ordering::Relaxed) + 1 {
                1 => (!self.is_suspected.swap(true, Ordering::AcqRel)).then_some(Turn::Suspect),
                count if count < ENOUGH => None,
                _ => self.turn(WELL, OUT).then_some(Turn::Out),
            },
            (COMING_BACK, false) => self.turn(COMING_BACK, OUT).then_some(Turn::Out),
            (COMING_BACK, true) => {
                let limit = self.limit.load(Ordering::Acquire).saturating_mul(2);
                self.limit.store(limit, Ordering::Release);
                (limit >= ALL && self.turn(COMING_BACK, WELL)).then_some(Turn::Back)
            }
            // It was sent before.
            _ => None,
        }
    }

    fn turn(&self, from: u8, to: u8) -> bool {
        self.failures.store(0, Ordering::Relaxed);
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Pass<'_> {
    /// Notes what became of the call: `failed` as it failed, if it did.
    pub(crate) fn end(self, failed: Option<StoreErrorKind>) -> Option<Turn> {
        if failed == Some(StoreErrorKind::Overloaded) {
            return None;
        }
        self.breaker.note(!failed.is_some_and(is_outage))
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_counted {
            self.breaker.in_flight.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Whether such an error is one of a store that is out, rather than one that answers.
pub(crate) fn is_outage(kind: StoreErrorKind) -> bool {
    matches!(kind, StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown)
}

const WELL: u8 = 0;
const OUT: u8 = 1;
const COMING_BACK: u8 = 2;

/// So many calls that fail one after another mean that the store is out.
const ENOUGH: u32 = 5;

/// By then all servers have noticed that the store is back, and replayed what they took meanwhile.
const NOTICED: Duration = Duration::from_secs(3);

/// So many calls at a time that went well mean that the store takes them all.
const ALL: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Option<StoreErrorKind> = Some(StoreErrorKind::Unavailable);

    fn call(breaker: &Breaker, failed: Option<StoreErrorKind>) -> Option<Turn> {
        breaker.admit().expect("calls are let through").end(failed)
    }

    /// Lets calls fail, but for one as many as are enough.
    fn fail(breaker: &Breaker, failed: Option<StoreErrorKind>) {
        assert_eq!(call(breaker, failed), Some(Turn::Suspect));
        for _ in 2..ENOUGH {
            assert_eq!(call(breaker, failed), None);
        }
    }

    fn out() -> Breaker {
        let breaker = Breaker::default();
        fail(&breaker, FAILED);
        assert_eq!(call(&breaker, FAILED), Some(Turn::Out));
        breaker
    }

    #[test]
    fn a_store_is_out_after_failures_one_after_another_and_only_then() {
        let breaker = Breaker::default();
        for _ in 0..100 {
            fail(&breaker, Some(StoreErrorKind::OutcomeUnknown));
            assert!(!breaker.examined(true));
            assert_eq!(call(&breaker, None), None);
        }
        assert!(out().admit().is_none());
    }

    #[test]
    fn a_probe_that_fails_too_is_enough_once() {
        let breaker = Breaker::default();
        assert_eq!(call(&breaker, FAILED), Some(Turn::Suspect));
        assert!(breaker.examined(false));
        assert!(breaker.admit().is_none());
        assert!(!breaker.examined(false));
    }

    #[test]
    fn a_store_of_which_some_calls_fail_is_probed_once_at_a_time() {
        let breaker = Breaker::default();
        assert_eq!(call(&breaker, FAILED), Some(Turn::Suspect));
        for _ in 0..100 {
            assert_eq!(call(&breaker, None), None);
            assert_eq!(call(&breaker, FAILED), None);
        }
        assert!(!breaker.examined(true));
        assert_eq!(call(&breaker, None), None);
        assert_eq!(call(&breaker, FAILED), Some(Turn::Suspect));
    }

    #[test]
    fn a_store_in_this_process_is_never_out() {
        let breaker = Breaker::of_local_store();
        for _ in 0..100 {
            assert_eq!(call(&breaker, FAILED), None);
        }
    }

    #[test]
    fn an_answer_is_no_failure_whatever_it_says() {
        let breaker = Breaker::default();
        let answers = [StoreErrorKind::Full, StoreErrorKind::Unreadable, StoreErrorKind::Refused];
        for kind in answers.into_iter().cycle().take(100) {
            assert_eq!(call(&breaker, Some(kind)), None);
        }
        assert!(breaker.admit().is_some());
    }

    #[test]
    fn what_was_turned_away_says_nothing() {
        let breaker = Breaker::default();
        fail(&breaker, FAILED);
        for _ in 0..100 {
            assert_eq!(call(&breaker, Some(StoreErrorKind::Overloaded)), None);
        }
        assert_eq!(call(&breaker, FAILED), Some(Turn::Out));
    }

    #[test]
    fn traffic_comes_back_by_doubling() {
        let breaker = out();
        breaker.probed();
        let mut at_a_time = 0;
        for limit in [1, 2, 4, 8] {
            let mut passes: Vec<_> = std::iter::from_fn(|| breaker.admit()).take(1000).collect();
            assert_eq!(passes.len(), limit, "after {at_a_time}");
            at_a_time = limit;
            assert_eq!(passes.pop().expect("there is one").end(None), None);
        }
        assert_eq!(call(&breaker, None), None);
        assert_eq!(call(&breaker, None), Some(Turn::Back));
        let passes: Vec<_> = std::iter::from_fn(|| breaker.admit()).take(1000).collect();
        assert_eq!(passes.len(), 1000);
    }

    #[test]
    fn one_failure_on_the_way_back_means_out_again() {
        let breaker = out();
        breaker.probed();
        assert_eq!(call(&breaker, None), None);
        assert_eq!(call(&breaker, FAILED), Some(Turn::Out));
        assert!(breaker.admit().is_none());
    }

    #[test]
    fn an_answer_to_what_was_sent_before_brings_nothing_back() {
        let breaker = Breaker::default();
        let (late, failing) = (breaker.admit().unwrap(), breaker.admit().unwrap());
        for _ in 0..ENOUGH {
            let _ = call(&breaker, FAILED);
        }
        assert_eq!(late.end(None), None);
        assert_eq!(failing.end(FAILED), None);
        assert!(breaker.is_out());
    }

    #[test]
    fn a_call_that_nobody_waits_for_makes_room_and_says_nothing() {
        let breaker = out();
        breaker.probed();
        drop(breaker.admit().expect("one is let through"));
        assert!(breaker.admit().is_some());
    }
}
