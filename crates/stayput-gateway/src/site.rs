//! What the gateway serves and how: a snapshot, made whole, then swapped in.
//!
//! Nothing in it is changed once it is published, the upstreams' own state apart; who works with one works with it to
//! the end of its request.

mod local;
mod published;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use stayput_core::{Clock, Keyring};

pub(crate) use self::local::{LocalSite, LocalUpstream};
pub(crate) use self::published::Published;
use crate::affinity::{Affinity, OwnCookies};
use crate::config::{Limits, PoolConfig, RequestIds, SiteConfig, Timeouts};
use crate::directory::Directory;
use crate::head::Names;
use crate::pool::Pool;

pub(crate) struct Site {
    pub(crate) directory: Directory,
    pub(crate) pools: Vec<Pool>,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) identity_headers: Names,
    pub(crate) request_ids: RequestIds,
    /// How often names are looked up.
    pub(crate) resolve: Duration,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    /// Whether clients speak https to whatever stands before the gateway.
    pub(crate) behind_tls: bool,
}

impl Site {
    /// The site of a configuration without mistakes. What the one `before` knows of the same upstreams is taken over.
    pub(crate) fn new(
        config: &SiteConfig,
        keyring: &Keyring,
        clock: &Arc<dyn Clock>,
        before: Option<&Self>,
    ) -> Self {
        let now = Instant::now();
        let own_cookies = Arc::new(OwnCookies::of(&config.pools));
        let pool = |its: &PoolConfig| {
            let same = before.and_then(|before| before.pools.iter().find(|pool| *pool.name == its.name));
            let affinity = Affinity::new(its, keyring, clock).among(&own_cookies);
            Pool::new(its, affinity, same, now)
        };
        Self {
            directory: Directory::new(&config.pools),
            pools: config.pools.iter().map(pool).collect(),
            trusted_proxies: config.trusted_proxies.clone(),
            identity_headers: Names::new(&config.identity_headers),
            request_ids: config.request_ids,
            resolve: config.resolve,
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            behind_tls: config.behind_tls,
        }
    }
}
