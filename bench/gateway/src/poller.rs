//! epoll, level-triggered, one number per socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::with_capacity(256) })
    }

    /// Wakes with `id` when there is something to read.
    pub(crate) fn watch_reading(&self, socket: impl AsFd, id: usize) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, data(id), epoll::EventFlags::IN)?)
    }

    /// From now on wakes only when there is room to write, or (`false`) something to read.
    pub(crate) fn watch_writing(&self, socket: impl AsFd, id: usize, writing: bool) -> io::Result<()> {
        let flags = if writing { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        Ok(epoll::modify(&self.epoll, socket, data(id), flags)?)
    }

    /// Waits, at most for `limit`; puts into `ids` what has happened.
    pub(crate) fn wait(&mut self, limit: Option<Duration>, ids: &mut Vec<usize>) -> io::Result<()> {
        self.events.clear();
        let limit = limit.map(|limit| Timespec::try_from(limit).expect("a limit of seconds"));
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), limit.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            result => _ = result?,
        }
        ids.clear();
        ids.extend(self.events.iter().map(|event| usize::try_from(event.data.u64()).expect("64 bits")));
        Ok(())
    }
}

fn data(id: usize) -> epoll::EventData {
    epoll::EventData::new_u64(id as u64)
}
