//! What a gateway is told: addresses, upstreams, affinity, limits and time-outs.
//!
//! It reads no files: whoever starts a gateway fills these in. All mistakes are reported together.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use crate::head::is_token;

/// Everything a gateway needs to know.
#[derive(Debug)]
pub struct Config {
    /// Where to listen. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// How many threads carry requests; 0 means one per core.
    pub workers: usize,
    /// The servers behind the gateway, at least one.
    pub upstreams: Vec<UpstreamConfig>,
    /// How clients are kept on their server.
    pub affinity: AffinityConfig,
    /// Whether clients speak https to whatever stands before this gateway: upstreams are told so in
    /// `X-Forwarded-Proto`.
    pub behind_tls: bool,
    /// How much of anything is allowed.
    pub limits: Limits,
    /// How long anything may take.
    pub timeouts: Timeouts,
    /// Where requests are logged; `None` logs nothing.
    pub access_log: Option<AccessLog>,
}

impl Config {
    /// A gateway at `listen` in front of `upstreams`, everything else by default.
    pub fn new(listen: SocketAddr, upstreams: Vec<UpstreamConfig>) -> Self {
        Self {
            listen,
            workers: 0,
            upstreams,
            affinity: AffinityConfig::default(),
            behind_tls: false,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            access_log: None,
        }
    }

    /// All mistakes in the configuration, none of which stops the search for the others.
    pub(crate) fn mistakes(&self) -> Vec<ConfigMistake> {
        let mut mistakes = Vec::new();
        if self.upstreams.is_empty() {
            mistakes.push(ConfigMistake::NoUpstream);
        }
        for (index, upstream) in self.upstreams.iter().enumerate() {
            let earlier = &self.upstreams[..index];
            if earlier.iter().any(|other| other.name == upstream.name) {
                mistakes.push(ConfigMistake::RepeatedUpstream(upstream.name.clone()));
            }
        }
        let name = &self.affinity.cookie_name;
        if name.is_empty() || !name.bytes().all(is_token) {
            mistakes.push(ConfigMistake::CookieName(name.clone()));
        }
        self.limits.mistakes(&mut mistakes);
        mistakes
    }
}

/// A server behind the gateway.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// Its identity, unique in the gateway. It goes into the affinity cookie as a keyed tag, so that a server may change
    /// its address and keep its clients, and all gateways with the same keyring agree.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// The cookie by which a client comes back to its server.
#[derive(Clone, Debug)]
pub struct AffinityConfig {
    /// The cookie's name without prefix. Default: `stayput-affinity`.
    pub cookie_name: String,
    /// Adds `Secure` and the prefix `__Host-`: for clients that speak https to whatever stands before this gateway.
    /// Default: `false`, because browsers drop such a cookie on plain http.
    pub secure: bool,
}

impl Default for AffinityConfig {
    fn default() -> Self {
        Self { cookie_name: "stayput-affinity".into(), secure: false }
    }
}

/// How much of anything is allowed. A head may also have at most 128 fields.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections of clients per worker; one more is answered 503. Default: 10,000.
    pub connections: usize,
    /// Bytes of a head, of requests (else 431) and of answers (else 502). Default: 96 KiB, so that a cookie of 64 KB
    /// reaches the application, which can say what is wrong with it.
    pub head_bytes: usize,
    /// Bytes of data in a request's body; more is answered 413. Default: `None`, no limit.
    pub body_bytes: Option<u64>,
    /// Idle connections kept per worker to each upstream. Default: 256.
    pub idle_connections: usize,
}

impl Limits {
    fn mistakes(&self, mistakes: &mut Vec<ConfigMistake>) {
        if self.connections == 0 {
            mistakes.push(ConfigMistake::NoConnections);
        }
        if self.head_bytes < SMALLEST_HEAD {
            mistakes.push(ConfigMistake::HeadBytes(self.head_bytes));
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 10_000, head_bytes: 96 * 1024, body_bytes: None, idle_connections: 256 }
    }
}

/// How long anything may take.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// The whole head of a request, from its first byte; 408. Also the wait for a new connection's first byte, after
    /// which it is closed silently. Default: 10 s.
    pub head: Duration,
    /// The wait for the next request on a connection, after which it is closed silently. Default: 75 s.
    pub keep_alive: Duration,
    /// The time in which a body, of request or answer, must make some progress. Default: 30 s.
    pub body: Duration,
    /// A connection to an upstream; then it counts as down. Default: 1 s.
    pub connect: Duration,
    /// The head of the answer, once the request is sent; 504. Default: 60 s.
    pub answer: Duration,
    /// How long an idle connection to an upstream is used again. Default: 15 s.
    pub upstream_idle: Duration,
    /// How long an upstream that could not be reached gets no requests; a tenth of it if it refused at once. Default: 1 s.
    pub down: Duration,
    /// How long a connection is read on after its last answer, so that the client sees that answer before it sees
    /// the connection break. Default: 5 s.
    pub linger: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            body: Duration::from_secs(30),
            connect: Duration::from_secs(1),
            answer: Duration::from_mins(1),
            upstream_idle: Duration::from_secs(15),
            down: Duration::from_secs(1),
            linger: Duration::from_secs(5),
        }
    }
}

/// A line per request: time, client, method, path without query (at most 1,024 bytes), status, bytes sent to the
/// client (head included), duration, upstream, retries.
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

/// One mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigMistake {
    /// There is no upstream.
    NoUpstream,
    /// Two upstreams have this name.
    RepeatedUpstream(String),
    /// This can't be a cookie's name.
    CookieName(String),
    /// An upstream has the gateway's own address.
    OwnAddress(SocketAddr),
    /// No connection is allowed.
    NoConnections,
    /// Heads are allowed only this many bytes, which is too few for browsers.
    HeadBytes(usize),
}

impl fmt::Display for ConfigMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUpstream => f.write_str("there is no upstream"),
            Self::RepeatedUpstream(name) => write!(f, "two upstreams are named {name:?}"),
            Self::CookieName(name) => write!(f, "{name:?} is no name for a cookie"),
            Self::OwnAddress(address) => write!(f, "the upstream {address} is the gateway itself"),
            Self::NoConnections => f.write_str("the limit of connections is 0"),
            Self::HeadBytes(bytes) => {
                write!(f, "the limit of a head is {bytes} bytes, at least {SMALLEST_HEAD} are needed")
            }
        }
    }
}

const SMALLEST_HEAD: usize = 1024;
