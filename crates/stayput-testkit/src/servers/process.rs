//! A child process that ends with its test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A server, and the shell that ends it when the pipe to the shell closes.
///
/// `PR_SET_PDEATHSIG` would need unsafe code, and fires when the thread that started the child ends.
#[derive(Debug)]
pub(super) struct Process {
    shell: Child,
    pipe: Option<ChildStdin>,
    server: Pid,
}

impl Process {
    /// Starts a command, whose output goes nowhere.
    ///
    /// # Panics
    ///
    /// If there is no shell. A program that isn't there is seen by what it doesn't do.
    pub(super) fn start<A: AsRef<OsStr>>(command: impl IntoIterator<Item = A>) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        let mut line = String::new();
        let output = shell.stdout.take().expect("its output is piped");
        BufReader::new(output).read_line(&mut line).expect("the shell says the server's id");
        let server = line.trim().parse().ok().and_then(Pid::from_raw).expect("a process id is a number");
        Self { pipe: shell.stdin.take(), shell, server }
    }

    /// Stops the server where it is (`SIGSTOP`): it accepts connections by the kernel, and answers nothing from when this returns.
    pub(super) fn pause(&self) {
        self.signal(Signal::STOP);
        while !self.is_stopped() {
            std::thread::yield_now();
        }
    }

    /// Lets it go on (`SIGCONT`).
    pub(super) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Whether none of its threads runs. A thread that is at work on another processor is stopped some time after the signal.
    fn is_stopped(&self) -> bool {
        let tasks = format!("/proc/{}/task", self.server.as_raw_nonzero());
        let mut statuses = std::fs::read_dir(tasks)
            .expect("the shell keeps the server's id")
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
        statuses.all(|status| {
            !["(running)", "(sleeping)", "(disk sleep)"].iter().any(|state| status.contains(state))
        })
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.server, signal).expect("the shell keeps the server's id from being used again");
    }
}

impl Drop for Process {
    /// Ends the server (`SIGKILL`), and returns when it is gone.
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}

/// The shell waits for its standard input to close, and reaps the server only then, so that the server's id stays its own.
const WATCH: &str = r#"
"$@" >/dev/null 2>&1 &
echo $!
read -r _
kill -KILL $! 2>/dev/null
wait
"#;
