//! Changing a gateway while it runs.
//!
//! Every change makes a whole new site from a whole configuration, or none if there is a mistake in it: nothing is ever
//! half changed.

mod error;
mod undone;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stayput_core::{Clock, Keyring};

pub use self::error::{ChangeError, UnknownUpstream};
pub use self::undone::{Undoing, Undone};
use crate::config::{ConfigMistake, PoolConfig, SiteConfig, UpstreamConfig};
use crate::metrics::{Tallies, WorkerTally};
use crate::pool::Pool;
use crate::site::Site;
use crate::upstream::{Upstream, UpstreamStatus};
use crate::worker::Shared;

/// A gateway's controls. Clones control the same gateway.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    own: SocketAddr,
    started: Instant,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    /// What the latest site was made of. Locked for as long as a change takes, so that there is one at a time.
    latest: Mutex<Made>,
}

#[derive(Clone)]
struct Made {
    /// As at the start or by the last reload.
    base: SiteConfig,
    /// The same with what was changed since.
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
        let latest = Mutex::new(Made { base: config.clone(), config, keyring });
        Self(Arc::new(Inner { own, started: Instant::now(), shared, clock, latest }))
    }

    /// Serves by this configuration and keyring from now on. Requests in flight end as they began; upstreams that stay
    /// keep their connections, load and health, and go on draining. With hash rules and a thousand upstreams it takes a
    /// second; where names are new, as long as looking them up, three seconds at most.
    ///
    /// Upstreams that were added, changed or removed since the last reload are as this configuration says; what that
    /// undoes is the answer.
    ///
    /// # Errors
    ///
    /// All mistakes in the configuration together; then nothing has changed.
    pub fn reload(
        &self,
        config: SiteConfig,
        keyring: impl Into<Arc<Keyring>>,
    ) -> Result<Vec<Undone>, Vec<ConfigMistake>> {
        let mut latest = self.latest();
        let undone = undone::between(&latest.base, &latest.config, &config);
        self.publish(&mut latest, Made { base: config.clone(), config, keyring: keyring.into() })?;
        Ok(undone)
    }

    /// Makes and recognises affinity cookies by this keyring from now on.
    pub fn set_keyring(&self, keyring: impl Into<Arc<Keyring>>) {
        let mut latest = self.latest();
        let made = Made { keyring: keyring.into(), ..latest.clone() };
        // It was without mistakes; that an address of an upstream has moved to this machine since is no reason to keep old keys.
        let site = self.site_of(&made);
        self.install(&mut latest, made, site);
    }

    /// Adds an upstream, or changes the address and weight of the one that has this name; says whether it is new. Clients
    /// pinned to one that gets another address stay with it, and it goes on draining.
    ///
    /// # Errors
    ///
    /// There is no such pool, or the pool can't have this upstream. Then nothing has changed.
    pub fn put_upstream(&self, pool: &str, upstream: UpstreamConfig) -> Result<bool, ChangeError> {
        self.change(pool, |pool| {
            let same = pool.upstreams.iter_mut().find(|its| its.name == upstream.name);
            let is_new = same.is_none();
            match same {
                Some(its) => *its = upstream,
                None => pool.upstreams.push(upstream),
            }
            Ok(is_new)
        })
    }

    /// Gives an upstream another weight.
    ///
    /// # Errors
    ///
    /// There is no such pool or upstream, or no such weight. Then nothing has changed.
    pub fn set_weight(&self, pool: &str, upstream: &str, weight: u16) -> Result<(), ChangeError> {
        self.change(pool, |pool| {
            let unknown = error::unknown_upstream(pool, upstream);
            let its = pool.upstreams.iter_mut().find(|its| its.name == upstream).ok_or(unknown)?;
            its.weight = weight;
            Ok(())
        })
    }

    /// Takes an upstream out of its pool: its clients go to the others from now on, and requests in flight finish.
    ///
    /// # Errors
    ///
    /// There is no such pool or upstream, or it is the last one. Then nothing has changed.
    pub fn remove_upstream(&self, pool: &str, upstream: &str) -> Result<(), ChangeError> {
        self.change(pool, |pool| {
            let unknown = error::unknown_upstream(pool, upstream);
            let at = pool.upstreams.iter().position(|its| its.name == upstream).ok_or(unknown)?;
            pool.upstreams.remove(at);
            Ok(())
        })
    }

    /// Each upstream as it is now, pool by pool, in the order of the configuration.
    pub fn upstreams(&self) -> Vec<UpstreamStatus> {
        let site = self.0.shared.site.latest();
        site.pools.iter().flat_map(Pool::status).collect()
    }

    /// The configuration in force.
    pub fn config(&self) -> SiteConfig {
        self.latest().config.clone()
    }

    /// Sends no new clients to an upstream; those pinned to it stay for as long as `limit`, or as it is there. Where it is the
    /// only one left it goes on. A reload doesn't end it.
    ///
    /// # Errors
    ///
    /// There is no such pool or upstream.
    pub fn drain(&self, pool: &str, upstream: &str, limit: Option<Duration>) -> Result<(), ChangeError> {
        let now = Instant::now();
        // A limit beyond the end of time is none.
        let deadline = limit.and_then(|limit| now.checked_add(limit));
        self.upstream(pool, upstream).map(|upstream| upstream.drain(deadline))
    }

    /// Sends clients to an upstream again as ever.
    ///
    /// # Errors
    ///
    /// There is no such pool or upstream.
    pub fn stop_draining(&self, pool: &str, upstream: &str) -> Result<(), ChangeError> {
        self.upstream(pool, upstream).map(|upstream| upstream.stop_draining())
    }

    /// Where the gateway listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.own
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    pub(crate) fn site(&self) -> Arc<Site> {
        self.0.shared.site.latest()
    }

    pub(crate) fn tallies(&self) -> &Tallies<WorkerTally> {
        &self.0.shared.tallies
    }

    fn upstream(&self, pool: &str, upstream: &str) -> Result<Arc<Upstream>, ChangeError> {
        // A change of the pool that is under way would leave us with an upstream that is not there any more.
        let latest = self.latest();
        let site = self.0.shared.site.latest();
        let found = site.pools.iter().find(|its| *its.name == *pool);
        let found = found.and_then(|pool| pool.upstreams.iter().find(|its| *its.name == *upstream));
        found.map(Arc::clone).ok_or_else(|| error::unknown(&latest.config.pools, pool, upstream))
    }

    fn change<T>(
        &self,
        pool: &str,
        edit: impl FnOnce(&mut PoolConfig) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        let mut latest = self.latest();
        let mut made = latest.clone();
        let unknown = || error::unknown_pool(&latest.config.pools, pool);
        let done = edit(made.config.pools.iter_mut().find(|its| its.name == pool).ok_or_else(unknown)?)?;
        self.publish(&mut latest, made).map_err(ChangeError::Mistakes)?;
        Ok(done)
    }

    /// Puts `made` into effect, if there is no mistake in it.
    fn publish(&self, latest: &mut Made, made: Made) -> Result<(), Vec<ConfigMistake>> {
        let inner = &*self.0;
        let mistakes = made.config.mistakes(Some(inner.own));
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let site = self.site_of(&made);
        // Without a thread to ask on, the look-ups that come anyway will find out.
        if inner.shared.book.look_up_new(&site).unwrap_or(false) {
            return Err(vec![ConfigMistake::OwnAddress(inner.own)]);
        }
        self.install(latest, made, site);
        Ok(())
    }

    fn site_of(&self, made: &Made) -> Site {
        let inner = &*self.0;
        Site::new(&made.config, &made.keyring, &inner.clock, Some(&inner.shared.site.latest()))
    }

    fn install(&self, latest: &mut Made, made: Made, site: Site) {
        let published = &self.0.shared.site;
        go_on_draining(&published.latest(), &site);
        published.publish(site);
        *latest = made;
    }

    fn latest(&self) -> MutexGuard<'_, Made> {
        self.0.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An upstream that has another address now is another one, and drains all the same.
fn go_on_draining(before: &Site, site: &Site) {
    for pool in &site.pools {
        let Some(former) = before.pools.iter().find(|its| its.name == pool.name) else { continue };
        for upstream in &pool.upstreams {
            let same = former.upstreams.iter().find(|its| its.name == upstream.name && its.is_draining());
            if let Some(same) = same.filter(|same| !Arc::ptr_eq(same, upstream)) {
                upstream.drain_like(same);
            }
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("gateway", &self.0.own).finish_non_exhaustive()
    }
}
