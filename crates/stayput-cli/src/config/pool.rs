//! `[[pool]]`: the servers of an application, and how browsers are kept on theirs.

mod health;
mod several;
mod upstreams;
mod url;

use std::ops::Range;
use std::time::Duration;

use stayput_gateway::{
    AffinityConfig, CookieRule, PoolConfig, Rule, SessionFormat, SessionRule, UpstreamConfig, UrlRule,
};
use toml::Spanned;
use toml::de::DeValue;

use self::health::HealthSettings;
pub(super) use self::several::read;
use super::policy::without_prefix;
use super::reader::{Reader, Section};
use super::values;

/// What the file says of a pool. What its rules need to know of sessions is added when the gateway is started.
#[derive(Clone, Debug)]
pub(crate) struct PoolSettings {
    pub(crate) name: String,
    hosts: Vec<String>,
    paths: Vec<String>,
    pub(crate) upstreams: Vec<UpstreamConfig>,
    /// The affinity cookie's name, without prefix.
    pub(super) cookie: String,
    rules: Vec<RuleName>,
    slow_start: Duration,
    body_bytes: Option<u64>,
    health: HealthSettings,
    idle_timeout: Option<Duration>,
    absolute_timeout: Option<Duration>,
    /// `None` stands for those of the policy.
    session_cookies: Option<Vec<String>>,
    session_format: SessionFormat,
    url: UrlRule,
    header: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RuleName {
    Cookie,
    Session,
    Url,
    Header,
    Ip,
}

/// Where the settings stand that may clash with those of other pools.
pub(super) struct Places {
    name: Range<usize>,
    hosts: Range<usize>,
    pub(super) cookie: Range<usize>,
}

impl PoolSettings {
    /// A pool of all hosts and paths without a server, all else by default.
    pub(crate) fn new(affinity_cookie: &str) -> Self {
        let (pool, cookie) = (PoolConfig::new(Vec::new()), CookieRule::default());
        Self {
            name: pool.name,
            hosts: pool.hosts,
            paths: pool.paths,
            upstreams: pool.upstreams,
            cookie: affinity_cookie.to_owned(),
            rules: vec![RuleName::Cookie],
            slow_start: pool.slow_start,
            body_bytes: pool.body_bytes,
            health: HealthSettings::default(),
            idle_timeout: cookie.idle_timeout,
            absolute_timeout: cookie.absolute_timeout,
            session_cookies: None,
            session_format: SessionFormat::Stayput,
            url: UrlRule::default(),
            header: String::new(),
        }
    }

    /// The same with these servers.
    pub(crate) fn of(self, upstreams: Vec<UpstreamConfig>) -> Self {
        Self { upstreams, ..self }
    }

    /// The pool, knowing whether cookies are `secure`, and the policy's names of session cookies, prefix included.
    pub(crate) fn pool(&self, secure: bool, sessions: &[String; 2]) -> PoolConfig {
        let Self { idle_timeout, absolute_timeout, .. } = *self;
        let bare = |name: &String| if secure { name.as_str() } else { without_prefix(name) }.to_owned();
        let policys = || sessions.iter().map(bare).collect();
        let rule = |rule: &RuleName| match rule {
            RuleName::Cookie => {
                Rule::Cookie(CookieRule { name: self.cookie.clone(), secure, idle_timeout, absolute_timeout })
            }
            RuleName::Session => Rule::Session(SessionRule {
                cookies: self.session_cookies.clone().unwrap_or_else(policys),
                format: self.session_format,
            }),
            RuleName::Url => Rule::Url(self.url.clone()),
            RuleName::Header => Rule::Header(self.header.clone()),
            RuleName::Ip => Rule::Ip,
        };
        let affinity = AffinityConfig { rules: self.rules.iter().map(rule).collect() };
        let HealthSettings { health, on_return } = self.health.clone();
        PoolConfig {
            name: self.name.clone(),
            hosts: self.hosts.clone(),
            paths: self.paths.clone(),
            affinity,
            health,
            on_return,
            slow_start: self.slow_start,
            body_bytes: self.body_bytes,
            ..PoolConfig::new(self.upstreams.clone())
        }
    }

    /// Reads the pool, one of several or the only one; its affinity cookie is named after it if it is one of several.
    fn read<'i>(&mut self, reader: &mut Reader<'i>, mut section: Section<'i>, is_only: bool) -> Places {
        let pool = section.place();
        if !is_only && !section.has("name") {
            reader.mistake(pool.clone(), "each of several pools needs a `name` of its own");
        }
        let name = section.read(reader, "name", &mut self.name, values::pool_name);
        let hosts = section.read(reader, "hosts", &mut self.hosts, values::hosts);
        section.read(reader, "paths", &mut self.paths, values::paths);
        match section.take("upstreams") {
            Some(list) => self.upstreams = upstreams::read(reader, list),
            None => reader.mistake(pool.clone(), "a pool needs `upstreams`, a list of addresses"),
        }
        if let Some(list) = section.take("affinity") {
            self.rules = read_rules(reader, list);
        }
        section.read(reader, "slow_start", &mut self.slow_start, values::slow_start);
        section.read(reader, "body_bytes", &mut self.body_bytes, values::own_body_bytes);
        self.health.read(reader, &mut section);
        if !is_only {
            self.cookie = format!("{}-{}", self.cookie, self.name);
        }
        let cookie = self.read_cookie(reader, &mut section);
        self.read_session(reader, &mut section);
        let url_settings = self.settings_of(RuleName::Url, reader, &mut section);
        url::read(reader, url_settings, &mut self.url);
        self.read_header(reader, &mut section);
        section.finish(reader);
        Places { name, hosts, cookie }
    }

    /// Gives the place of the affinity cookie's name.
    fn read_cookie<'i>(&mut self, reader: &mut Reader<'i>, section: &mut Section<'i>) -> Range<usize> {
        let mut cookie = self.settings_of(RuleName::Cookie, reader, section);
        let name = cookie.read(reader, "name", &mut self.cookie, values::affinity_cookie);
        let idle = cookie.read(reader, "idle_timeout", &mut self.idle_timeout, values::pin_timeout);
        cookie.read(reader, "absolute_timeout", &mut self.absolute_timeout, values::pin_timeout);
        if let (Some(idle_timeout), Some(absolute)) = (self.idle_timeout, self.absolute_timeout)
            && idle_timeout > absolute
        {
            reader.mistake(idle, "`pool.cookie.idle_timeout` must not exceed `absolute_timeout`");
        }
        cookie.finish(reader);
        name
    }

    fn read_session<'i>(&mut self, reader: &mut Reader<'i>, section: &mut Section<'i>) {
        let mut session = self.settings_of(RuleName::Session, reader, section);
        let place = session.read(reader, "cookies", &mut self.session_cookies, values::cookie_names);
        if self.session_cookies.iter().flatten().any(|name| without_prefix(name) == self.cookie) {
            reader.mistake(place, "`pool.session.cookies` names the gateway's own affinity cookie");
        }
        session.read(reader, "format", &mut self.session_format, values::session_format);
        session.finish(reader);
    }

    fn read_header<'i>(&mut self, reader: &mut Reader<'i>, section: &mut Section<'i>) {
        let mut header = self.settings_of(RuleName::Header, reader, section);
        let is_named = header.has("name");
        let place = header.read(reader, "name", &mut self.header, |value| {
            let name = values::string(value)?;
            let fine = Rule::takes_header(&name);
            if fine { Ok(name) } else { Err("a field of the application's own, such as X-Client".to_owned()) }
        });
        if self.rules.contains(&RuleName::Header) && !is_named {
            reader.mistake(
                place,
                r#"the rule "header" needs the field's name: [pool.header] name = "X-Client""#,
            );
        }
        header.finish(reader);
    }

    /// The settings of a rule, which make no sense without it.
    fn settings_of<'i>(
        &self,
        rule: RuleName,
        reader: &mut Reader<'i>,
        section: &mut Section<'i>,
    ) -> Section<'i> {
        let (_, key) = RULES.into_iter().find(|(its, _)| *its == rule).expect("all rules are there");
        let settings = section.section(reader, key);
        if settings.is_there() && !self.rules.contains(&rule) {
            let message =
                format!(r#"[pool.{key}] is for the rule "{key}", which `pool.affinity` does not have"#);
            reader.mistake(settings.place(), message);
        }
        settings
    }
}

const RULES: [(RuleName, &str); 5] = [
    (RuleName::Cookie, "cookie"),
    (RuleName::Session, "session"),
    (RuleName::Url, "url"),
    (RuleName::Header, "header"),
    (RuleName::Ip, "ip"),
];

fn read_rules<'i>(reader: &mut Reader<'i>, list: Spanned<DeValue<'i>>) -> Vec<RuleName> {
    let place = list.span();
    let DeValue::Array(items) = list.into_inner() else {
        reader.mistake(place, r#"`pool.affinity` must be a list of rules, such as ["cookie", "ip"]"#);
        return Vec::new();
    };
    let mut rules = Vec::new();
    for item in items {
        let named = item.get_ref().as_str();
        let known = RULES.into_iter().find(|(_, name)| Some(*name) == named);
        match known {
            None => {
                reader.mistake(
                    item.span(),
                    r#"an affinity rule must be "cookie", "session", "url", "header" or "ip""#,
                );
            }
            Some((rule, name)) if rules.contains(&rule) => {
                reader.mistake(item.span(), format!(r#"the rule "{name}" stands there twice"#));
            }
            Some((_, name)) if rules.last() == Some(&RuleName::Ip) => {
                let message =
                    format!(r#"no request reaches "{name}" behind "ip", which always finds something"#);
                reader.mistake(item.span(), message);
            }
            Some((rule, _)) => rules.push(rule),
        }
    }
    rules
}
