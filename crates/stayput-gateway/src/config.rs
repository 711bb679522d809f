//! What a gateway is told: addresses, upstreams, affinity, limits and time-outs.
//!
//! It reads no files: whoever starts a gateway fills these in. All mistakes are reported together.

mod affinity;
mod limits;
mod log;
mod mistake;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use stayput_core::{Clock, SystemClock};

pub use self::affinity::{AffinityConfig, CookieRule, Rule, SessionFormat, SessionRule};
pub use self::limits::{Limits, Timeouts};
pub use self::log::{AccessLog, LogFormat};
pub use self::mistake::ConfigMistake;

/// Everything a gateway needs to know.
#[derive(Debug)]
pub struct Config {
    /// Where to listen. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// How many threads carry requests; 0 means one per core.
    pub workers: usize,
    /// The servers behind the gateway.
    pub pool: PoolConfig,
    /// Whether clients speak https to whatever stands before this gateway: upstreams are told so in
    /// `X-Forwarded-Proto`.
    pub behind_tls: bool,
    /// The networks of proxies in front whose `X-Forwarded-For` says who the client is. Nobody else's is believed.
    /// Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// How much of anything is allowed.
    pub limits: Limits,
    /// How long anything may take.
    pub timeouts: Timeouts,
    /// Where requests are logged; `None` logs nothing.
    pub access_log: Option<AccessLog>,
    /// What a pin's age is told by. Default: the system's clock.
    pub clock: Arc<dyn Clock>,
}

impl Config {
    /// A gateway at `listen` in front of `upstreams`, everything else by default.
    pub fn new(listen: SocketAddr, upstreams: Vec<UpstreamConfig>) -> Self {
        Self {
            listen,
            workers: 0,
            pool: PoolConfig::new(upstreams),
            behind_tls: false,
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            access_log: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// All mistakes in the configuration, none of which stops the search for the others.
    pub(crate) fn mistakes(&self) -> Vec<ConfigMistake> {
        let mut mistakes = Vec::new();
        self.pool.mistakes(&mut mistakes);
        self.limits.mistakes(&mut mistakes);
        mistakes
    }
}

/// The servers of one application, and how clients are shared out among them.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// At least one, at most 4,096. Their order means nothing.
    pub upstreams: Vec<UpstreamConfig>,
    /// How clients are kept on their server.
    pub affinity: AffinityConfig,
    /// How long an upstream that comes back takes to get its whole share of new clients again. Zero gives it at once.
    /// Default: 10 s.
    pub slow_start: Duration,
}

impl PoolConfig {
    /// A pool of these, everything else by default.
    pub fn new(upstreams: Vec<UpstreamConfig>) -> Self {
        Self { upstreams, affinity: AffinityConfig::default(), slow_start: Duration::from_secs(10) }
    }

    fn mistakes(&self, mistakes: &mut Vec<ConfigMistake>) {
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
        self.affinity.mistakes(mistakes);
    }
}

/// A server behind the gateway.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// Its identity, unique in the pool: a text without control characters. Affinity goes by it, in the cookie as a keyed
    /// tag, so that a server may change its address and keep its clients, and all gateways agree.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// How much of the load is its share, beside the others' weights; 1 to [`UpstreamConfig::MOST_WEIGHT`].
    pub weight: u16,
}

impl UpstreamConfig {
    /// The largest weight.
    pub const MOST_WEIGHT: u16 = 256;

    /// An upstream of weight 1.
    pub fn new(name: impl Into<String>, address: SocketAddr) -> Self {
        Self { name: name.into(), address, weight: 1 }
    }

    fn mistakes(&self, mistakes: &mut Vec<ConfigMistake>) {
        if self.name.is_empty() || self.name.chars().any(char::is_control) {
            mistakes.push(ConfigMistake::UpstreamName(self.name.clone()));
        }
        if !(1..=Self::MOST_WEIGHT).contains(&self.weight) {
            mistakes.push(ConfigMistake::Weight(self.name.clone(), self.weight));
        }
    }
}

/// With more, some would have too few slots of the table for their share to be even.
const MOST_UPSTREAMS: usize = 4096;
