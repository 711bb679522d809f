//! The rules of a session: how long it lives, what its cookies look like, how much it holds.
//!
//! Rules that browsers or standards reject are reported all at once by [`Policy::validate`]; nothing is corrected
//! silently.

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;

/// The rules that sessions live by. Start from a preset and change what differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A session ends after this much inactivity (OWASP ASVS 5.0, 7.3.1).
    pub idle_timeout: Duration,
    /// A session ends this long after it began, no matter what (OWASP ASVS 5.0, 7.3.2).
    pub absolute_timeout: Duration,
    /// The idle timeout of sessions without a subject.
    pub anonymous_idle_timeout: Duration,
    /// A session gets a new cookie (a new generation of the same session) when the last one is this old.
    pub renewal_interval: Duration,
    /// How long the previous generation of a session is still answered after the newest was presented, and the previous
    /// id after a login.
    pub grace: Duration,
    /// Keys whose values an anonymous session hands on to the session it logs in to.
    pub carry: Vec<String>,
    /// Most bytes that a session's values may take together, encoded.
    pub max_data: usize,
    /// The longest that a store may take for one operation.
    pub store_timeout: Duration,
    /// What the cookies look like.
    pub cookie: CookiePolicy,
}

impl Policy {
    /// A web shop or community: 30 minutes of inactivity, 12 hours at most.
    pub fn web() -> Self {
        Self {
            idle_timeout: Duration::from_mins(30),
            absolute_timeout: Duration::from_hours(12),
            anonymous_idle_timeout: Duration::from_mins(20),
            renewal_interval: Duration::from_mins(15),
            grace: Duration::from_secs(30),
            carry: Vec::new(),
            max_data: 64 * 1024,
            store_timeout: Duration::from_secs(5),
            cookie: CookiePolicy::default(),
        }
    }

    /// The one rule of expiry: the absolute deadline, or `now` plus the idle timeout, whichever comes first.
    pub fn expiry(&self, absolute: Timestamp, now: Timestamp, anonymous: bool) -> Timestamp {
        absolute.min(now.after(self.idle(anonymous)))
    }

    /// Whether a tenth of the idle timeout has passed since `expires` was set, so that a touch is worth its write.
    /// Sessions therefore end between 0.9 and 1.0 idle timeouts after their last request.
    pub fn touch_is_due(
        &self,
        expires: Timestamp,
        absolute: Timestamp,
        now: Timestamp,
        anonymous: bool,
    ) -> bool {
        let target = self.expiry(absolute, now, anonymous);
        // The last step is shorter where the absolute deadline cuts it off.
        let step = target.since(expires) >= self.idle(anonymous) / 10 || target == absolute;
        step && target > expires
    }

    /// Whether a session whose generation began at `renewed` is to be renewed: on schedule or, where its cookie is
    /// `under_former_key`, as soon as two renewals may follow each other.
    pub fn renewal_is_due(&self, renewed: Timestamp, now: Timestamp, under_former_key: bool) -> bool {
        let interval = if under_former_key { self.least_renewal_interval() } else { self.renewal_interval };
        now.since(renewed) >= interval
    }

    /// Renewals closer to each other would end the generation before the previous one while requests with it are under
    /// way.
    fn least_renewal_interval(&self) -> Duration {
        self.grace * 10
    }

    /// Checks the rules against each other and against what browsers and standards accept.
    ///
    /// # Errors
    ///
    /// All mistakes, not the first.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let mut mistakes = Vec::new();
        let mut check = |fine: bool, mistake: &str| {
            if !fine {
                mistakes.push(mistake.to_owned());
            }
        };
        check(self.idle_timeout >= Duration::from_mins(1), "idle_timeout must be at least 1 minute");
        check(
            self.anonymous_idle_timeout >= Duration::from_mins(1),
            "anonymous_idle_timeout must be at least 1 minute",
        );
        check(self.idle_timeout <= self.absolute_timeout, "idle_timeout must not exceed absolute_timeout");
        // RFC 6265bis 5.5: browsers cap a cookie's life there.
        check(
            self.absolute_timeout <= Duration::from_hours(400 * 24),
            "absolute_timeout must not exceed 400 days",
        );
        check(
            self.grace <= Duration::from_mins(5),
            "grace must not exceed 5 minutes: it is how long an old id still reads",
        );
        check(
            self.renewal_interval >= self.least_renewal_interval(),
            "renewal_interval must be at least 10 times grace",
        );
        check(self.max_data <= 16 * 1024 * 1024, "max_data must not exceed 16 MiB");
        check(!self.store_timeout.is_zero(), "store_timeout must not be zero");
        self.cookie.check(&mut check);
        if mistakes.is_empty() { Ok(()) } else { Err(PolicyError { mistakes }) }
    }

    fn idle(&self, anonymous: bool) -> Duration {
        if anonymous { self.anonymous_idle_timeout } else { self.idle_timeout }
    }
}

/// What session cookies look like: always `Secure`, `HttpOnly` and with path `/`, under the `__Host-` prefix, unless
/// [`CookiePolicy::danger_plain_http`] takes the first and the last away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookiePolicy {
    name: String,
    same_site: SameSite,
    plain_http: bool,
}

impl Default for CookiePolicy {
    fn default() -> Self {
        Self { name: "stayput".to_owned(), same_site: SameSite::Lax, plain_http: false }
    }
}

impl CookiePolicy {
    /// Changes the stem of the cookies' names, `stayput` by default: `__Host-<stem>-session` and
    /// `__Host-<stem>-anonymous`.
    pub fn name(mut self, stem: impl Into<String>) -> Self {
        self.name = stem.into();
        self
    }

    /// Changes which requests from other sites carry the cookies; [`SameSite::Lax`] by default.
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// Cookies without `Secure` and `__Host-`, which browsers keep over plain http: for development on one's own
    /// machine. Who can read or write the network can take sessions over.
    pub fn danger_plain_http(mut self) -> Self {
        self.plain_http = true;
        self
    }

    /// Name of the cookie of logged-in sessions.
    pub fn session_name(&self) -> String {
        format!("{}{}-session", self.prefix(), self.name)
    }

    /// Name of the cookie of sessions without a subject.
    pub fn anonymous_name(&self) -> String {
        format!("{}{}-anonymous", self.prefix(), self.name)
    }

    /// The attributes, as they follow a cookie's value.
    pub fn attributes(&self) -> String {
        let secure = if self.plain_http { "" } else { "; Secure" };
        format!("; Path=/; HttpOnly; SameSite={}{secure}", self.same_site)
    }

    fn prefix(&self) -> &'static str {
        if self.plain_http { "" } else { "__Host-" }
    }

    fn check(&self, check: &mut impl FnMut(bool, &str)) {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        check(
            !self.name.is_empty() && self.name.len() <= 64 && self.name.bytes().all(token),
            "cookie name must be 1 to 64 letters, digits or -._~ (RFC 6265, section 4.1.1)",
        );
        check(
            !self.name.starts_with("__"),
            "cookie name must not begin with `__`: Stayput adds the prefix itself",
        );
        check(
            !(self.plain_http && self.same_site == SameSite::None),
            "same_site = none needs https: browsers drop such a cookie without Secure",
        );
    }
}

/// Which requests from other sites carry the cookies (RFC 6265bis, section 5.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// None at all, not even a followed link.
    Strict,
    /// Followed links only.
    Lax,
    /// All of them.
    None,
}

impl fmt::Display for SameSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        })
    }
}

/// Everything that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    mistakes: Vec<String>,
}

impl PolicyError {
    /// The mistakes, each of which names its setting.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preset_is_valid() {
        Policy::web().validate().unwrap();
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let policy = Policy {
            idle_timeout: Duration::ZERO,
            absolute_timeout: Duration::from_hours(401 * 24),
            cookie: CookiePolicy::default().name("a b").same_site(SameSite::None).danger_plain_http(),
            ..Policy::web()
        };
        let error = policy.validate().unwrap_err();
        assert_eq!(error.mistakes().len(), 4, "{error}");
    }

    #[test]
    fn cookies_are_host_bound_and_secure_unless_that_is_waived() {
        let cookie = CookiePolicy::default();
        assert_eq!(cookie.session_name(), "__Host-stayput-session");
        assert_eq!(cookie.attributes(), "; Path=/; HttpOnly; SameSite=Lax; Secure");
        let plain = cookie.danger_plain_http();
        assert_eq!(plain.session_name(), "stayput-session");
        assert_eq!(plain.attributes(), "; Path=/; HttpOnly; SameSite=Lax");
    }

    #[test]
    fn a_touch_is_due_after_a_tenth_of_the_timeout_and_never_past_the_absolute_deadline() {
        let (policy, at) = (Policy::web(), |m: u64| Timestamp::from_millis(m * 60_000));
        assert!(!policy.touch_is_due(at(30), at(720), at(2), false));
        assert!(policy.touch_is_due(at(30), at(720), at(3), false));
        assert!(!policy.touch_is_due(at(720), at(720), at(719), false));
        // The last touch, which the absolute deadline cuts short, is due too.
        assert!(policy.touch_is_due(at(718), at(720), at(710), false));
    }
}
