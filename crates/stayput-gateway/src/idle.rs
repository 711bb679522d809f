//! A worker's idle connections to the upstreams.
//!
//! It never gives out one that is known to be dead, too old, or to hold bytes nobody asked for.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::io;

pub(crate) struct IdleConnections {
    /// By upstream; the longest idle first.
    lists: RefCell<Vec<Vec<Idle>>>,
    /// How many to keep for each upstream.
    most: usize,
    /// How long one stays usable.
    limit: Duration,
}

struct Idle {
    stream: TcpStream,
    since: Instant,
}

impl IdleConnections {
    pub(crate) fn new(upstreams: usize, most: usize, limit: Duration) -> Self {
        let lists = std::iter::repeat_with(Vec::new).take(upstreams).collect();
        Self { lists: RefCell::new(lists), most, limit }
    }

    /// The connection that was used last, if there is a good one.
    pub(crate) fn take(&self, upstream: usize, now: Instant) -> Option<TcpStream> {
        let list = &mut self.lists.borrow_mut()[upstream];
        while let Some(idle) = list.pop() {
            if idle.is_good(now, self.limit) {
                return Some(idle.stream);
            }
        }
        None
    }

    pub(crate) fn put(&self, upstream: usize, stream: TcpStream, now: Instant) {
        let list = &mut self.lists.borrow_mut()[upstream];
        if list.len() < self.most {
            list.push(Idle { stream, since: now });
        }
    }

    /// Closes all that would not be given out any more.
    pub(crate) fn sweep(&self, now: Instant) {
        for list in self.lists.borrow_mut().iter_mut() {
            list.retain(|idle| idle.is_good(now, self.limit));
        }
    }
}

impl Idle {
    fn is_good(&self, now: Instant, limit: Duration) -> bool {
        now.duration_since(self.since) < limit && io::is_untouched(&self.stream)
    }
}
