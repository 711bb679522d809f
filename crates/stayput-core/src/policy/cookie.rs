//! What session cookies look like. Combinations that browsers would drop are mistakes, never sent.

use std::fmt;
use std::time::Duration;

/// What session cookies look like: always `Secure` and `HttpOnly`, with path `/` under the `__Host-` prefix, gone with
/// the browser. What weakens that has `danger` in its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookiePolicy {
    name: String,
    same_site: SameSite,
    prefix: Prefix,
    domain: Option<String>,
    path: String,
    partitioned: bool,
    persistent: bool,
    clears_all: bool,
}

/// What a browser holds a cookie to by its name (RFC 6265bis, 4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefix {
    /// Set by this very host, over https, for all of its paths.
    Host,
    /// Set over https.
    Secure,
    /// Nothing: plain http.
    None,
}

impl Default for CookiePolicy {
    fn default() -> Self {
        Self {
            name: "stayput".to_owned(),
            same_site: SameSite::Lax,
            prefix: Prefix::Host,
            domain: None,
            path: "/".to_owned(),
            partitioned: false,
            persistent: false,
            clears_all: false,
        }
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

    /// Keeps the cookies of each site that embeds the application apart (CHIPS): for what runs in other sites' frames,
    /// together with [`SameSite::None`].
    pub fn partitioned(mut self) -> Self {
        self.partitioned = true;
        self
    }

    /// Lets the cookies outlive the browser, until the session's absolute deadline. Those of sessions whose user asked to
    /// be remembered do so anyway.
    pub fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// Has logout clear all cookies of the registered domain (`Clear-Site-Data: "cookies"`), not only Stayput's.
    pub fn clear_all_at_logout(mut self) -> Self {
        self.clears_all = true;
        self
    }

    /// Shares the cookies with all hosts under `domain`, instead of with this host only. Needs
    /// [`CookiePolicy::danger_without_host_prefix`].
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Limits the cookies to paths under `path`. This keeps them apart from the host's other applications, not safe from
    /// them. Needs [`CookiePolicy::danger_without_host_prefix`].
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Acknowledges that whoever runs a page on a sibling domain can plant a session in the browsers of this one: cookies
    /// get the prefix `__Secure-` instead of `__Host-`, as a domain or a path needs (OWASP ASVS 5.0, 3.3.3).
    pub fn danger_without_host_prefix(mut self) -> Self {
        self.prefix = Prefix::Secure;
        self
    }

    /// Cookies without `Secure` and prefix, which browsers keep over plain http: for development on one's own machine. Who
    /// can read or write the network can take sessions over.
    pub fn danger_plain_http(mut self) -> Self {
        self.prefix = Prefix::None;
        self
    }

    /// What the names of all cookies begin with.
    pub fn stem(&self) -> String {
        [self.prefix(), &self.name].concat()
    }

    /// Name of the cookie of logged-in sessions.
    pub fn session_name(&self) -> String {
        self.stem() + "-session"
    }

    /// Name of the cookie of sessions without a subject.
    pub fn anonymous_name(&self) -> String {
        self.stem() + "-anonymous"
    }

    /// Name of the cookie that a login over another session leaves beside its session cookie.
    pub fn spare_name(&self) -> String {
        self.stem() + "-spare"
    }

    /// Name of the cookie that says which version of its session a client has seen. What is in it is no secret.
    pub fn version_name(&self) -> String {
        self.stem() + "-version"
    }

    /// Name of the cookie that carries a session over an outage of the store.
    pub fn lifeboat_name(&self) -> String {
        self.stem() + "-lifeboat"
    }

    /// The attributes, as they follow a cookie's value; all but how long it lives.
    pub fn attributes(&self) -> String {
        let domain = self.domain.as_ref().map_or_else(String::new, |domain| format!("; Domain={domain}"));
        let secure = if self.is_secure() { "; Secure" } else { "" };
        let partitioned = if self.partitioned { "; Partitioned" } else { "" };
        format!("{domain}; Path={}; HttpOnly; SameSite={}{secure}{partitioned}", self.path, self.same_site)
    }

    /// The attribute for a cookie that lives as long as its session: in `left` from now, at most.
    pub fn max_age(left: Duration) -> String {
        // A cookie that ends a moment after its session does no harm; the other way round would. Browsers cap it at 400
        // days (RFC 6265bis, 5.5).
        format!("; Max-Age={}", (left.as_secs() + 1).min(400 * 24 * 3600))
    }

    /// Which requests from other sites carry the cookies.
    pub fn chosen_same_site(&self) -> SameSite {
        self.same_site
    }

    /// Whether all cookies outlive the browser.
    pub fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// Whether logout clears the cookies of the whole registered domain.
    pub fn clears_all(&self) -> bool {
        self.clears_all
    }

    fn is_secure(&self) -> bool {
        self.prefix != Prefix::None
    }

    fn prefix(&self) -> &'static str {
        match self.prefix {
            Prefix::Host => "__Host-",
            Prefix::Secure => "__Secure-",
            Prefix::None => "",
        }
    }

    pub(super) fn check(&self, check: &mut impl FnMut(bool, &str)) {
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
            self.is_secure() || self.same_site != SameSite::None,
            "same_site = none needs https: browsers drop such a cookie without Secure",
        );
        check(
            self.is_secure() || !self.partitioned,
            "cookie partitioned needs https: browsers drop such a cookie without Secure",
        );
        let is_whole_host = self.domain.is_none() && self.path == "/";
        check(
            self.prefix != Prefix::Host || is_whole_host,
            "cookie domain and path rule the prefix __Host- out, so that sibling domains can plant sessions; \
             acknowledge that by danger_without_host_prefix, or leave both away",
        );
        check(
            self.domain.as_deref().is_none_or(is_domain),
            "cookie domain must be a name such as example.org, with a dot inside and none in front (RFC 6265, 4.1.2.3)",
        );
        check(
            is_path(&self.path),
            "cookie path must begin with / and hold no ; or control character, in at most 1024 bytes \
             (RFC 6265bis, 5.6)",
        );
    }
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        let is_inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_address = domain.parse::<std::net::IpAddr>().is_ok();
    domain.len() <= 253 && domain.contains('.') && !is_address && domain.split('.').all(is_label)
}

fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= 1024
        && path.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b';')
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
