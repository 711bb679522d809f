//! The site as one worker has it: with the connections that it keeps for itself.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::Site;
use crate::idle::IdleConnections;
use crate::metrics::UpstreamTally;
use crate::pool::Pool;
use crate::upstream::Upstream;

pub(crate) struct LocalSite {
    pub(crate) generation: u64,
    pub(crate) shared: Arc<Site>,
    /// By pool and by upstream.
    upstreams: Vec<Vec<Rc<LocalUpstream>>>,
}

/// One cache line: where there are a thousand upstreams, each request meets one that no cache has at hand.
#[repr(align(64))]
pub(crate) struct LocalUpstream {
    shared: Arc<Upstream>,
    idle: IdleConnections,
    /// The generation of addresses that the idle connections lead to.
    addresses: Cell<u64>,
    pub(crate) tally: Arc<UpstreamTally>,
}

impl LocalUpstream {
    fn new(shared: &Arc<Upstream>) -> Self {
        Self {
            shared: Arc::clone(shared),
            idle: IdleConnections::default(),
            addresses: Cell::new(shared.addresses.generation()),
            tally: shared.tallies.join(),
        }
    }

    /// An idle connection that is good, and leads to where the upstream is now.
    pub(crate) fn take(&self, now: Instant, limit: Duration) -> Option<TcpStream> {
        self.follow();
        self.idle.take(now, limit)
    }

    /// Keeps a connection that was made, or taken, when the addresses were of this generation; unless there are `most`
    /// already, or it leads to where the upstream no longer is.
    pub(crate) fn put(&self, stream: TcpStream, addresses: u64, now: Instant, most: usize) {
        let generation = self.shared.addresses.generation();
        if generation == addresses || leads_to(&stream, &self.shared.addresses.all()) {
            self.idle.put(stream, now, most);
        }
    }

    /// Closes idle connections to addresses that are gone.
    fn follow(&self) {
        let generation = self.shared.addresses.generation();
        if self.addresses.replace(generation) != generation {
            let all = self.shared.addresses.all();
            self.idle.retain(|stream| leads_to(stream, &all));
        }
    }
}

impl LocalSite {
    pub(crate) fn new(generation: u64, shared: Arc<Site>) -> Self {
        let all = |pool: &Pool| pool.upstreams.iter().map(|its| Rc::new(LocalUpstream::new(its))).collect();
        Self { generation, upstreams: shared.pools.iter().map(all).collect(), shared }
    }

    /// The worker's part of a later site. Connections to upstreams that are gone are closed once they are idle.
    pub(crate) fn succeeded_by(&self, generation: u64, shared: Arc<Site>) -> Self {
        let own = self.upstreams.iter().flatten();
        let mut own: HashMap<_, _> = own.map(|its| (Arc::as_ptr(&its.shared), its)).collect();
        let upstreams = shared.pools.iter().map(|pool| {
            let local = |its: &Arc<Upstream>| match own.remove(&Arc::as_ptr(its)) {
                Some(own) => Rc::clone(own),
                None => Rc::new(LocalUpstream::new(its)),
            };
            pool.upstreams.iter().map(local).collect()
        });
        let upstreams = upstreams.collect();
        for gone in own.values() {
            gone.idle.close();
        }
        Self { generation, shared, upstreams }
    }

    pub(crate) fn upstream(&self, pool: usize, index: usize) -> &LocalUpstream {
        &self.upstreams[pool][index]
    }

    /// Closes connections that would not be used any more.
    pub(crate) fn sweep(&self, now: Instant) {
        let limit = self.shared.timeouts.upstream_idle;
        for upstream in self.upstreams.iter().flatten() {
            upstream.follow();
            upstream.idle.sweep(now, limit);
        }
    }
}

fn leads_to(stream: &TcpStream, addresses: &[SocketAddr]) -> bool {
    stream.peer_addr().is_ok_and(|peer| addresses.contains(&peer))
}
