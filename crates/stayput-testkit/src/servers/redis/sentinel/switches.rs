//! When a service got another master, as its sentinels tell it.

use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::servers::redis::Reply;
use crate::servers::redis::admin::Admin;

/// A sentinel told of another master.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Switch {
    /// When it was heard.
    pub at: Instant,
    /// The port of the master from then on.
    pub master: u16,
}

/// What all sentinels tell of other masters (`+switch-master`), in the order in which it is heard.
#[derive(Debug)]
pub struct Switches {
    heard: Receiver<Switch>,
    streams: Vec<UnixStream>,
}

impl Switches {
    pub(super) fn of(sentinels: impl Iterator<Item = Admin>) -> Self {
        let (sender, heard) = channel();
        let streams = sentinels.map(|sentinel| listen(sentinel, sender.clone())).collect();
        Self { heard, streams }
    }

    /// The next one; `None` if none comes within `limit`.
    pub fn next(&self, limit: Duration) -> Option<Switch> {
        self.heard.recv_timeout(limit).ok()
    }
}

impl Drop for Switches {
    /// Ends the threads that listen.
    fn drop(&mut self) {
        for stream in &self.streams {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn listen(mut sentinel: Admin, heard: Sender<Switch>) -> UnixStream {
    sentinel.run(&["SUBSCRIBE", "+switch-master"]).expect("a sentinel lets everybody listen");
    let stream = sentinel.wait_for_ever().expect("a connection can be shared");
    thread::spawn(move || {
        while let Ok(message) = sentinel.reply() {
            if let Some(master) = master_in(&message)
                && heard.send(Switch { at: Instant::now(), master }).is_err()
            {
                break;
            }
        }
    });
    stream
}

/// The last of: service, old address and port, new address and port.
fn master_in(message: &Reply) -> Option<u16> {
    let Reply::Array(parts) = message else { return None };
    let Reply::Bytes(text) = parts.get(2)? else { return None };
    String::from_utf8_lossy(text).split_whitespace().last()?.parse().ok()
}
