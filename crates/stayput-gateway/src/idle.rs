//! A worker's idle connections to an upstream.
//!
//! It never gives out one that is known to be dead, too old, or to hold bytes nobody asked for.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::io;

#[derive(Default)]
pub(crate) struct IdleConnections {
    /// The longest idle first.
    list: RefCell<Vec<Idle>>,
    is_closed: Cell<bool>,
}

struct Idle {
    stream: TcpStream,
    since: Instant,
}

impl IdleConnections {
    /// The connection that was used last, if there is one that has not been idle for `limit` and is good.
    pub(crate) fn take(&self, now: Instant, limit: Duration) -> Option<TcpStream> {
        let list = &mut self.list.borrow_mut();
        while let Some(idle) = list.pop() {
            if idle.is_good(now, limit) {
                return Some(idle.stream);
            }
        }
        None
    }

    /// Keeps a connection, unless there are `most` already.
    pub(crate) fn put(&self, stream: TcpStream, now: Instant, most: usize) {
        let list = &mut self.list.borrow_mut();
        if list.len() < most && !self.is_closed.get() {
            list.push(Idle { stream, since: now });
        }
    }

    /// Closes all but these.
    pub(crate) fn retain(&self, stays: impl Fn(&TcpStream) -> bool) {
        self.list.borrow_mut().retain(|idle| stays(&idle.stream));
    }

    /// Closes all that would not be given out any more.
    pub(crate) fn sweep(&self, now: Instant, limit: Duration) {
        self.list.borrow_mut().retain(|idle| idle.is_good(now, limit));
    }

    /// Closes all, and keeps none from now on.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        self.list.borrow_mut().clear();
    }
}

impl Idle {
    fn is_good(&self, now: Instant, limit: Duration) -> bool {
        now.duration_since(self.since) < limit && io::is_untouched(&self.stream)
    }
}
