//! An example's server as a child of its test. It never outlives the test, whatever becomes of that.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running server.
pub(crate) struct Running {
    child: Child,
    /// Where it listens.
    pub(crate) url: String,
}

impl Running {
    /// Starts `binary` on a free port, over the sessions in `directory` if there is one, and waits until it listens.
    pub(crate) fn start(binary: &str, directory: Option<&Path>) -> Self {
        let mut command = Command::new(binary);
        let child = command.arg("0").args(directory).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut running = Self { child: child.unwrap(), url: String::new() };
        let output = running.child.stdout.take().unwrap();
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let url = lines.find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
        running.url = url.expect("it says where it listens");
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
