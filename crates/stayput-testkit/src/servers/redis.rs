//! `redis-server` as a child process.
//!
//! It is administered through a Unix socket in its directory, past whatever a test does to its port.

mod admin;
mod cluster;
mod sentinel;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use self::admin::Admin;
pub use self::admin::Reply;
pub use self::cluster::{RedisCluster, RedisClusterOptions, slot};
pub use self::sentinel::{RedisSentinels, RedisSentinelsOptions, Switch, Switches};
use super::port::Port;
use super::process::Process;
use super::{Certificates, clock};
use crate::ManualClock;

/// How a server is to be started.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RedisServerOptions {
    tls: bool,
    /// Those to use, of which others have a part.
    certificates: Option<Certificates>,
    password: Option<String>,
    clock: Option<Arc<ManualClock>>,
    arguments: Vec<String>,
}

impl RedisServerOptions {
    /// Takes TLS connections only, under a certificate of an authority of its own.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Wants `password` of its default user.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Tells the time by `clock` instead of the system's.
    pub fn clock(mut self, clock: Arc<ManualClock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// More of its command line, such as `--maxmemory 3mb`: one argument for each word.
    pub fn arguments(mut self, arguments: &str) -> Self {
        self.arguments.extend(arguments.split_whitespace().map(str::to_owned));
        self
    }

    /// Starts the server, and returns when it answers.
    ///
    /// # Panics
    ///
    /// If it doesn't within ten seconds.
    pub fn start(self) -> RedisServer {
        RedisServer::start(&self)
    }
}

/// A running `redis-server`, which ends with this value. It keeps nothing on disk unless it is told to.
#[derive(Debug)]
pub struct RedisServer {
    /// `None` after it was killed.
    process: Option<Process>,
    command: Vec<String>,
    port: Port,
    password: Option<String>,
    certificates: Option<Certificates>,
    dir: TempDir,
}

impl RedisServer {
    /// A plain one, as by [`RedisServerOptions::start`].
    pub fn plain() -> Self {
        RedisServerOptions::default().start()
    }

    fn start(options: &RedisServerOptions) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let own = || options.tls.then(|| Certificates::generate(dir.path()));
        let certificates = options.certificates.clone().or_else(own);
        let port = Port::reserve();
        let command = command(options, port.number(), certificates.as_ref(), dir.path());
        let password = options.password.clone();
        let mut server = Self { process: None, command, port, password, certificates, dir };
        server.restart();
        server
    }

    /// Ends it at once (`SIGKILL`), and returns when it is gone.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Kills it, starts it again on the same port, and returns when it answers.
    ///
    /// # Panics
    ///
    /// If it doesn't within ten seconds.
    pub fn restart(&mut self) {
        self.kill();
        // A socket that a killed server left behind refuses connections until the next one takes its place.
        self.process = Some(Process::start(&self.command));
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.is_ready() {
            assert!(Instant::now() < deadline, "redis-server is not ready; its log: {}", self.log());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops it where it is (`SIGSTOP`): connections are accepted, nothing is answered.
    pub fn pause(&self) {
        self.process.as_ref().expect("the server runs").pause();
    }

    /// Lets it go on (`SIGCONT`).
    pub fn resume(&self) {
        self.process.as_ref().expect("the server runs").resume();
    }

    /// Has the server run a command, such as `CONFIG SET maxmemory 2mb`: one argument for each word.
    ///
    /// # Panics
    ///
    /// If it can't be asked.
    pub fn run(&self, command: &str) -> Reply {
        self.ask(&command.split_whitespace().collect::<Vec<_>>())
    }

    /// Has the server run a script, for keys that no line can name.
    ///
    /// # Panics
    ///
    /// If it can't be asked.
    pub fn eval(&self, script: &str) -> Reply {
        self.ask(&["EVAL", script, "0"])
    }

    fn ask<W: AsRef<[u8]>>(&self, command: &[W]) -> Reply {
        self.admin().and_then(|mut admin| admin.run(command)).expect("the server can be asked")
    }

    /// Its port on the loopback address.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        socket(self.dir.path())
    }

    /// The authority that its certificate is by, if it has one.
    pub fn authority(&self) -> Option<&Path> {
        self.certificates.as_ref().map(|certificates| certificates.authority.as_path())
    }

    fn is_ready(&self) -> bool {
        let ping = self.admin().and_then(|mut admin| admin.run(&["PING"]));
        ping.is_ok_and(|reply| reply == Reply::Status("PONG".to_owned()))
    }

    fn admin(&self) -> std::io::Result<Admin> {
        Admin::connect(&self.socket(), self.password.as_deref())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

fn command(
    options: &RedisServerOptions,
    port: u16,
    certificates: Option<&Certificates>,
    dir: &Path,
) -> Vec<String> {
    let mut command = vec!["env".to_owned()];
    command.extend(options.clock.iter().flat_map(|clock| clock::environment(clock, dir)));
    command.push("redis-server".to_owned());
    let mut set = |name: &str, value: &str| command.extend([format!("--{name}"), value.to_owned()]);
    let file = |path: &Path| path.display().to_string();
    set("bind", "127.0.0.1");
    set(if certificates.is_some() { "tls-port" } else { "port" }, &port.to_string());
    if let Some(certificates) = certificates {
        set("port", "0");
        set("tls-ca-cert-file", &file(&certificates.authority));
        set("tls-cert-file", &file(&certificates.certificate));
        set("tls-key-file", &file(&certificates.key));
        set("tls-auth-clients", "no");
    }
    if let Some(password) = &options.password {
        set("requirepass", password);
    }
    set("unixsocket", &file(&socket(dir)));
    set("dir", &file(dir));
    set("logfile", &file(&dir.join("log")));
    set("save", "");
    command.extend(options.arguments.iter().cloned());
    command
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("socket")
}
