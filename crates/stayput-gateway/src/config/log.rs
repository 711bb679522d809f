//! What the access log is told. It is written by `access_log`.

use std::fmt;
use std::io::Write;

/// A line per request: time, client, method, path without query (at most 1,024 bytes), status, bytes sent to the
/// client (head included), duration, upstream, retries, pool.
/// Never a cookie and never a query. When the output can't keep up, lines are dropped, and the log says how many.
pub struct AccessLog {
    /// What a line looks like.
    pub format: LogFormat,
    /// Where lines go, whole ones only. One thread writes, so it may block.
    pub output: Box<dyn Write + Send>,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("format", &self.format).finish_non_exhaustive()
    }
}

/// What a line of the access log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Words separated by spaces.
    Text,
    /// An object of JSON a line.
    Json,
}
