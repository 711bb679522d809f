//! A Redis server of its own, something between that can go wrong, and three servers as processes.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use stayput::{Keyring, SystemRandom};
use stayput_testkit::servers::{RedisServer, RedisServerOptions};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use super::{actix, apps};

pub(super) const SERVERS: usize = 3;

/// What every run begins with: nothing acknowledged is lost by Redis itself, so what is lost, a session layer lost.
pub(super) fn redis() -> RedisServer {
    RedisServerOptions::default().arguments("--appendonly yes --appendfsync always").start()
}

/// One of the servers, which ends with this value.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    child: Child,
}

impl Server {
    /// What it takes of the machine: resident kilobytes, and open descriptors.
    pub(super) fn size(&self) -> (u64, usize) {
        let process = format!("/proc/{}", self.child.id().expect("it runs"));
        let status = std::fs::read_to_string(format!("{process}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        let kilobytes = line.trim().trim_end_matches(" kB").parse().expect("a number");
        (kilobytes, std::fs::read_dir(format!("{process}/fd")).expect("it runs").count())
    }
}

/// What makes servers of one layer that share a store and keys.
pub(super) struct Kind {
    layer: String,
    url: String,
    keyring: String,
    /// Where each has a journal of what it took in an outage.
    journals: TempDir,
}

impl Kind {
    pub(super) fn new(layer: &str, store: SocketAddr) -> Self {
        let keyring = Keyring::generate(&SystemRandom).danger_to_text();
        let journals = tempfile::tempdir().expect("a temporary directory");
        Self { layer: layer.to_owned(), url: format!("redis://{store}"), keyring, journals }
    }

    pub(super) async fn start(&self) -> Server {
        let command = std::env::current_exe().expect("this program");
        let mut command = Command::new(command);
        command.args(["outage", "serve", &self.layer]);
        command.env("BENCH_STORE", &self.url).env("BENCH_KEYRING", &self.keyring);
        command.env("BENCH_JOURNALS", self.journals.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        let mut child = command.kill_on_drop(true).spawn().expect("this program runs");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output is piped");
        BufReader::new(output).read_line(&mut line).await.expect("it says where it is");
        let address = line.trim().strip_prefix("ready ").and_then(|address| address.parse().ok());
        Server { address: address.expect("it is ready"), child }
    }
}

/// One of the servers: says `ready ADDRESS`, and ends when its standard input does, so that none outlives a killed drill.
pub(super) fn serve(layer: &str) {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let url = crate::store();
    if layer == "actix-session" {
        return actix::serve(&url).expect("the server runs");
    }
    crate::one_thread().block_on(async {
        let app = apps::app(layer, &url).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("ready {}", listener.local_addr().expect("it is bound"));
        axum::serve(listener, app).await.expect("the server runs");
    });
}
