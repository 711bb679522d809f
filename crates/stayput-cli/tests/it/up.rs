//! `stayput up` as a child of the test, ended by its own id whatever happens.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use stayput_testkit::Browser;
use tempfile::TempDir;

/// A gateway with three sample servers that are ready.
pub(crate) struct Up {
    child: Child,
    pub(crate) url: String,
    output: Arc<Mutex<Vec<String>>>,
    errors: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

/// A sample server, as `up` announces it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) pid: u32,
}

impl Up {
    /// Starts on a free port and a new data directory.
    pub(crate) fn fresh() -> (Self, TempDir, u16) {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        (Self::start(dir.path(), port, &[]), dir, port)
    }

    /// Starts and waits for `ready`.
    pub(crate) fn start(data_dir: &Path, port: u16, args: &[&str]) -> Self {
        let mut child = command(data_dir, port, args)
            .env("STAYPUT_LOG", "debug")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (output, errors) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers = vec![
            std::thread::spawn({
                let output = output.clone();
                move || {
                    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                        let url = line.strip_prefix("ready ").map(str::to_owned);
                        output.lock().unwrap().push(line);
                        if let Some(url) = url {
                            let _ = ready.send(url);
                        }
                    }
                }
            }),
            std::thread::spawn({
                let errors = errors.clone();
                move || {
                    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                        errors.lock().unwrap().push(line);
                    }
                }
            }),
        ];
        let url = is_ready.recv().unwrap_or_else(|_| {
            let _ = child.wait();
            panic!("`up` ended before it was ready: {:?}", output.lock().unwrap());
        });
        Self { child, url, output, errors, readers }
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.url)
    }

    /// The sample servers, as they were at the start.
    pub(crate) fn servers(&self) -> Vec<Server> {
        let lines = self.output.lock().unwrap();
        let server = |line: &String| {
            let words: Vec<_> = line.split_whitespace().collect();
            match words[..] {
                [name, url, "process", pid] if name.starts_with("sample-") => {
                    Some(Server { name: name.into(), url: url.into(), pid: pid.parse().ok()? })
                }
                _ => None,
            }
        };
        lines.iter().filter_map(server).collect()
    }

    /// How many lines on standard error, its own and the sample servers', have all of these words.
    pub(crate) fn logged(&self, words: &[&str]) -> usize {
        let lines = self.errors.lock().unwrap();
        lines.iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// Sends it a signal, and goes on.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// `kill -9`; the servers are left to notice by themselves.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as Ctrl-C or a service manager would, and gives its exit code and all that it wrote.
    pub(crate) fn stop(mut self, signal: Signal) -> (ExitStatus, String) {
        send(self.child.id(), signal);
        let status = self.child.wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let lines = [&self.output, &self.errors].map(|lines| lines.lock().unwrap().join("\n"));
        (status, lines.join("\n"))
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Ended already, or killed here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `up` to its end, which is expected to come by itself.
pub(crate) fn run(data_dir: &Path, port: u16, args: &[&str]) -> Output {
    command(data_dir, port, args).output().unwrap()
}

/// Runs the binary with these arguments alone.
pub(crate) fn stayput(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).output().unwrap()
}

fn command(data_dir: &Path, port: u16, args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["up", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"]).arg(data_dir).args(args);
    command
}

const BINARY: &str = env!("CARGO_BIN_EXE_stayput");

/// A port that nobody listens on, with room for the sample servers behind it. Below the range from which the system
/// takes ports for connections, and apart from those of tests in other processes.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let slot = (std::process::id() * 4 + NEXT.fetch_add(1, Ordering::Relaxed)) % 2_000;
        let port = 12_000 + u16::try_from(slot).unwrap() * 10;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub(crate) fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Returns when the process is gone.
pub(crate) fn wait_for_end_of(pid: u32) {
    while Path::new(&format!("/proc/{pid}")).exists() {
        std::thread::yield_now();
    }
}
