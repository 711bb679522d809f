//! How a pool finds out which of its servers fail, and how many of them it can miss.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::ConfigMistake;
use super::limits::LONGEST;

/// How failing servers are found, and how many of them are taken out.
#[derive(Clone, Debug)]
pub struct HealthConfig {
    /// What is asked of every server at regular intervals. Default: `None`, nothing.
    pub check: Option<Check>,
    /// How many requests in a row a server fails before it is ejected: it breaks off before the end of an answer, answers
    /// what is no HTTP, or not in time. `None` ejects for no failure. Default: 5.
    pub failures: Option<u32>,
    /// Whether the answers 502, 503 and 504 are failures, too. Default: `false`.
    pub gateway_errors: bool,
    /// How long a server is ejected; twice as long each time in a row, up to 5 minutes or this, whichever is longer.
    /// Default: 10 s.
    pub ejection: Duration,
    /// How long a server may answer nobody while at least three requests wait for it, each of them for that long; then it is
    /// asked for a sign of life (`OPTIONS *`), and ejected if it gives none. `None` lets it hang. Default: 10 s.
    pub silence: Option<Duration>,
    /// How much of the pool's weight stays in whatever checks and failures say, in percent. One server always does. Default:
    /// 30.
    pub floor: u8,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            check: None,
            failures: Some(5),
            gateway_errors: false,
            ejection: Duration::from_secs(10),
            silence: Some(Duration::from_secs(10)),
            floor: 30,
        }
    }
}

/// What is asked of a server to learn whether it can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The question.
    pub kind: CheckKind,
    /// From the beginning of one check to that of the next; at least 10 ms. Default: 5 s.
    pub interval: Duration,
    /// For connecting and the head of the answer together. Default: 1 s.
    pub timeout: Duration,
    /// After how many checks that pass in a row a server that was failing is back. Default: 2.
    pub rise: u32,
    /// After how many checks that fail in a row a server is failing. Default: 3.
    pub fall: u32,
}

/// A question that a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckKind {
    /// Whether it can be connected to.
    Tcp,
    /// A `GET` by HTTP/1.1.
    Http {
        /// The target, such as `/health`.
        path: String,
        /// The `Host`; `None` stands for the server's address.
        host: Option<String>,
        /// The statuses that pass. Default: 200 to 399.
        statuses: RangeInclusive<u16>,
    },
}

impl Check {
    /// A check by connecting.
    pub fn tcp() -> Self {
        Self {
            kind: CheckKind::Tcp,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        }
    }

    /// A check by `GET path`.
    pub fn http(path: impl Into<String>) -> Self {
        let kind = CheckKind::Http { path: path.into(), host: None, statuses: 200..=399 };
        Self { kind, ..Self::tcp() }
    }

    fn mistakes(&self, mistakes: &mut Vec<ConfigMistake>) {
        let mut expect = |is_so: bool, text| {
            if !is_so {
                mistakes.push(ConfigMistake::Health(text));
            }
        };
        expect(self.interval >= SHORTEST_INTERVAL, "the interval of checks is under 10 ms");
        expect(!self.timeout.is_zero(), "the timeout of checks is 0");
        expect(self.interval <= LONGEST && self.timeout <= LONGEST, "checks are longer than a year");
        expect(self.rise > 0 && self.fall > 0, "the rise or the fall of checks is 0");
        if let CheckKind::Http { path, host, statuses } = &self.kind {
            let is_text = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
            expect(path.starts_with('/') && is_text(path), "the path of checks is none such as /health");
            expect(
                host.as_ref().is_none_or(|host| !host.is_empty() && is_text(host)),
                "the host of checks is none such as shop.example",
            );
            expect(
                !statuses.is_empty() && *statuses.start() >= 200 && *statuses.end() <= 599,
                "the statuses that pass a check are no range within 200 to 599",
            );
        }
    }
}

impl HealthConfig {
    pub(super) fn mistakes(&self, mistakes: &mut Vec<ConfigMistake>) {
        if let Some(check) = &self.check {
            check.mistakes(mistakes);
        }
        let mut expect = |is_so: bool, text| {
            if !is_so {
                mistakes.push(ConfigMistake::Health(text));
            }
        };
        expect(self.failures != Some(0), "servers are ejected after 0 failures");
        expect(!self.ejection.is_zero(), "servers are ejected for no time");
        expect(self.ejection <= LONGEST, "servers are ejected for more than a year");
        expect(self.silence.is_none_or(|silence| silence >= SHORTEST_SILENCE), "silence is under 1 s");
        expect(self.silence.is_none_or(|silence| silence <= LONGEST), "silence is over a year");
        expect(self.floor <= 100, "the floor of a pool is more than 100%");
    }
}

/// What becomes of a client that is pinned by cookie to a server that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnReturn {
    /// It is pinned to another server, and stays there.
    #[default]
    Stay,
    /// Another server, always the same one, serves it until its own is back.
    Back,
}

const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// Workers look every second.
const SHORTEST_SILENCE: Duration = Duration::from_secs(1);
