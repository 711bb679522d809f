//! Sample servers as child processes: started, watched, started again, ended.
//!
//! A child holds the other end of a pipe of ours as its standard input, and ends when that closes: so none outlives
//! this process, however it dies.

use std::io;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::cli::{STORE_VARIABLE, SampleServerArgs, TOKEN_VARIABLE};
use crate::data_dir::DataDir;
use crate::failure::Failure;

/// The sample servers.
pub(crate) struct Children {
    tasks: JoinSet<()>,
    servers: Vec<Server>,
    events: mpsc::Receiver<Event>,
    report: mpsc::Sender<Event>,
    stop: watch::Sender<bool>,
}

/// A sample server.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// Its process, once it accepts requests.
    pub(crate) pid: Option<u32>,
}

/// What became of a child.
enum Event {
    Ready { name: String, address: SocketAddr, pid: u32 },
    Ended { name: String, how: String },
}

impl Default for Children {
    fn default() -> Self {
        let (report, events) = mpsc::channel(64);
        let stop = watch::Sender::new(false);
        Self { tasks: JoinSet::new(), servers: Vec::new(), events, report, stop }
    }
}

impl Children {
    /// Starts a server, and again whenever it ends.
    pub(crate) fn start(&mut self, args: SampleServerArgs, data_dir: &DataDir) {
        let keeper = Keeper {
            args: SampleServerArgs { data_dir: data_dir.path().to_owned(), ..args },
            report: self.report.clone(),
            stopped: self.stop.subscribe(),
        };
        let (name, address) = (keeper.args.name.clone(), keeper.args.listen);
        self.servers.push(Server { name, address, pid: None });
        self.tasks.spawn(keeper.run());
    }

    /// Returns when all accept requests, or one of them can't start.
    pub(crate) async fn ready(&mut self) -> Result<(), Failure> {
        while self.servers.iter().any(|server| server.pid.is_none()) {
            match self.events.recv().await {
                Some(Event::Ready { name, address, pid }) => self.note(&name, Some((address, pid))),
                Some(Event::Ended { name, how }) => {
                    return Err(Failure::other(format!("{name} could not start: it {how}"))
                        .way_out("what it said on standard error stands above"));
                }
                None => break,
            }
        }
        Ok(())
    }

    /// All of them.
    pub(crate) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Tells all servers that the keyring has changed.
    pub(crate) fn reload(&self) {
        for server in &self.servers {
            let pid = server.pid.and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
            if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::HUP)) {
                tracing::warn!(server = server.name, %error, "could not be told that the keyring has changed");
            }
        }
    }

    /// Tells of every end and new start; never returns.
    pub(crate) async fn watch(&mut self, say: impl Fn(&str)) {
        // `self` holds a sender, so there is always another event to wait for.
        while let Some(event) = self.events.recv().await {
            match event {
                Event::Ended { name, how } => {
                    self.note(&name, None);
                    say(&format!("{name} {how}; it starts again in a second\n"));
                }
                Event::Ready { name, address, pid } => {
                    self.note(&name, Some((address, pid)));
                    say(&format!("{name} is back as process {pid}\n"));
                }
            }
        }
    }

    /// Ends all servers: kindly, and after five seconds by force.
    pub(crate) async fn stop(&mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "the keeper of a sample server failed");
            }
        }
    }

    /// Notes where a server listens by now, or that it ended.
    fn note(&mut self, name: &str, process: Option<(SocketAddr, u32)>) {
        if let Some(server) = self.servers.iter_mut().find(|server| server.name == name) {
            server.address = process.map_or(server.address, |(address, _)| address);
            server.pid = process.map(|(_, pid)| pid);
        }
    }
}

/// Keeps one server running.
struct Keeper {
    args: SampleServerArgs,
    report: mpsc::Sender<Event>,
    stopped: watch::Receiver<bool>,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            let how = match self.spawn() {
                Ok(child) => match self.attend(child).await {
                    Some(how) => how,
                    None => return,
                },
                Err(error) => format!("could not be started ({error})"),
            };
            self.tell(Event::Ended { name: self.args.name.clone(), how }).await;
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    /// Waits for the child's end, and says how it came. `None` if we were told to stop, and have ended it.
    async fn attend(&mut self, mut child: Child) -> Option<String> {
        let output = child.stdout.take();
        // Waiting for a child closes its input unless that is held elsewhere.
        let input = child.stdin.take();
        let pid = child.id().unwrap_or_default();
        let (args, report) = (&mut self.args, &self.report);
        let listen = async {
            let mut lines = BufReader::new(output?).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = line.strip_prefix("ready ").and_then(|address| address.parse().ok()) {
                    // Where it is found from now on: when it is started again, it must be there.
                    (args.listen, args.or_any_port) = (address, false);
                    let _ = report.send(Event::Ready { name: args.name.clone(), address, pid }).await;
                }
            }
            None::<()>
        };
        let ended = async {
            let (status, _) = tokio::join!(child.wait(), listen);
            status
        };
        tokio::select! {
            status = ended => {
                return Some(status.map_or_else(|error| format!("was lost ({error})"), describe));
            }
            _ = self.stopped.wait_for(|stopped| *stopped) => {}
        }
        drop(input);
        if tokio::time::timeout(KINDNESS, child.wait()).await.is_err() {
            tracing::warn!(server = self.args.name, "did not end in time and is killed");
            let _ = child.kill().await;
        }
        None
    }

    fn spawn(&self) -> io::Result<Child> {
        let args = &self.args;
        let store = args.store.url().map_err(|_| io::ErrorKind::InvalidInput)?.danger_with_password();
        let reached_by = clap::ValueEnum::to_possible_value(&args.reached_by);
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["sample-server", "--name", &args.name])
            .args(["--listen", &args.listen.to_string()])
            .env(STORE_VARIABLE, store)
            .env_remove(TOKEN_VARIABLE)
            .arg("--data-dir")
            .arg(&args.data_dir)
            .args(["--reached-by", reached_by.as_ref().map_or("", |value| value.get_name())]);
        if args.or_any_port {
            command.arg("--or-any-port");
        }
        if let Some(config) = &args.config {
            command.arg("--config").arg(config);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A group of its own: Ctrl-C is for us, and we end it when its requests are done.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    async fn tell(&self, event: Event) {
        // Nobody listens any more while we stop.
        let _ = self.report.send(event).await;
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, code) => format!("ended with exit code {}", code.unwrap_or_default()),
    }
}

/// Before a server that ended is started again.
const PAUSE: Duration = Duration::from_secs(1);

/// For a server to end by itself.
const KINDNESS: Duration = Duration::from_secs(5);
