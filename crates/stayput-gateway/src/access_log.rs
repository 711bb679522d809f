//! The access log: one line a request, written by a thread of its own.
//!
//! It never holds a cookie or a query, and never keeps a request waiting: what the output can't take is dropped,
//! and the log says how much that was.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::config::{AccessLog, LogFormat};

/// How many lines may wait for the writer.
const WAITING: usize = 8192;
/// How many bytes of a method or path a line holds.
const LONGEST_WORD: usize = 1024;
/// How much is written at a time.
const BATCH: usize = 64 * 1024;
/// How long lines gather after the first one. A writer that waits for each line makes every request wake it, which
/// costs a system call; in this time a worker would have to answer 800,000 requests a second to lose a line.
const GATHER: Duration = Duration::from_millis(10);

/// What a worker knows of a request it has answered.
pub(crate) struct Entry<'a> {
    /// The rewritten head, or at least its method and target.
    pub(crate) line: &'a [u8],
    pub(crate) client: IpAddr,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) started: Instant,
    pub(crate) pool: Option<Arc<str>>,
    pub(crate) upstream: Option<Arc<str>>,
    pub(crate) retries: u32,
    pub(crate) id: Option<&'a [u8]>,
}

/// The workers' end of the log.
#[derive(Clone)]
pub(crate) struct LogSender {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

/// The log's own thread. It ends when the last sender is gone.
pub(crate) fn start(log: AccessLog) -> io::Result<(LogSender, JoinHandle<()>)> {
    let (sender, receiver) = sync_channel(WAITING);
    let dropped = Arc::new(AtomicU64::new(0));
    let mut writer = LogWriter { log, lines: receiver, dropped: Arc::clone(&dropped), has_failed: false };
    let thread = thread::Builder::new().name("access-log".into()).spawn(move || writer.run())?;
    Ok((LogSender { lines: sender, dropped }, thread))
}

impl LogSender {
    pub(crate) fn record(&self, entry: &Entry<'_>) {
        if self.lines.try_send(Line::new(entry)).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// An entry that has left its worker.
struct Line {
    at: SystemTime,
    took: Duration,
    client: IpAddr,
    /// Method, path and id, with a space between them.
    request: String,
    status: u16,
    bytes: u64,
    pool: Option<Arc<str>>,
    upstream: Option<Arc<str>>,
    retries: u32,
}

impl Line {
    fn new(entry: &Entry<'_>) -> Self {
        let mut words = entry.line.split(|&byte| byte == b' ');
        let method = words.next().unwrap_or_default();
        let target = words.next().unwrap_or_default();
        let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
        Self {
            at: SystemTime::now(),
            took: entry.started.elapsed(),
            client: entry.client,
            request: [method, path, entry.id.unwrap_or(b"-")]
                .map(|word| String::from_utf8_lossy(shortened(word)))
                .join(" "),
            status: entry.status,
            bytes: entry.bytes,
            pool: entry.pool.clone(),
            upstream: entry.upstream.clone(),
            retries: entry.retries,
        }
    }

    fn write(&self, format: LogFormat, out: &mut String) {
        let [pool, upstream] = [&self.pool, &self.upstream].map(|name| name.as_deref().unwrap_or("-"));
        let Self { client, status, bytes, retries, .. } = self;
        let mut words = self.request.split(' ');
        let [method, path, id] = [(); 3].map(|()| words.next().unwrap_or("-"));
        let (time, micros) = (Rfc3339(self.at), self.took.as_micros());
        let written = match format {
            LogFormat::Text => writeln!(
                out,
                "{time} {client} {method} {path} {status} {bytes} {micros}us {upstream} {retries} {pool} {id}"
            ),
            LogFormat::Json => writeln!(
                out,
                r#"{{"time":"{time}","client":"{client}","method":{},"path":{},"status":{status},"bytes":{bytes},"micros":{micros},"pool":{},"upstream":{},"retries":{retries},"request_id":{}}}"#,
                Json(method),
                Json(path),
                Json(pool),
                Json(upstream),
                Json(id),
            ),
        };
        written.expect("a string takes all there is memory for");
    }
}

/// Enough of a method or path to know it again. Heads may be large, and thousands of lines may wait.
fn shortened(word: &[u8]) -> &[u8] {
    &word[..word.len().min(LONGEST_WORD)]
}

struct LogWriter {
    log: AccessLog,
    lines: Receiver<Line>,
    dropped: Arc<AtomicU64>,
    /// Said once, not for every batch.
    has_failed: bool,
}

impl LogWriter {
    fn run(&mut self) {
        let mut text = String::new();
        while let Ok(first) = self.lines.recv() {
            thread::sleep(GATHER);
            let mut next = Some(first);
            while let Some(line) = next {
                self.add(&line, &mut text);
                if text.len() >= BATCH {
                    self.write(&mut text);
                }
                next = self.lines.try_recv().ok();
            }
            self.add_dropped(&mut text);
            self.write(&mut text);
        }
    }

    fn write(&mut self, text: &mut String) {
        let output = &mut self.log.output;
        let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
        if let Err(error) = written
            && !std::mem::replace(&mut self.has_failed, true)
        {
            tracing::error!(%error, "the access log can't be written");
        }
        text.clear();
    }

    fn add(&self, line: &Line, text: &mut String) {
        line.write(self.log.format, text);
    }

    fn add_dropped(&self, text: &mut String) {
        let dropped = self.dropped.swap(0, Relaxed);
        if dropped > 0 {
            let written = match self.log.format {
                LogFormat::Text => writeln!(text, "# {dropped} lines dropped"),
                LogFormat::Json => writeln!(text, r#"{{"dropped_lines":{dropped}}}"#),
            };
            written.expect("a string takes all there is memory for");
        }
    }
}

/// A string of JSON.
struct Json<'a>(&'a str);

impl std::fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// A moment as RFC 3339 writes it, in UTC, to the millisecond.
struct Rfc3339(SystemTime);

impl std::fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second, milli) =
            (second / 3600, second / 60 % 60, second % 60, since.subsec_millis());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let line = b"GET /a\"b?token=secret HTTP/1.1\r\nCookie: secret\r\n\r\n";
        let entry = Entry {
            line,
            client: [127, 0, 0, 1].into(),
            status: 200,
            bytes: 345,
            started: Instant::now(),
            pool: Some("shop".into()),
            upstream: Some("a".into()),
            retries: 1,
            id: Some(b"c0ffee"),
        };
        let at = UNIX_EPOCH + Duration::from_millis(1_709_210_096_007);
        Line { at, took: Duration::from_micros(89), ..Line::new(&entry) }
    }

    #[test]
    fn a_line_says_what_was_done_and_holds_no_query() {
        let mut text = String::new();
        line().write(LogFormat::Text, &mut text);
        assert_eq!(text, "2024-02-29T12:34:56.007Z 127.0.0.1 GET /a\"b 200 345 89us a 1 shop c0ffee\n");
        text.clear();
        line().write(LogFormat::Json, &mut text);
        assert_eq!(
            text,
            concat!(
                r#"{"time":"2024-02-29T12:34:56.007Z","client":"127.0.0.1","method":"GET","path":"/a\"b","#,
                r#""status":200,"bytes":345,"micros":89,"pool":"shop","upstream":"a","retries":1,"request_id":"c0ffee"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn lines_that_wait_take_little_memory_whatever_a_client_sends() {
        let request = format!("{0} /{0}?token=secret HTTP/1.1", "x".repeat(90_000));
        let entry = Entry {
            line: request.as_bytes(),
            client: [127, 0, 0, 1].into(),
            status: 404,
            bytes: 0,
            started: Instant::now(),
            pool: None,
            upstream: None,
            retries: 0,
            id: None,
        };
        assert!(Line::new(&entry).request.len() < 4096);
    }

    #[test]
    fn dropped_lines_are_counted_and_said() {
        let (sender, receiver) = sync_channel(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let sender = LogSender { lines: sender, dropped: Arc::clone(&dropped) };
        let started = Instant::now();
        for _ in 0..3 {
            sender.record(&Entry {
                line: b"- -",
                client: [127, 0, 0, 1].into(),
                status: 400,
                bytes: 0,
                started,
                pool: None,
                upstream: None,
                retries: 0,
                id: None,
            });
        }
        let log = AccessLog { format: LogFormat::Text, output: Box::new(io::sink()) };
        let writer = LogWriter { log, lines: receiver, dropped, has_failed: false };
        let mut text = String::new();
        writer.add_dropped(&mut text);
        assert_eq!(text, "# 2 lines dropped\n");
    }
}
