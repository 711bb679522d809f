//! Time as a value. Nothing in Stayput asks the operating system for it except [`SystemClock`].

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// A point in time: milliseconds since the Unix epoch.
///
/// Deadlines are compared as `deadline <= now` means *over*: a session with deadline `t` is dead at `t`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The largest point in time that every store can hold (a signed 64-bit count).
    pub const MAX: Self = Self(i64::MAX as u64);

    /// A point in time from milliseconds since the Unix epoch; capped at [`Timestamp::MAX`].
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 { Self::MAX } else { Self(millis) }
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This point plus `duration`, at most [`Timestamp::MAX`].
    pub fn after(self, duration: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(millis(duration)))
    }

    /// This point minus `duration`, at least the epoch.
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// How much later this point is than `earlier`; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The next full second, for where times are written by the second.
    pub(crate) fn rounded_up(self) -> Self {
        Self::from_millis(self.0.div_ceil(1000).saturating_mul(1000))
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1000).saturating_add(duration.subsec_millis().into())
}

/// RFC 3339 in UTC, to the second, such as `2026-11-21T04:00:00Z`; at most the last one of the year 9999.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = Duration::from_secs((self.0 / 1000).min(LAST_SECOND));
        humantime::format_rfc3339_seconds(UNIX_EPOCH + seconds).fmt(f)
    }
}

/// 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// How long the machine has been running: milliseconds, its sleep included.
///
/// Nobody can set it, so that what is to last a while is measured by it. It means nothing to another machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Uptime(u64);

impl Uptime {
    /// An uptime of so many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the machine was started.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This one and `duration`.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// How much later this one is than `earlier`; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Where the time comes from: [`SystemClock`] in production, a clock that the test moves in tests.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// How long the machine has been running.
    fn uptime(&self) -> Uptime;
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock set before 1970 reads as the epoch: sessions then live longer, they are not lost.
        Timestamp::from_millis(read(ClockId::Realtime))
    }

    fn uptime(&self) -> Uptime {
        Uptime(read(SINCE_BOOT))
    }
}

/// The milliseconds that a clock shows, from its beginning on. Read several times a request.
fn read(clock: ClockId) -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    let seconds = u64::try_from(tv_sec).unwrap_or_default();
    seconds.saturating_mul(1000).saturating_add(tv_nsec.unsigned_abs() / 1_000_000)
}

/// The clock that goes on while the machine sleeps; where there is none, one that doesn't.
#[cfg(any(target_os = "linux", target_os = "android"))]
const SINCE_BOOT: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const SINCE_BOOT: ClockId = ClockId::Monotonic;

impl<C: Clock> Clock for std::sync::Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn uptime(&self) -> Uptime {
        (**self).uptime()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Timestamp::MAX.after(Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(Timestamp::default().before(Duration::MAX), Timestamp::default());
        assert_eq!(Timestamp::default().since(Timestamp::MAX), Duration::ZERO);
        assert_eq!(Timestamp::from_millis(u64::MAX), Timestamp::MAX);
    }

    #[test]
    fn times_are_written_in_utc_however_far_away() {
        assert_eq!(Timestamp::from_millis(1_800_000_000_999).to_string(), "2027-01-15T08:00:00Z");
        assert_eq!(Timestamp::default().to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59Z");
    }
}
