//! Checks the rules against each other and against what browsers and standards accept.

use std::fmt;
use std::time::Duration;

use super::{LifeboatKey, OnWiped, Outage, Policy, Remember};

impl Policy {
    /// Checks all rules.
    ///
    /// # Errors
    ///
    /// All mistakes, not the first. Each begins with the name of its setting.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let mut mistakes = Vec::new();
        let mut check = |fine: bool, mistake: &str| {
            if !fine {
                mistakes.push(mistake.to_owned());
            }
        };
        self.check_timeouts(&mut check);
        if let Some(remember) = &self.remember {
            remember.check(&mut check);
        }
        check(self.max_data <= 16 * 1024 * 1024, "max_data must not exceed 16 MiB");
        check((1..=65_536).contains(&self.max_values), "max_values must be from 1 to 65536");
        self.check_lifeboat(&mut check);
        self.cookie.check(&mut check);
        if mistakes.is_empty() { Ok(()) } else { Err(PolicyError { mistakes }) }
    }

    fn check_timeouts(&self, check: &mut impl FnMut(bool, &str)) {
        check(self.idle_timeout >= LEAST_IDLE, "idle_timeout must be at least 1 minute");
        check(self.anonymous_idle_timeout >= LEAST_IDLE, "anonymous_idle_timeout must be at least 1 minute");
        check(self.idle_timeout <= self.absolute_timeout, "idle_timeout must not exceed absolute_timeout");
        check(self.absolute_timeout <= LONGEST, "absolute_timeout must not exceed 400 days");
        let remembered = self.remember.map_or(Duration::MAX, |remember| remember.idle_timeout);
        let shortest = self.idle_timeout.min(self.anonymous_idle_timeout).min(remembered);
        check(
            self.touch_interval.is_none_or(|interval| interval <= shortest / 2),
            "touch_interval must not exceed half of any idle timeout",
        );
        check(
            self.grace <= Duration::from_mins(5),
            "grace must not exceed 5 minutes: it is how long an old id still reads",
        );
        check(
            self.grace >= self.store_timeout.saturating_mul(2),
            "grace must be at least twice store_timeout: a login whose store calls are in doubt is settled within it",
        );
        check(
            self.renewal_interval >= self.least_renewal_interval(),
            "renewal_interval must be at least 10 times grace",
        );
        check(self.renewal_interval >= LEAST_RENEWAL, "renewal_interval must be at least 1 second");
        check(
            !self.store_timeout.is_zero() && self.store_timeout <= SLOWEST_STORE,
            "store_timeout must be above zero and at most 10 seconds",
        );
        check(
            !self.max_age.is_zero() && self.max_age <= LONGEST_ADRIFT,
            "max_age must be above zero and at most 1 hour: a session that was ended can live on for that long in an outage",
        );
    }
}

impl Policy {
    fn check_lifeboat(&self, check: &mut impl FnMut(bool, &str)) {
        let names: Vec<_> = self.lifeboat.iter().map(LifeboatKey::name).collect();
        let is_once = |(place, name): (usize, &&str)| !names[..place].contains(name);
        check(names.iter().enumerate().all(is_once), "lifeboat must name each key once");
        check(
            names.iter().map(|name| name.len()).sum::<usize>() <= LONGEST_NAMES,
            "lifeboat must name keys of at most 512 bytes together: they are in a cookie of 2 KB",
        );
        let has_lifeboat = self.outage == Outage::Lifeboat;
        check(
            has_lifeboat || self.lifeboat.is_empty(),
            "lifeboat takes outage = lifeboat: else nothing is put into it",
        );
        check(
            has_lifeboat || self.on_wiped == OnWiped::LogOut,
            "on_wiped = restore takes outage = lifeboat: there is nothing else to restore from",
        );
    }
}

impl Remember {
    fn check(&self, check: &mut impl FnMut(bool, &str)) {
        check(self.idle_timeout >= LEAST_IDLE, "remember.idle_timeout must be at least 1 minute");
        check(
            self.idle_timeout <= self.absolute_timeout,
            "remember.idle_timeout must not exceed remember.absolute_timeout",
        );
        check(self.absolute_timeout <= LONGEST, "remember.absolute_timeout must not exceed 400 days");
    }
}

const LEAST_IDLE: Duration = Duration::from_mins(1);

/// A renewal at every request would be a write at every request.
const LEAST_RENEWAL: Duration = Duration::from_secs(1);

const LONGEST_ADRIFT: Duration = Duration::from_hours(1);

/// A quarter of a lifeboat.
const LONGEST_NAMES: usize = 512;

/// A login makes up to ten calls, within the life of its unfinished record.
const SLOWEST_STORE: Duration = Duration::from_secs(10);

/// Browsers cap a cookie's life there (RFC 6265bis, 5.5).
const LONGEST: Duration = Duration::from_hours(400 * 24);

/// Everything that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    mistakes: Vec<String>,
}

impl PolicyError {
    /// An error of these mistakes.
    pub fn new(mistakes: Vec<String>) -> Self {
        Self { mistakes }
    }

    /// The mistakes, each of which begins with the name of its setting.
    pub fn mistakes(&self) -> &[String] {
        &self.mistakes
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistakes.join("; "))
    }
}

impl std::error::Error for PolicyError {}
