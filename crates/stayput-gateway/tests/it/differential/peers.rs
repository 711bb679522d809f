//! nginx and HAProxy as child processes in front of a recorder, each on a socket file: no port has to be found for them.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::wait_until;

pub(super) struct Nginx(Peer);

impl Nginx {
    pub(super) fn start(upstream: SocketAddr) -> Self {
        Self(Peer::start("nginx", |folder| {
            let text = format!(
                "daemon off; master_process off; error_log stderr crit; pid {folder}/nginx.pid;
                 events {{ worker_connections 256; }}
                 http {{
                     access_log off;
                     client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
                     fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
                     upstream recorder {{ server {upstream}; keepalive 16; }}
                     server {{
                         listen unix:{folder}/socket;
                         location / {{
                             proxy_pass http://recorder; proxy_http_version 1.1; proxy_set_header Connection \"\";
                         }}
                     }}
                 }}"
            );
            (text, &["-p", ".", "-c"])
        }))
    }

    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        self.0.connect()
    }
}

pub(super) struct Haproxy(Peer);

impl Haproxy {
    pub(super) fn start(upstream: SocketAddr) -> Self {
        Self(Peer::start("haproxy", |folder| {
            let text = format!(
                "global\n maxconn 256\n nbthread 1\n\
                 defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
                 frontend front\n bind unix@{folder}/socket\n default_backend back\n\
                 backend back\n http-reuse always\n server recorder {upstream}\n"
            );
            (text, &["-db", "-f"])
        }))
    }

    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        self.0.connect()
    }
}

struct Peer {
    child: Child,
    socket: PathBuf,
    /// Outlives what runs in it.
    _folder: TempDir,
}

impl Peer {
    fn start(program: &str, configured: impl Fn(&str) -> (String, &'static [&'static str])) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (text, arguments) = configured(folder.path().to_str().unwrap());
        let configuration = folder.path().join("configuration");
        fs::write(&configuration, text).unwrap();
        // Where Debian keeps both, which not everybody's path has.
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(program);
        command.env("PATH", path).args(arguments).arg(&configuration).current_dir(folder.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{program}: {error}; scripts/test installs it"));
        let socket = folder.path().join("socket");
        wait_until("the peer listens", || UnixStream::connect(&socket).is_ok());
        Self { child, socket, _folder: folder }
    }

    fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(&self.socket)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
