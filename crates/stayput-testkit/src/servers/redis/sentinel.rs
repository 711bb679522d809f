//! A Redis service under Sentinel: a master, its replicas, and the sentinels that fail it over, all of them child processes.
//!
//! It is there when every sentinel knows all others and all replicas: a failover may begin at once, and nothing waits for
//! sentinels that have yet to meet. The replicas are linked before there are sentinels, which ask for them every ten seconds only.

mod switches;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

pub use self::switches::{Switch, Switches};
use super::{RedisServer, RedisServerOptions, Reply, socket};
use crate::ManualClock;
use crate::servers::Certificates;
use crate::servers::port::Port;

/// How a service is to be started.
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisSentinelsOptions {
    replicas: usize,
    sentinels: usize,
    tls: bool,
    password: Option<String>,
    sentinel_password: Option<String>,
    clock: Option<Arc<ManualClock>>,
}

impl Default for RedisSentinelsOptions {
    /// Two replicas and three sentinels.
    fn default() -> Self {
        Self { replicas: 2, sentinels: 3, tls: false, password: None, sentinel_password: None, clock: None }
    }
}

impl RedisSentinelsOptions {
    /// So many replicas.
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// So many sentinels. More than half of them have to agree that the master is gone.
    pub fn sentinels(mut self, count: usize) -> Self {
        self.sentinels = count;
        self
    }

    /// All of them take TLS connections only, under one certificate, and talk to each other by TLS, too.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Master and replicas want `password` of their default user.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// The sentinels want `password` of their default user.
    pub fn sentinel_password(mut self, password: &str) -> Self {
        self.sentinel_password = Some(password.to_owned());
        self
    }

    /// Master and replicas tell the time by `clock` instead of the system's.
    pub fn clock(mut self, clock: Arc<ManualClock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Starts the service, and returns when it is ready to fail over.
    ///
    /// # Panics
    ///
    /// If it isn't within half a minute.
    pub fn start(self) -> RedisSentinels {
        RedisSentinels::start(&self)
    }
}

/// A running service of the name [`SERVICE`](Self::SERVICE), which ends with this value.
///
/// A master that is silent for half a second is taken to be gone.
#[derive(Debug)]
pub struct RedisSentinels {
    servers: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

impl RedisSentinels {
    /// What the sentinels call it.
    pub const SERVICE: &str = "sessions";

    fn start(options: &RedisSentinelsOptions) -> Self {
        let master = server(options, "").start();
        let certificate = master.certificates.iter().flat_map(certificate);
        let mut arguments = vec![format!("--replicaof 127.0.0.1 {}", master.port())];
        arguments.extend(certificate.map(|(name, value)| format!("--{name} {value}")));
        let replica_of = arguments.join(" ");
        let mut servers = vec![master];
        servers.extend((0..options.replicas).map(|_| server(options, &replica_of).start()));
        wait_for("the replicas", || is_replicated(&servers[0], options.replicas));
        let sentinels = (0..options.sentinels).map(|_| sentinel(options, &servers[0])).collect();
        let service = Self { servers, sentinels };
        wait_for("the sentinels", || service.sentinels.iter().all(|one| service.is_known_to(one)));
        service
    }

    /// Master and replicas, the first master first. Their places stay the same whoever becomes master.
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// The same, to be killed and started again.
    pub fn servers_mut(&mut self) -> &mut [RedisServer] {
        &mut self.servers
    }

    /// The sentinels.
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// The same, to be killed and started again.
    pub fn sentinels_mut(&mut self) -> &mut [RedisServer] {
        &mut self.sentinels
    }

    /// The authority that the certificate is by, if there is one.
    pub fn authority(&self) -> Option<&Path> {
        self.servers[0].authority()
    }

    /// Where the sentinels listen, as a URL has it: `127.0.0.1:12345,127.0.0.1:12355`.
    pub fn addresses(&self) -> String {
        let addresses: Vec<_> = self.sentinels.iter().map(|it| format!("127.0.0.1:{}", it.port())).collect();
        addresses.join(",")
    }

    /// Returns when all replicas have what the first master, which is to be master still, has done so far.
    ///
    /// # Panics
    ///
    /// If they don't within half a minute.
    pub fn settle(&self) {
        let done = offset(&self.servers[0], "master_repl_offset");
        let has_it = |replica: &RedisServer| offset(replica, "slave_repl_offset") >= done;
        wait_for("the replicas", || self.servers[1..].iter().all(has_it));
    }

    /// From now on, when which server becomes master.
    ///
    /// # Panics
    ///
    /// If a sentinel doesn't answer.
    pub fn switches(&self) -> Switches {
        Switches::of(self.sentinels.iter().map(|it| it.admin().expect("a sentinel can be asked")))
    }

    fn is_known_to(&self, sentinel: &RedisServer) -> bool {
        let reply = sentinel.run(&format!("SENTINEL MASTER {}", Self::SERVICE));
        let field = |name: &str| field(&reply, name);
        field("flags").as_deref() == Some("master")
            && field("num-slaves") == Some((self.servers.len() - 1).to_string())
            && field("num-other-sentinels") == Some((self.sentinels.len() - 1).to_string())
    }
}

fn server(options: &RedisSentinelsOptions, more: &str) -> RedisServerOptions {
    // Without a delay the replicas needn't wait for each other.
    let mut server = RedisServerOptions::default().arguments("--repl-diskless-sync-delay 0").arguments(more);
    if options.tls {
        server = server.tls().arguments("--tls-replication yes");
    }
    if let Some(password) = &options.password {
        server = server.password(password).arguments(&format!("--masterauth {password}"));
    }
    match &options.clock {
        Some(clock) => server.clock(Arc::clone(clock)),
        None => server,
    }
}

/// A sentinel keeps what it learns in its configuration, which therefore is a file.
fn sentinel(options: &RedisSentinelsOptions, master: &RedisServer) -> RedisServer {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let (port, file) = (Port::reserve(), dir.path().join("sentinel.conf"));
    let (service, quorum) = (RedisSentinels::SERVICE, options.sentinels / 2 + 1);
    let mut lines = vec![
        format!("{} {}", if options.tls { "tls-port" } else { "port" }, port.number()),
        "bind 127.0.0.1".to_owned(),
        format!("unixsocket {}", socket(dir.path()).display()),
        format!("dir {}", dir.path().display()),
        format!("logfile {}", dir.path().join("log").display()),
        format!("sentinel monitor {service} 127.0.0.1 {} {quorum}", master.port()),
        format!("sentinel down-after-milliseconds {service} 500"),
        format!("sentinel failover-timeout {service} 2000"),
        format!("sentinel parallel-syncs {service} 2"),
    ];
    if let Some(certificates) = &master.certificates {
        lines.extend(["port 0", "tls-replication yes", "tls-auth-clients no"].map(str::to_owned));
        lines.extend(certificate(certificates).map(|(name, value)| format!("{name} {value}")));
    }
    lines.extend(options.password.iter().map(|password| format!("sentinel auth-pass {service} {password}")));
    lines.extend(options.sentinel_password.iter().map(|password| format!("requirepass {password}")));
    std::fs::write(&file, lines.join("\n")).expect("the directory can be written");
    let command = ["redis-server", &file.display().to_string(), "--sentinel"].map(str::to_owned);
    let password = options.sentinel_password.clone();
    let mut sentinel =
        RedisServer { process: None, command: command.into(), port, password, certificates: None, dir };
    sentinel.restart();
    sentinel
}

/// One certificate for all: each trusts the authority of its own only.
fn certificate(certificates: &Certificates) -> [(&'static str, String); 3] {
    let Certificates { authority, certificate, key } = certificates;
    let file = |path: &Path| path.display().to_string();
    [("tls-ca-cert-file", file(authority)), ("tls-cert-file", file(certificate)), ("tls-key-file", file(key))]
}

/// Whether all replicas have acknowledged something: until then, for up to a second, a `WAIT` waits for nothing.
fn is_replicated(master: &RedisServer, replicas: usize) -> bool {
    // Something to acknowledge that changes no data.
    master.run("PUBLISH stayput ready");
    let Reply::Bytes(info) = master.run("INFO replication") else { return false };
    let info = String::from_utf8_lossy(&info);
    info.matches("state=online").count() == replicas && !info.contains(",offset=0,")
}

/// How far the server is in the stream of the master's changes, or how long that is.
fn offset(server: &RedisServer, name: &str) -> Option<u64> {
    let Reply::Bytes(info) = server.run("INFO replication") else { return None };
    let info = String::from_utf8_lossy(&info);
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
}

/// A field of an answer that has names and values by turns.
fn field(reply: &Reply, name: &str) -> Option<String> {
    let Reply::Array(fields) = reply else { return None };
    let value = fields.chunks(2).find(|pair| pair[0] == Reply::Bytes(name.into()))?.get(1)?;
    match value {
        Reply::Bytes(value) => Some(String::from_utf8_lossy(value).into_owned()),
        _ => None,
    }
}

fn wait_for(whom: &str, mut is_ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_ready() {
        assert!(Instant::now() < deadline, "{whom} are not ready");
        thread::sleep(Duration::from_millis(5));
    }
}
