//! Which server, and how it is talked to: what a URL says, and what only a builder can.
//!
//! A URL may hold a password; nothing here prints it.

mod cluster;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

use super::sentinel::{self, Host, Service};

pub(super) use self::cluster::Endpoint;

/// A Redis server, and how it is talked to.
///
/// | URL | server |
/// |---|---|
/// | `redis://USER:PASSWORD@HOST:PORT/DATABASE` | over TCP; all but the host may be left out |
/// | `rediss://…` | the same under TLS |
/// | `redis+unix:///PATH` | through a Unix socket |
/// | `redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DATABASE` | the master of a service, as its sentinels name it; whoever it is after a failover |
/// | `rediss+sentinel://…` | the same under TLS, to the sentinels too |
/// | `redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT` | a cluster, of which these are some nodes: the others are found by them |
/// | `rediss+cluster://…` | the same under TLS |
///
/// Behind a `?` there may be `prefix=` (what the names of all keys begin with; `stayput:` by default), `ca=` (a file with the
/// certificates of the authorities to trust, instead of the system's), and for a Unix socket `user=`, `password=` and `db=`.
/// With sentinels, user and password are those of the servers; `sentinel_user=` and `sentinel_password=` are the sentinels'
/// own, and their port is 26379 by default. For `wait_replicas=` and `wait_for=writes` see
/// [`wait_replicas`](Self::wait_replicas) and [`wait_for_writes`](Self::wait_for_writes).
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    pub(super) address: Address,
    pub(super) tls: Option<Trust>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: u32,
    pub(super) prefix: String,
    pub(super) timeout: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) in_flight: usize,
    pub(super) wait_replicas: u32,
    pub(super) waits_for_writes: bool,
}

/// Where the server listens.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Address {
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
    /// Its sentinels say where.
    Service(Service),
    /// Some nodes, in the order in which they are tried.
    Cluster(Vec<Endpoint>),
}

/// Whose certificates are trusted.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Trust {
    System,
    Authorities(PathBuf),
}

impl RedisConfig {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            tls: None,
            user: None,
            password: None,
            database: 0,
            prefix: "stayput:".to_owned(),
            timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(2),
            in_flight: 1024,
            wait_replicas: 0,
            waits_for_writes: false,
        }
    }

    /// What the names of all keys begin with, so that several applications can share a server.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long a call of the store may take; a second by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long making a connection may take; two seconds by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How many calls may be under way at a time; 1,024 by default. One more is refused as
    /// [`Overloaded`](stayput_core::StoreErrorKind::Overloaded). In a cluster no node gets more than half of them.
    pub fn in_flight(mut self, most: usize) -> Self {
        self.in_flight = most;
        self
    }

    /// How many replicas must have a login, a rotation or a removal before it is acknowledged; none by default.
    ///
    /// Redis replicates after it has answered. Without this, a failover may bring back what was done in the moment before:
    /// a session that was logged out, or the id from before a login. With it, whoever asked for such a thing is told
    /// [`OutcomeUnknown`](stayput_core::StoreErrorKind::OutcomeUnknown) unless so many replicas have it in a quarter of
    /// [`timeout`](Self::timeout); it is done, but not yet safe. Loads and touches never wait.
    pub fn wait_replicas(mut self, count: u32) -> Self {
        self.wait_replicas = count;
        self
    }

    /// Has every other write wait for the replicas, too, but for touches. When there are too few of them, sessions can then
    /// be read, and not written.
    pub fn wait_for_writes(mut self) -> Self {
        self.waits_for_writes = true;
        self
    }

    /// The same for one server.
    pub(super) fn at(&self, host: &Host) -> Self {
        Self { address: Address::Tcp { host: host.name.clone(), port: host.port }, ..self.clone() }
    }

    fn take_query(&mut self, url: &Url) -> Result<(), RedisUrlError> {
        let is_socket = matches!(self.address, Address::Unix(_));
        for (name, value) in url.query_pairs() {
            match (&*name, value.into_owned()) {
                ("prefix", prefix) => self.prefix = prefix,
                ("ca", file) if self.tls.is_some() => self.tls = Some(Trust::Authorities(file.into())),
                ("user", user) if is_socket => self.user = Some(user),
                ("password", password) if is_socket => self.password = Some(password),
                ("db", number) if is_socket => self.database = database(&number)?,
                ("wait_replicas", number) => {
                    self.wait_replicas = number.parse().map_err(|_| RedisUrlError::Replicas)?;
                }
                ("wait_for", what) if what == "writes" => self.waits_for_writes = true,
                (name @ ("sentinel_user" | "sentinel_password"), value) => match &mut self.address {
                    Address::Service(service) if name == "sentinel_user" => service.user = Some(value),
                    Address::Service(service) => service.password = Some(value),
                    _ => return Err(RedisUrlError::UnknownOption(name.to_owned())),
                },
                _ => return Err(RedisUrlError::UnknownOption(name.into_owned())),
            }
        }
        Ok(())
    }
}

impl FromStr for RedisConfig {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, RedisUrlError> {
        if text.starts_with("redis+sentinel:") || text.starts_with("rediss+sentinel:") {
            let (url, mut config) = sentinel::parse(text)?;
            config.take_query(&url)?;
            return Ok(config);
        }
        for (several, one) in [("redis+cluster://", "redis"), ("rediss+cluster://", "rediss")] {
            if let Some(rest) = text.strip_prefix(several) {
                return cluster::over_cluster(one, rest);
            }
        }
        let url = Url::parse(text).map_err(|_| RedisUrlError::Malformed)?;
        let mut config = match url.scheme() {
            "redis" | "rediss" => over_tcp(&url)?,
            "redis+unix" => Self::new(Address::Unix(decoded(url.path())?.into())),
            _ => return Err(RedisUrlError::Malformed),
        };
        if matches!(&config.address, Address::Unix(path) if !path.is_absolute()) {
            return Err(RedisUrlError::NoSocket);
        }
        config.take_query(&url)?;
        Ok(config)
    }
}

fn over_tcp(url: &Url) -> Result<RedisConfig, RedisUrlError> {
    let address = Address::Tcp { host: host_of(url)?, port: url.port().unwrap_or(6379) };
    let mut config = RedisConfig::new(address);
    config.tls = (url.scheme() == "rediss").then_some(Trust::System);
    logins(&mut config, url)?;
    match url.path().trim_start_matches('/') {
        "" => {}
        number => config.database = database(number)?,
    }
    Ok(config)
}

pub(super) fn host_of(url: &Url) -> Result<String, RedisUrlError> {
    match url.host() {
        Some(url::Host::Ipv6(address)) => Ok(address.to_string()),
        Some(url::Host::Ipv4(address)) => Ok(address.to_string()),
        Some(url::Host::Domain(name)) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(RedisUrlError::NoHost),
    }
}

pub(super) fn logins(config: &mut RedisConfig, url: &Url) -> Result<(), RedisUrlError> {
    config.user = Some(decoded(url.username())?).filter(|user| !user.is_empty());
    config.password = url.password().map(decoded).transpose()?;
    Ok(())
}

pub(super) fn database(text: &str) -> Result<u32, RedisUrlError> {
    text.parse().map_err(|_| RedisUrlError::Database)
}

pub(super) fn decoded(text: &str) -> Result<String, RedisUrlError> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| RedisUrlError::Malformed)?;
    Ok(text.into_owned())
}

/// As a URL, without user and password.
impl fmt::Display for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp { host, port } => {
                let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "{scheme}://{open}{host}{close}:{port}/{}", self.database)
            }
            Address::Cluster(seeds) => {
                let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
                let seeds: Vec<_> = seeds.iter().map(ToString::to_string).collect();
                write!(f, "{scheme}+cluster://{}", seeds.join(","))
            }
            Address::Unix(path) => write!(f, "redis+unix://{}?db={}", path.display(), self.database),
            Address::Service(service) => {
                let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
                write!(f, "{scheme}+sentinel://{service}/{}", self.database)
            }
        }
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisConfig({self})")
    }
}

/// Why a text is no URL of a Redis server. Never quotes more than the name of an option: a URL may hold a password.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RedisUrlError {
    /// It is no URL, or holds characters that must be percent-encoded.
    Malformed,
    /// There is no host.
    NoHost,
    /// `redis+unix:` without an absolute path.
    NoSocket,
    /// The database is no number.
    Database,
    /// `redis+sentinel:` without the name of a service.
    NoService,
    /// `wait_replicas` is no number.
    Replicas,
    /// A database in a cluster, which has none but the first.
    ClusterDatabase,
    /// There is no such option, or not in this kind of URL.
    UnknownOption(String),
}

impl fmt::Display for RedisUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str(
                "not a URL like redis://user:password@host:6379/0; `@`, `:`, `/` and `%` in a password are written as %40, %3A, %2F and %25",
            ),
            Self::NoHost => f.write_str("there is no host, as in redis://127.0.0.1:6379"),
            Self::NoSocket => {
                f.write_str("there is no absolute path of a socket, as in redis+unix:///run/redis/redis.sock")
            }
            Self::Database => f.write_str("the database is a number, as in redis://127.0.0.1:6379/1"),
            Self::NoService => f.write_str(
                "there is no name of a service, as in redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster",
            ),
            Self::Replicas => f.write_str("the number of replicas to wait for is one, as in ?wait_replicas=1"),
            Self::ClusterDatabase => f.write_str("a cluster has no databases; leave the number out"),
            Self::UnknownOption(name) => {
                write!(f, "there is no option `{name}` here; there is `prefix`, `wait_replicas` and `wait_for=writes`, with rediss: `ca`, with redis+unix: `user`, `password` and `db`, with redis+sentinel: `sentinel_user` and `sentinel_password`")
            }
        }
    }
}

impl std::error::Error for RedisUrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> RedisConfig {
        url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn a_url_says_where_the_server_is() {
        let tcp = |host: &str, port| Address::Tcp { host: host.to_owned(), port };
        for (url, address) in [
            ("redis://localhost", tcp("localhost", 6379)),
            ("redis://10.0.0.1:7000/3", tcp("10.0.0.1", 7000)),
            ("rediss://[::1]:7000", tcp("::1", 7000)),
            ("redis+unix:///run/redis.sock", Address::Unix("/run/redis.sock".into())),
            ("redis+unix:/run/redis.sock?db=2", Address::Unix("/run/redis.sock".into())),
        ] {
            assert!(parse(url).address == address, "{url}");
        }
        assert_eq!(parse("redis://localhost/3").database, 3);
        assert!(parse("rediss://localhost?ca=/ca.pem").tls == Some(Trust::Authorities("/ca.pem".into())));
        assert_eq!(parse("redis://localhost?prefix=shop:").prefix, "shop:");
    }

    #[test]
    fn a_clusters_url_names_some_of_its_nodes() {
        let config = parse("redis+cluster://app:p%40ss@10.0.0.1:7000,node-2,[::1]:7002/?prefix=shop:");
        assert_eq!(config.to_string(), "redis+cluster://10.0.0.1:7000,node-2:6379,[::1]:7002");
        assert_eq!((config.user.as_deref(), config.password.as_deref()), (Some("app"), Some("p@ss")));
        assert!(config.prefix == "shop:" && config.tls.is_none());
        let secure = parse("rediss+cluster://localhost?ca=/ca.pem");
        assert_eq!(secure.to_string(), "rediss+cluster://localhost:6379");
        assert!(secure.tls == Some(Trust::Authorities("/ca.pem".into())));
        let error = |url: &str| url.parse::<RedisConfig>().unwrap_err();
        assert_eq!(error("redis+cluster://host/1"), RedisUrlError::ClusterDatabase);
        for url in
            ["redis+cluster://", "redis+cluster://a,,b", "redis+cluster://a:1,b:x", "redis+cluster://a,"]
        {
            assert!(url.parse::<RedisConfig>().is_err(), "{url}");
        }
    }

    #[test]
    fn user_and_password_are_decoded_and_never_shown() {
        let config = parse("redis://app:p%40ss@localhost:7000/1");
        assert_eq!((config.user.as_deref(), config.password.as_deref()), (Some("app"), Some("p@ss")));
        assert_eq!(config.to_string(), "redis://localhost:7000/1");
        let socket = parse("redis+unix:///s?user=app&password=p%40ss");
        assert_eq!((socket.user.as_deref(), socket.password.as_deref()), (Some("app"), Some("p@ss")));
        let shown = format!("{config:?} {config} {socket:?} {socket}");
        assert!(!shown.contains("p@ss") && !shown.contains("p%40ss"), "{shown}");
    }

    #[test]
    fn mistakes_say_the_way_out_and_no_password() {
        for url in [
            "redis://",
            "redis:///3",
            "redis://app:hunter2@host/three",
            "redis://app:hun/ter2@host",
            "redis+unix:",
            "redis+cluster://app:hunter2@host,",
            "redis+cluster://app:hun/ter2@host,other",
            "redis+cluster://app:hunter2@host:1,other:hunter2",
            "redis://host?password=hunter2",
            "redis://host?ca=/ca.pem",
            "http://app:hunter2@host",
        ] {
            let error = url.parse::<RedisConfig>().unwrap_err().to_string();
            assert!(!error.contains("hunter2") && !error.contains("ter2"), "{url}: {error}");
        }
    }
}
