//! Loopback ports that no other test has.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;

/// A port of the loopback address, kept from all other tests on the machine while this exists.
#[derive(Debug)]
pub(super) struct Port {
    number: u16,
    /// Locked. The file stays: who removed it could remove another's lock.
    _lock: File,
}

impl Port {
    /// Finds one.
    ///
    /// # Panics
    ///
    /// If there is none, or no file can be made in the directory for temporary ones.
    pub(super) fn reserve() -> Self {
        let dir = locks();
        let free = |number: u16| {
            let lock = File::create(dir.join(number.to_string())).expect("a lock file can be made");
            let is_free = lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok();
            is_free.then_some(Self { number, _lock: lock })
        };
        let first = fastrand::u16(PORTS);
        let mut numbers = (first..PORTS.end).chain(PORTS.start..first).filter(|number| number % 10 >= 5);
        numbers.find_map(free).expect("there is a free port")
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }
}

fn locks() -> PathBuf {
    let dir = std::env::temp_dir().join("stayput-test-ports");
    fs::create_dir_all(&dir).expect("a directory for lock files can be made");
    dir
}

/// Below the ports that the system gives to outgoing connections, which come and go between a look and a bind. Those that end
/// in 0 to 4 are for tests that hand a port to what they start, and can't hold it.
const PORTS: std::ops::Range<u16> = 12_000..30_000;
