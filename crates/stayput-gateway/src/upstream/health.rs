//! What is held against an upstream, by its check and by requests, and whether it is taken out for it.
//!
//! It doesn't know what the pool can miss: `pool::floor` decides whom a verdict takes out. Locks are taken only when a
//! verdict may change; requests read numbers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Asking, Upstream};
use crate::config::{Check, CheckKind, HealthConfig};

/// The data path's part; what it came from is behind a lock. Moments are in milliseconds since the upstream's birth.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Until when it gets no requests: 0 while it is in, `FOREVER` while something else than a request has to find out.
    out_until: AtomicU64,
    /// How often it got a worse verdict or was taken out. Whoever was sent before the last time has no say.
    falls: AtomicU64,
    /// Failures in a row, and whether it is ejected.
    failures: AtomicU32,
    /// In which second since its birth it last sent something.
    heard: AtomicU32,
    /// Requests that have waited here for too long.
    overdue: AtomicU32,
}

#[derive(Debug, Default)]
pub(super) struct Verdicts {
    pub(super) check: Option<Checked>,
    pub(super) ejection: Option<Ejection>,
    pub(super) ejections: u64,
    /// What the last request that failed is said to have met.
    pub(super) last_failure: Option<&'static str>,
    /// The ejection before.
    past: Option<Past>,
    /// Since when there has been something bad.
    since: u64,
}

#[derive(Debug)]
pub(super) struct Checked {
    pub(super) is_passing: bool,
    /// Results in a row that contradict that.
    against: u32,
    /// Why it failed last.
    pub(super) why: Option<String>,
}

#[derive(Debug)]
pub(super) struct Ejection {
    pub(super) until: u64,
    length: Duration,
    in_a_row: u32,
    /// Whether it hung: then no request is tried on it before it has given a sign of life.
    needs_sign: bool,
}

#[derive(Debug)]
struct Past {
    ended: u64,
    length: Duration,
    in_a_row: u32,
}

const FOREVER: u64 = u64::MAX;
/// In `failures`.
const EJECTED: u32 = 1 << 31;
/// How long an ejected upstream waits for a request that can be repeated before any other is tried on it.
const PATIENCE: u64 = 10_000;
/// Requests that have to wait too long before anybody wonders.
const MANY: u32 = 3;
const LONGEST_EJECTION: Duration = Duration::from_mins(5);

impl Upstream {
    /// Whether a verdict keeps requests away from it.
    pub(crate) fn is_out(&self) -> bool {
        self.health.out_until.load(Relaxed) != 0
    }

    pub(crate) fn falls(&self) -> u64 {
        self.health.falls.load(Relaxed)
    }

    /// Notes that it has sent something.
    pub(crate) fn heard(&self, now: Instant) {
        let second = self.second(now);
        // Other workers' processors have it at hand, too, for as long as nobody writes.
        if self.health.heard.load(Relaxed) != second {
            self.health.heard.store(second, Relaxed);
        }
    }

    /// Notes that a request has waited here for too long, until what comes back is dropped.
    pub(crate) fn overdue(&self) -> Overdue<'_> {
        self.health.overdue.fetch_add(1, Relaxed);
        Overdue(self)
    }

    /// Whether it is in, or may be tried by this request.
    pub(super) fn lets_in(&self, asking: Asking) -> bool {
        let until = self.health.out_until.load(Relaxed);
        until == 0 || until != FOREVER && self.millisecond(asking.now) >= first_chance(until, asking)
    }

    /// As [`Upstream::lets_in`], and others wait for what this request finds.
    pub(super) fn tries(&self, asking: Asking, ejection: Duration) -> bool {
        let until = self.health.out_until.load(Relaxed);
        let swap = || {
            let again = self.millisecond(asking.now + ejection);
            self.health.out_until.compare_exchange(until, again, Relaxed, Relaxed).is_ok()
        };
        until == 0 || self.lets_in(asking) && swap()
    }

    /// Takes note of a check's result, and says whether the verdict is another one.
    pub(crate) fn checked(&self, result: Result<(), String>, check: &Check, now: Instant) -> bool {
        let mut verdicts = self.verdicts();
        let mut checked = verdicts.check.take().unwrap_or_default();
        let passed = result.is_ok();
        checked.why = result.err().or(checked.why);
        checked.against = if passed == checked.is_passing { 0 } else { checked.against + 1 };
        let needed = if passed { check.rise } else { check.fall };
        let turns = checked.against >= needed;
        if turns {
            checked.is_passing = passed;
            checked.against = 0;
            let (name, address) = (&self.name, &self.address);
            if passed {
                checked.why = None;
                tracing::info!(upstream = %name, %address, "upstream passes its check again");
            } else {
                let why = checked.why.as_deref().unwrap_or_default();
                tracing::warn!(upstream = %name, %address, why, "upstream fails its check");
                self.fall(&mut verdicts, now);
            }
        } else if passed && checked.is_passing {
            checked.why = None;
        }
        let answers = passed && checked.is_passing && matches!(check.kind, CheckKind::Http { .. });
        verdicts.check = Some(checked);
        // Its clients have pins to others by then, so a request may be long in coming.
        turns || answers && self.is_over(&verdicts, now) && self.end_ejection(&mut verdicts, now)
    }

    /// Whether it may be tried again after an ejection.
    fn is_over(&self, verdicts: &Verdicts, now: Instant) -> bool {
        let ejection = verdicts.ejection.as_ref();
        ejection.is_some_and(|its| !its.needs_sign && self.millisecond(now) >= its.until)
    }

    /// Forgets a check that is no longer made, and says whether it had been failing.
    pub(crate) fn forget_check(&self) -> bool {
        self.verdicts().check.take().is_some_and(|checked| !checked.is_passing)
    }

    /// Takes note of a request that failed here, which was sent after so many `falls`; says whether the verdict is another
    /// one.
    pub(crate) fn failed(&self, falls: u64, why: &'static str, config: &HealthConfig, now: Instant) -> bool {
        let Some(most) = config.failures.filter(|_| falls == self.falls()) else { return false };
        let in_a_row = (self.health.failures.fetch_add(1, Relaxed) & !EJECTED).saturating_add(1);
        in_a_row >= most && self.eject(why, false, config, now)
    }

    /// Takes note of a whole answer to a request that was sent after so many `falls`; says whether the verdict is another
    /// one.
    pub(crate) fn answered(&self, falls: u64, now: Instant) -> bool {
        let failures = self.health.failures.load(Relaxed);
        failures != 0 && falls == self.falls() && self.has_recovered(failures, now)
    }

    #[cold]
    fn has_recovered(&self, failures: u32, now: Instant) -> bool {
        if failures & EJECTED == 0 {
            // If one more has failed at this very moment, that counts.
            let _ = self.health.failures.compare_exchange(failures, 0, Relaxed, Relaxed);
            return false;
        }
        self.end_ejection(&mut self.verdicts(), now)
    }

    fn end_ejection(&self, verdicts: &mut Verdicts, now: Instant) -> bool {
        self.health.failures.store(0, Relaxed);
        let Some(Ejection { length, in_a_row, .. }) = verdicts.ejection.take() else { return false };
        verdicts.past = Some(Past { ended: self.millisecond(now), length, in_a_row });
        tracing::info!(upstream = %self.name, address = %self.address, "upstream answers again");
        true
    }

    /// Ejects it; one that `hangs` has to give a sign of life before requests are tried on it. Says whether the verdict is
    /// another one: an ejection that isn't over stays as it is.
    pub(crate) fn eject(&self, why: &'static str, hangs: bool, config: &HealthConfig, now: Instant) -> bool {
        let (mut verdicts, moment) = (self.verdicts(), self.millisecond(now));
        verdicts.last_failure = Some(why);
        if verdicts.ejection.as_ref().is_some_and(|ejection| moment < ejection.until) {
            return false;
        }
        let in_a_row = 1 + match (&verdicts.ejection, &verdicts.past) {
            (Some(ejection), _) => ejection.in_a_row,
            // One that was well for as long as it had been out begins anew.
            (None, Some(past)) if moment < past.ended.saturating_add(millis(past.length)) => past.in_a_row,
            (None, _) => 0,
        };
        let longest = LONGEST_EJECTION.max(config.ejection);
        let length = config.ejection.saturating_mul(1 << (in_a_row - 1).min(30)).min(longest);
        let until = self.millisecond(now + length);
        self.fall(&mut verdicts, now);
        verdicts.ejection = Some(Ejection { until, length, in_a_row, needs_sign: hangs });
        verdicts.ejections += 1;
        self.health.failures.fetch_or(EJECTED, Relaxed);
        let (name, address) = (&self.name, &self.address);
        tracing::warn!(upstream = %name, %address, why, seconds = length.as_secs_f32(), "upstream is ejected");
        true
    }

    /// Whether it has to be asked for a sign of life: it answers nobody, or is out for that.
    pub(crate) fn is_suspect(&self, silence: Duration, now: Instant) -> bool {
        let Health { failures, overdue, heard, .. } = &self.health;
        let overdue = overdue.load(Relaxed);
        let may_be_ejected = failures.load(Relaxed) & EJECTED != 0;
        if overdue == 0 && !may_be_ejected {
            return false;
        }
        let is_silent =
            || u64::from(self.second(now).saturating_sub(heard.load(Relaxed))) >= silence.as_secs();
        match &self.verdicts().ejection {
            None => overdue >= MANY && is_silent(),
            Some(Ejection { until, .. }) if self.millisecond(now) < *until => false,
            Some(Ejection { needs_sign, .. }) => *needs_sign || overdue > 0 && is_silent(),
        }
    }

    /// Takes note of a sign of life; says whether that changes anything. Whether it answers requests they find out.
    pub(crate) fn is_alive(&self, now: Instant) -> bool {
        self.heard(now);
        let mut verdicts = self.verdicts();
        verdicts.ejection.as_mut().is_some_and(|ejection| std::mem::take(&mut ejection.needs_sign))
    }

    /// Since when something has been held against it, if something is.
    pub(crate) fn accused_since(&self) -> Option<u64> {
        let verdicts = self.verdicts();
        (verdicts.ejection.is_some() || verdicts.fails_check()).then_some(verdicts.since)
    }

    /// Keeps requests away for as long as its verdicts say.
    pub(crate) fn take_out(&self) {
        let (verdicts, before) = (self.verdicts(), self.health.out_until.load(Relaxed));
        let until = match &verdicts.ejection {
            Some(ejection) if !ejection.needs_sign && !verdicts.fails_check() => ejection.until.max(1),
            _ => FOREVER,
        };
        // A later moment is that of a request that is being tried on it.
        if before == FOREVER || before < until {
            self.health.out_until.store(until, Relaxed);
        }
        if before == 0 {
            self.health.falls.fetch_add(1, Relaxed);
        }
    }

    /// Lets it have requests again: little by little, if nothing is held against it any more.
    pub(crate) fn let_in(&self, is_well: bool, now: Instant) {
        if self.is_out() && self.health.out_until.swap(0, Relaxed) != 0 && is_well {
            self.start_slowly(now);
        }
    }

    fn fall(&self, verdicts: &mut Verdicts, now: Instant) {
        if verdicts.ejection.is_none() && !verdicts.fails_check() {
            verdicts.since = self.millisecond(now);
        }
        self.health.falls.fetch_add(1, Relaxed);
    }

    pub(super) fn verdicts(&self) -> MutexGuard<'_, Verdicts> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verdicts {
    fn fails_check(&self) -> bool {
        self.check.as_ref().is_some_and(|checked| !checked.is_passing)
    }
}

impl Default for Checked {
    /// Innocent until found failing.
    fn default() -> Self {
        Self { is_passing: true, against: 0, why: None }
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// A request that has waited too long.
pub(crate) struct Overdue<'a>(&'a Upstream);

impl Drop for Overdue<'_> {
    fn drop(&mut self) {
        self.0.health.overdue.fetch_sub(1, Relaxed);
    }
}

/// When such a request can be tried on an upstream that is out: what can't be repeated would fail with it.
fn first_chance(until: u64, asking: Asking) -> u64 {
    if asking.is_repeatable { until } else { until.saturating_add(PATIENCE) }
}

#[cfg(test)]
mod tests;
