//! What a gateway is told: addresses, upstreams, affinity, limits and time-outs.
//!
//! It reads no files: whoever starts a gateway fills these in. All mistakes are reported together.

mod address;
mod affinity;
mod health;
mod limits;
mod log;
mod mistake;
mod pool;
mod request_ids;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use stayput_core::{Clock, SystemClock};

use crate::admin::AdminConfig;
use crate::names::{Resolve, SystemResolver};

pub(crate) use self::address::leads_to;
pub use self::address::{BadAddress, UpstreamAddress};
pub use self::affinity::{AffinityConfig, CookieRule, Rule, SessionFormat, SessionRule, UrlPlace, UrlRule};
pub use self::health::{Check, CheckKind, HealthConfig, OnReturn};
pub use self::limits::{Limits, Timeouts};
pub use self::log::{AccessLog, LogFormat};
pub use self::mistake::ConfigMistake;
pub use self::pool::{PoolConfig, UpstreamConfig};
pub use self::request_ids::RequestIds;

/// Everything a gateway needs to know.
#[derive(Debug)]
pub struct Config {
    /// Where to listen. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// How many threads carry requests; 0 means one per core.
    pub workers: usize,
    /// What can be changed while the gateway runs.
    pub site: SiteConfig,
    /// Where requests are logged; `None` logs nothing.
    pub access_log: Option<AccessLog>,
    /// How the gateway is watched and changed from outside; `None` opens nothing.
    pub admin: Option<AdminConfig>,
    /// What a pin's age is told by. Default: the system's clock.
    pub clock: Arc<dyn Clock>,
    /// Who is asked for the addresses of upstreams that are given by name. Default: the system.
    pub resolver: Arc<dyn Resolve>,
}

impl Config {
    /// A gateway at `listen` in front of `upstreams`, everything else by default.
    pub fn new(listen: SocketAddr, upstreams: Vec<UpstreamConfig>) -> Self {
        Self {
            listen,
            workers: 0,
            site: SiteConfig::new(vec![PoolConfig::new(upstreams)]),
            access_log: None,
            admin: None,
            clock: Arc::new(SystemClock),
            resolver: Arc::new(SystemResolver),
        }
    }
}

/// What a gateway serves and how, as far as that can be changed while it runs.
#[derive(Clone, Debug)]
pub struct SiteConfig {
    /// The applications, each with the servers behind it; at least one.
    pub pools: Vec<PoolConfig>,
    /// Whether clients speak https to whatever stands before this gateway: upstreams are told so in
    /// `X-Forwarded-Proto`.
    pub behind_tls: bool,
    /// The networks of proxies in front whose `X-Forwarded-For` says who the client is. Nobody else's is believed.
    /// Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// Fields by which a proxy in front says who the user is: taken off unless a trusted proxy sent them, whatever their case
    /// and with dashes or underscores. Default: [`SiteConfig::IDENTITY_HEADERS`]. (`X-Forwarded-…`, `Forwarded` and
    /// `X-Real-IP` are taken off in any case.)
    pub identity_headers: Vec<String>,
    /// What becomes of `X-Request-Id`. Default: [`RequestIds::Forward`].
    pub request_ids: RequestIds,
    /// How often upstreams' names are looked up. Default: 10 s.
    pub resolve: Duration,
    /// How much of anything is allowed.
    pub limits: Limits,
    /// How long anything may take.
    pub timeouts: Timeouts,
}

impl SiteConfig {
    /// What widespread proxies that log users in tell applications by: nginx and Apache, Authelia, oauth2-proxy, Grafana's
    /// `auth.proxy`, and those that end TLS with client certificates.
    pub const IDENTITY_HEADERS: [&str; 14] = [
        "Remote-User",
        "Remote-Groups",
        "Remote-Name",
        "Remote-Email",
        "X-Remote-User",
        "X-Remote-Group",
        "X-Auth-Request-User",
        "X-Auth-Request-Email",
        "X-Auth-Request-Groups",
        "X-Auth-Request-Preferred-Username",
        "X-WebAuth-User",
        "X-SSL-Client-Verify",
        "X-SSL-Client-S-DN",
        "X-Client-Verify",
    ];

    /// These pools, everything else by default.
    pub fn new(pools: Vec<PoolConfig>) -> Self {
        Self {
            pools,
            behind_tls: false,
            trusted_proxies: Vec::new(),
            identity_headers: Self::IDENTITY_HEADERS.map(str::to_owned).into(),
            request_ids: RequestIds::default(),
            resolve: Duration::from_secs(10),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }

    /// All mistakes of a gateway that listens at `own`, if that is known; none of them stops the search for the others.
    pub fn mistakes(&self, own: Option<SocketAddr>) -> Vec<ConfigMistake> {
        let mut mistakes = Vec::new();
        if self.pools.is_empty() {
            mistakes.push(ConfigMistake::NoPool);
        }
        for pool in &self.pools {
            let mut its = Vec::new();
            pool.mistakes(own, &mut its);
            let place = |mistake| match self.pools.len() {
                1 => mistake,
                _ => ConfigMistake::InPool(pool.name.clone(), Box::new(mistake)),
            };
            mistakes.extend(its.into_iter().map(place));
        }
        pool::clashes(&self.pools, &mut mistakes);
        self.limits.mistakes(&mut mistakes);
        self.timeouts.mistakes(&mut mistakes);
        mistakes
    }
}
