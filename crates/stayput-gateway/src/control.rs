//! Changing a gateway while it runs.
//!
//! Every change makes a whole new site from a whole configuration, or none if there is a mistake in it: nothing is ever
//! half changed.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use stayput_core::{Clock, Keyring};

use crate::config::{ConfigMistake, SiteConfig};
use crate::pool::Pool;
use crate::site::Site;
use crate::upstream::{Upstream, UpstreamStatus};
use crate::worker::Shared;

/// A gateway's controls. Clones control the same gateway.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    own: SocketAddr,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    /// What the latest site was made of. Locked for as long as a change takes, so that there is one at a time.
    latest: Mutex<Made>,
}

struct Made {
    config: SiteConfig,
    keyring: Arc<Keyring>,
}

impl Control {
    pub(crate) fn new(
        own: SocketAddr,
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
        config: SiteConfig,
        keyring: Arc<Keyring>,
    ) -> Self {
        Self(Arc::new(Inner { own, shared, clock, latest: Mutex::new(Made { config, keyring }) }))
    }

    /// Serves by this configuration and keyring from now on. Requests in flight end as they began; upstreams that stay
    /// keep their connections, load and health. With hash rules and a thousand upstreams it takes a second.
    ///
    /// # Errors
    ///
    /// All mistakes in the configuration together; then nothing has changed.
    pub fn reload(
        &self,
        config: SiteConfig,
        keyring: impl Into<Arc<Keyring>>,
    ) -> Result<(), Vec<ConfigMistake>> {
        self.change(|made| *made = Made { config, keyring: keyring.into() })
    }

    /// Each upstream as it is now, pool by pool, in the order of the configuration.
    pub fn upstreams(&self) -> Vec<UpstreamStatus> {
        let site = self.0.shared.site.latest();
        site.pools.iter().flat_map(Pool::status).collect()
    }

    /// Sends no new clients to an upstream; those pinned to it stay for as long as `limit`, or as it is there. Where it is the
    /// only one left it goes on. A reload doesn't end it.
    ///
    /// # Errors
    ///
    /// There is no such upstream.
    pub fn drain(&self, pool: &str, upstream: &str, limit: Option<Duration>) -> Result<(), UnknownUpstream> {
        let now = Instant::now();
        // A limit beyond the end of time is none.
        let deadline = limit.and_then(|limit| now.checked_add(limit));
        self.upstream(pool, upstream).map(|upstream| upstream.drain(deadline))
    }

    /// Sends clients to an upstream again as ever.
    ///
    /// # Errors
    ///
    /// There is no such upstream.
    pub fn stop_draining(&self, pool: &str, upstream: &str) -> Result<(), UnknownUpstream> {
        self.upstream(pool, upstream).map(|upstream| upstream.stop_draining())
    }

    fn upstream(&self, pool: &str, upstream: &str) -> Result<Arc<Upstream>, UnknownUpstream> {
        let site = self.0.shared.site.latest();
        let found = site.pools.iter().find(|its| *its.name == *pool);
        let found = found.and_then(|pool| pool.upstreams.iter().find(|its| *its.name == *upstream));
        let unknown = || UnknownUpstream { pool: pool.to_owned(), upstream: upstream.to_owned() };
        found.map(Arc::clone).ok_or_else(unknown)
    }

    fn change(&self, edit: impl FnOnce(&mut Made)) -> Result<(), Vec<ConfigMistake>> {
        let inner = &*self.0;
        let mut latest = inner.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let mut made = Made { config: latest.config.clone(), keyring: Arc::clone(&latest.keyring) };
        edit(&mut made);
        let mistakes = made.config.mistakes(Some(inner.own));
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let before = inner.shared.site.latest();
        let site = Site::new(&made.config, &made.keyring, &inner.clock, Some(&before));
        inner.shared.site.publish(site);
        *latest = made;
        Ok(())
    }
}

/// A pool has no upstream of that name, or there is no such pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownUpstream {
    /// The name of the pool.
    pub pool: String,
    /// The name of the upstream.
    pub upstream: String,
}

impl fmt::Display for UnknownUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pool {:?} has no upstream {:?}", self.pool, self.upstream)
    }
}

impl std::error::Error for UnknownUpstream {}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("gateway", &self.0.own).finish_non_exhaustive()
    }
}
