//! An application: the servers behind it, and which requests are for it.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::address::leads_to;
use super::{AffinityConfig, ConfigMistake, CookieRule, HealthConfig, OnReturn, UpstreamAddress};

/// The servers of one application, and how clients are shared out among them.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// What it is called, unique among the pools: a text without control characters. Default: `default`.
    pub name: String,
    /// The hosts it serves: `shop.example`, or `*.example` for all below that one. None means any. Ports don't count.
    pub hosts: Vec<String>,
    /// What the paths begin with that it serves, as in `/shop`, which stands for itself and all that is below it. None
    /// means any. Of several pools that fit, the one with the most exact host gets the request, then the one with the
    /// longest path.
    pub paths: Vec<String>,
    /// At least one, at most 4,096. Their order means nothing.
    pub upstreams: Vec<UpstreamConfig>,
    /// How clients are kept on their server.
    pub affinity: AffinityConfig,
    /// How long an upstream that comes back takes to get its whole share of new clients again. Zero gives it at once.
    /// Default: 10 s.
    pub slow_start: Duration,
    /// Bytes of data in a request's body, in the place of [`Limits::body_bytes`](super::Limits::body_bytes); `u64::MAX` is no
    /// limit. Default: `None`, as for all pools.
    pub body_bytes: Option<u64>,
    /// How servers that fail are found and taken out.
    pub health: HealthConfig,
    /// Whether a client that is pinned by cookie comes back to its server. Default: [`OnReturn::Stay`].
    pub on_return: OnReturn,
}

impl PoolConfig {
    /// A pool of these, everything else by default.
    pub fn new(upstreams: Vec<UpstreamConfig>) -> Self {
        Self {
            name: "default".to_owned(),
            hosts: Vec::new(),
            paths: Vec::new(),
            upstreams,
            affinity: AffinityConfig::default(),
            slow_start: Duration::from_secs(10),
            body_bytes: None,
            health: HealthConfig::default(),
            on_return: OnReturn::default(),
        }
    }

    /// Whether [`hosts`](Self::hosts) may have this: a registered name or address without a port, perhaps with `*.` before it.
    pub fn takes_host(host: &str) -> bool {
        let name = host.strip_prefix("*.").unwrap_or(host);
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_ipv6 = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match is_ipv6 {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => !name.is_empty() && !name.ends_with('.') && name.bytes().all(is_name),
        }
    }

    /// Whether [`paths`](Self::paths) may have this: a slash and whatever else a path may have.
    pub fn takes_path(path: &str) -> bool {
        path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte))
    }

    pub(super) fn mistakes(&self, own: Option<SocketAddr>, mistakes: &mut Vec<ConfigMistake>) {
        if self.name.is_empty() || self.name.chars().any(char::is_control) {
            mistakes.push(ConfigMistake::PoolName(self.name.clone()));
        }
        let hosts = self.hosts.iter().filter(|host| !Self::takes_host(host));
        mistakes.extend(hosts.map(|host| ConfigMistake::Host(host.clone())));
        let paths = self.paths.iter().filter(|path| !Self::takes_path(path));
        mistakes.extend(paths.map(|path| ConfigMistake::Path(path.clone())));
        if self.upstreams.is_empty() {
            mistakes.push(ConfigMistake::NoUpstream);
        }
        if self.upstreams.len() > MOST_UPSTREAMS {
            mistakes.push(ConfigMistake::TooManyUpstreams(self.upstreams.len()));
        }
        let mut names: Vec<_> = self.upstreams.iter().map(|upstream| &upstream.name).collect();
        names.sort();
        let repeated = names.windows(2).filter(|pair| pair[0] == pair[1]);
        mistakes.extend(repeated.map(|pair| ConfigMistake::RepeatedUpstream(pair[0].clone())));
        for upstream in &self.upstreams {
            upstream.mistakes(mistakes);
        }
        let leads_here =
            |own| self.upstreams.iter().any(|its| its.address.socket().is_some_and(|at| leads_to(own, at)));
        mistakes.extend(own.filter(|&own| leads_here(own)).map(ConfigMistake::OwnAddress));
        self.affinity.mistakes(mistakes);
        self.health.mistakes(mistakes);
    }
}

/// What pools can't have in common.
pub(super) fn clashes(pools: &[PoolConfig], mistakes: &mut Vec<ConfigMistake>) {
    for (index, one) in pools.iter().enumerate() {
        for other in &pools[index + 1..] {
            let both = || (one.name.clone(), other.name.clone());
            if one.name == other.name {
                mistakes.push(ConfigMistake::RepeatedPool(one.name.clone()));
            }
            if overlap(&one.hosts, &other.hosts) && overlap(&one.paths, &other.paths) {
                let (one, other) = both();
                mistakes.push(ConfigMistake::SamePlace(one, other));
            }
            let name = |pool: &PoolConfig| pool.affinity.cookie().map(CookieRule::full_name);
            if name(one).is_some() && name(one) == name(other) && share_a_host(&one.hosts, &other.hosts) {
                let (one, other) = both();
                mistakes.push(ConfigMistake::SameAffinityCookie(one, other));
            }
        }
    }
}

/// Whether two lists of hosts or paths have one in common; an empty one stands for what no other pool claims.
fn overlap(one: &[String], other: &[String]) -> bool {
    let is_in_other = |text: &String| {
        other.iter().any(|its| its.trim_end_matches('/').eq_ignore_ascii_case(text.trim_end_matches('/')))
    };
    one.is_empty() && other.is_empty() || one.iter().any(is_in_other)
}

/// Whether a browser may come to both by one host, and then has one cookie of a name for both.
fn share_a_host(one: &[String], other: &[String]) -> bool {
    let fits = |host: &str, pattern: &str| {
        let below = pattern.strip_prefix('*').map(str::to_ascii_lowercase);
        host.eq_ignore_ascii_case(pattern)
            || below.is_some_and(|below| host.to_ascii_lowercase().ends_with(&below))
    };
    let meet = |one: &String, other: &String| fits(one, other) || fits(other, one);
    one.is_empty() || other.is_empty() || one.iter().any(|one| other.iter().any(|other| meet(one, other)))
}

/// A server behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// Its identity, unique in the pool: a text without control characters. Affinity goes by it, in the cookie as a keyed
    /// tag, so that a server may change its address and keep its clients, and all gateways agree.
    pub name: String,
    /// Where it listens.
    pub address: UpstreamAddress,
    /// How much of the load is its share, beside the others' weights; 1 to [`UpstreamConfig::MOST_WEIGHT`].
    pub weight: u16,
}

impl UpstreamConfig {
    /// The largest weight.
    pub const MOST_WEIGHT: u16 = 256;

    /// An upstream of weight 1.
    pub fn new(name: impl Into<String>, address: UpstreamAddress) -> Self {
        Self { name: name.into(), address, weight: 1 }
    }

    fn mistakes(&self, mistakes: &mut Vec<ConfigMistake>) {
        if self.name.is_empty() || self.name.chars().any(char::is_control) {
            mistakes.push(ConfigMistake::UpstreamName(self.name.clone()));
        }
        if !self.address.is_possible() {
            mistakes.push(ConfigMistake::UpstreamAddress(self.name.clone(), self.address.clone()));
        }
        if !(1..=Self::MOST_WEIGHT).contains(&self.weight) {
            mistakes.push(ConfigMistake::Weight(self.name.clone(), self.weight));
        }
    }
}

/// With more, some would have too few slots of the table for their share to be even.
pub(super) const MOST_UPSTREAMS: usize = 4096;
