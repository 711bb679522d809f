//! Names of upstreams: looked up before anybody is sent there, and again and again after that.
//!
//! It decides nothing about an upstream but where it is; a name that can't be resolved any more changes nothing.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use tokio::runtime::{Builder, Runtime};
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;

use crate::config::{UpstreamAddress, leads_to};
use crate::site::Site;
use crate::upstream::{News, Upstream};

/// What addresses a name stands for: [`SystemResolver`] in production, whatever a test wants in tests.
pub trait Resolve: Send + Sync + fmt::Debug + 'static {
    /// The addresses of `host`, with this port. It may take its time: it is called on threads where nobody waits, and what
    /// comes after three seconds is no answer.
    ///
    /// # Errors
    ///
    /// The name can't be resolved, for now or for good.
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// Asks the operating system, with its files and servers of names.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        (host, port).to_socket_addrs().map(Iterator::collect)
    }
}

/// Whom to ask for names, and which address is none of an upstream.
#[derive(Clone, Debug)]
pub(crate) struct AddressBook {
    pub(crate) resolver: Arc<dyn Resolve>,
    /// The gateway's own.
    pub(crate) own: SocketAddr,
}

impl AddressBook {
    /// Looks up the names that have never been, and waits for that. Says whether one of them leads to the gateway itself.
    pub(crate) fn look_up_new(&self, site: &Site) -> io::Result<bool> {
        let is_new = |its: &&Arc<Upstream>| its.has_name() && !its.addresses.were_looked_up();
        let new: Vec<_> =
            site.pools.iter().flat_map(|pool| &pool.upstreams).filter(is_new).cloned().collect();
        if new.is_empty() {
            return Ok(false);
        }
        let (book, runtime) = (self.clone(), runtime()?);
        // Whoever changes a gateway may be on a runtime's thread, which can't run another one.
        let looks = thread::Builder::new().name("gateway-names".into()).spawn(move || {
            let leads_here = runtime.block_on(book.look_up_all(new));
            runtime.shutdown_background();
            leads_here
        })?;
        let leads_here = looks.join().unwrap_or(false);
        mark_lost(site, Instant::now());
        Ok(leads_here)
    }

    pub(crate) async fn look_up_all(self, upstreams: Vec<Arc<Upstream>>) -> bool {
        let mut looks = JoinSet::new();
        for upstream in upstreams {
            let book = self.clone();
            looks.spawn(async move { book.look_up(&upstream).await });
        }
        looks.join_all().await.contains(&true)
    }

    /// Looks up an upstream's name and notes what is found. Says whether it leads to the gateway itself.
    async fn look_up(&self, upstream: &Upstream) -> bool {
        let UpstreamAddress::Name { host, port } = &upstream.address else { return false };
        let (resolver, name, port) = (Arc::clone(&self.resolver), host.clone(), *port);
        let look = spawn_blocking(move || resolver.resolve(&name, port));
        // What has not begun in time never needs to.
        let _waits = AbortOnDrop(look.abort_handle());
        let found = match timeout(LIMIT, look).await {
            Ok(Ok(found)) => found,
            Ok(Err(panicked)) => Err(io::Error::other(panicked)),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {LIMIT:?}"))),
        };
        let leads_here = matches!(&found, Ok(all) if all.iter().any(|&at| leads_to(self.own, at)));
        let found = found.map(|mut all| {
            all.retain(|&address| !leads_to(self.own, address));
            all
        });
        let why = match &found {
            Err(error) => error.to_string(),
            Ok(_) if leads_here => "it leads to the gateway itself".to_owned(),
            Ok(_) => "it has no address".to_owned(),
        };
        tell(upstream, upstream.addresses.found(found.unwrap_or_default()), &why);
        leads_here
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A runtime for look-ups. Dropping it would wait for those that hang; it has to be shut down in the background.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(MOST_AT_A_TIME).build()
}

/// Nobody has to find out by a request that a server without an address can't be reached.
pub(crate) fn mark_lost(site: &Site, now: Instant) {
    for pool in &site.pools {
        for (index, upstream) in pool.upstreams.iter().enumerate() {
            if upstream.has_name() && upstream.addresses.all().is_empty() {
                pool.mark_down(index, now, site.timeouts.down);
            }
        }
    }
}

fn tell(upstream: &Upstream, news: News, why: &str) {
    let (name, address, all) = (&upstream.name, &upstream.address, upstream.addresses.all());
    match news {
        News::None => {}
        News::Moved => tracing::info!(upstream = %name, %address, ?all, "upstream has other addresses"),
        News::Back => {
            tracing::info!(upstream = %name, %address, ?all, "upstream's name can be resolved again");
        }
        News::Lost if all.is_empty() => {
            tracing::warn!(upstream = %name, %address, why, "upstream's name can't be resolved: it is down until it can");
        }
        News::Lost => {
            tracing::warn!(upstream = %name, %address, ?all, why, "upstream's name can't be resolved: its last addresses stay");
        }
    }
}

/// For a name; what a resolver says later is not heard.
const LIMIT: Duration = Duration::from_secs(3);
/// So many names are looked up at a time; the others wait within the same limit.
const MOST_AT_A_TIME: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UpstreamConfig;

    /// Says of any name that it is this machine, and some other one.
    #[derive(Debug)]
    struct Here;

    impl Resolve for Here {
        fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            Ok([[127, 0, 0, 2], [192, 0, 2, 1]].map(|ip| (ip, port).into()).into())
        }
    }

    #[test]
    fn of_a_name_that_leads_to_a_gateway_on_all_addresses_only_the_others_are_used() {
        let book = AddressBook { resolver: Arc::new(Here), own: ([0, 0, 0, 0], 80).into() };
        let upstream = Arc::new(Upstream::new(UpstreamConfig::new("a", "app.test:80".parse().unwrap())));
        let leads_here = runtime().unwrap().block_on(book.look_up_all(vec![Arc::clone(&upstream)]));
        assert!(leads_here);
        assert_eq!(*upstream.addresses.all(), [([192, 0, 2, 1], 80).into()]);
    }
}
