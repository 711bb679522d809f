//! How clients are kept on their server: rules, in order.

mod url;

use std::time::Duration;

pub use self::url::{UrlPlace, UrlRule};
use super::ConfigMistake;
use crate::head::{Kind, is_token};

/// The rules by which a client's upstream is found. The first one that finds something in a request decides; where none
/// does, the less loaded of two upstreams gets the client. Default: one [`Rule::Cookie`].
#[derive(Clone, Debug)]
pub struct AffinityConfig {
    /// May be empty: then no client is kept anywhere.
    pub rules: Vec<Rule>,
}

/// One way to tell where a client belongs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Rule {
    /// By a cookie of the gateway's own that names the upstream. May stand once.
    Cookie(CookieRule),
    /// By a hash of the application's session cookie.
    Session(SessionRule),
    /// By a parameter of the address that names the upstream, for clients that send no cookie. May stand once.
    Url(UrlRule),
    /// By a hash of this field's value.
    Header(String),
    /// By a hash of the client's address, of an IPv6 address its /56 prefix. It always finds something.
    Ip,
}

impl Rule {
    /// Whether [`Rule::Header`] can go by fields of this name: it is one, and for the application rather than for the
    /// gateway.
    pub fn takes_header(name: &str) -> bool {
        let kind = Kind::of(name.as_bytes());
        !name.is_empty()
            && name.bytes().all(is_token)
            && matches!(kind, Kind::Other | Kind::Host | Kind::RequestId)
    }
}

/// The cookie by which a client comes back to its upstream.
#[derive(Clone, Debug)]
pub struct CookieRule {
    /// The cookie's name without prefix. Default: `stayput-affinity`.
    pub name: String,
    /// Adds `Secure` and the prefix `__Host-`: for clients that speak https to whatever stands before this gateway.
    /// Default: `false`, because browsers drop such a cookie on plain http.
    pub secure: bool,
    /// A pin that was not used for this long is forgotten; at least 10 s. A pin's use is written down, by setting the cookie
    /// again, only when a tenth of it has passed, so it ends after 0.9 to 1.0 of it. Default: `None`, never.
    pub idle_timeout: Option<Duration>,
    /// A pin is forgotten this long after it was made, however it is used. Default: `None`, never.
    pub absolute_timeout: Option<Duration>,
}

impl Default for CookieRule {
    fn default() -> Self {
        Self { name: "stayput-affinity".into(), secure: false, idle_timeout: None, absolute_timeout: None }
    }
}

impl CookieRule {
    /// The cookie's name with its prefix.
    pub(crate) fn full_name(&self) -> String {
        let prefix = if self.secure { "__Host-" } else { "" };
        format!("{prefix}{}", self.name)
    }

    fn mistakes(&self, mistakes: &mut Vec<ConfigMistake>) {
        cookie_name(&self.name, mistakes);
        pin_timeouts([self.idle_timeout, self.absolute_timeout], mistakes);
    }
}

/// A pin's idle and absolute timeouts.
fn pin_timeouts(times: [Option<Duration>; 2], mistakes: &mut Vec<ConfigMistake>) {
    if times.into_iter().flatten().any(|time| time < SHORTEST_TIMEOUT) {
        mistakes.push(ConfigMistake::ShortPin);
    }
    if let [Some(idle), Some(absolute)] = times
        && idle > absolute
    {
        mistakes.push(ConfigMistake::IdleBeyondAbsolute);
    }
}

/// Which cookie is the session's, and what of it says whose it is.
#[derive(Clone, Debug)]
pub struct SessionRule {
    /// Names as browsers send them, prefix included. The first that a request has counts.
    pub cookies: Vec<String>,
    /// How their values are read.
    pub format: SessionFormat,
}

/// What of a session cookie's value stays the same for as long as the session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionFormat {
    /// The session id of Stayput's session cookies, so that a renewal moves nobody. Other values don't count.
    Stayput,
    /// All of it: other products' session cookies.
    Whole,
}

impl Default for AffinityConfig {
    fn default() -> Self {
        Self { rules: vec![Rule::Cookie(CookieRule::default())] }
    }
}

impl AffinityConfig {
    /// The rule for the gateway's own cookie, if there is one.
    pub fn cookie(&self) -> Option<&CookieRule> {
        self.rules.iter().find_map(|rule| if let Rule::Cookie(cookie) = rule { Some(cookie) } else { None })
    }

    /// The rule for addresses, if there is one.
    pub fn url(&self) -> Option<&UrlRule> {
        self.rules.iter().find_map(|rule| if let Rule::Url(url) = rule { Some(url) } else { None })
    }

    pub(super) fn mistakes(&self, mistakes: &mut Vec<ConfigMistake>) {
        let own = self.cookie().map(CookieRule::full_name);
        for (index, rule) in self.rules.iter().enumerate() {
            match rule {
                Rule::Cookie(cookie) => cookie.mistakes(mistakes),
                Rule::Url(url) => url.mistakes(mistakes),
                Rule::Session(session) => {
                    session.cookies.iter().for_each(|name| cookie_name(name, mistakes));
                    if session.cookies.is_empty() {
                        mistakes.push(ConfigMistake::NoSessionCookie);
                    }
                    if own.as_ref().is_some_and(|own| session.cookies.contains(own)) {
                        mistakes.push(ConfigMistake::SharedCookie);
                    }
                }
                Rule::Header(name) if !Rule::takes_header(name) => {
                    mistakes.push(ConfigMistake::Header(name.clone()));
                }
                Rule::Header(_) | Rule::Ip => {}
            }
            if index > 0 && matches!(self.rules[index - 1], Rule::Ip) {
                mistakes.push(ConfigMistake::RuleAfterIp);
            }
        }
        if self.rules.iter().filter(|rule| matches!(rule, Rule::Cookie(_))).count() > 1 {
            mistakes.push(ConfigMistake::TwoCookies);
        }
        if self.rules.iter().filter(|rule| matches!(rule, Rule::Url(_))).count() > 1 {
            mistakes.push(ConfigMistake::TwoUrls);
        }
    }
}

fn cookie_name(name: &str, mistakes: &mut Vec<ConfigMistake>) {
    if name.is_empty() || !name.bytes().all(is_token) {
        mistakes.push(ConfigMistake::CookieName(name.to_owned()));
    }
}

/// Tokens tell time by the second.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(10);
