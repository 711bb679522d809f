//! The servers, and the requests that run on them.
//!
//! One thread does everything, and time stands still unless it is moved: the same orders always have the same outcome.

mod store;

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{Request, Response};
use stayput::{Clock, LogTag, SessionStore};
use stayput_core::StorageKey;
use stayput_testkit::ManualClock;
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::application::{Action, Report, Task};
use crate::browser::{Change, Jar, KINDS, Kind, Meaning, has_writes, read_base, read_version};
use crate::gates::{Fate, Gates};
use crate::log::{End, Entry, Limits, Log, Made, Moment, Shown, Verdict, Version};
use crate::servers::{Servers, has_journal};

pub(crate) use self::store::{Outage, Past, Way};

/// What a history acts on.
pub(crate) struct World {
    pub(crate) log: Log,
    pub(crate) trace: String,
    pub(crate) servers: Servers,
    store: Arc<dyn SessionStore>,
    clock: Arc<ManualClock>,
    pub(crate) gates: Arc<Gates>,
    running: Vec<(u32, JoinHandle<Response<()>>)>,
    /// How the store is out, if it is.
    outage: Option<Outage>,
    /// What the store was, if it may forget.
    past: Option<Past>,
    /// What the cookies say that were handed out.
    cookies: HashMap<String, Shown>,
}

/// What a browser may rely on when it sends a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ties {
    /// The session that it must be in.
    pub(crate) home: Option<u32>,
    /// Its requests before this one, of which it awaited each answer before it sent the next.
    pub(crate) after: Vec<u32>,
}

/// An answer on its way to its browser.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) request: u32,
    pub(crate) changes: Vec<Change>,
}

impl World {
    /// Servers over `store`, which keep to these limits.
    pub(crate) fn new(
        clock: Arc<ManualClock>,
        store: Arc<dyn SessionStore>,
        servers: Servers,
        limits: Limits,
        past: Option<Past>,
    ) -> Self {
        let (log, trace) = (Log::new(servers.policy.clone(), limits), String::new());
        let (running, cookies, gates) = (Vec::new(), HashMap::new(), servers.gates.clone());
        let outage = None;
        Self { log, trace, servers, store, clock, gates, running, outage, past, cookies }
    }

    /// Sends a request with the cookies in `jar`, and gives back its number.
    pub(crate) fn send(&mut self, server: usize, jar: &Jar, ties: Ties, act: (Action, bool)) -> u32 {
        let Ties { home, after } = ties;
        let number = u32::try_from(self.log.requests.len()).expect("histories are short");
        let task = Task { number, action: act.0, is_slow: act.1, report: Arc::default() };
        let shown = self.meaning_of(jar);
        let what = format_args!("{:?}{}", act.0, if act.1 { " slowly" } else { "" });
        let (version, process) =
            (jar.get(Kind::Version).and_then(|value| self.version(value)), self.servers.process(server));
        let seen = version.map(|version| (version.session, version.count));
        self.note(format_args!(
            "#{number} to server {server}: {what}, shows {shown:?} seen {seen:?}, home {home:?}"
        ));
        let sent = self.moment();
        let boat = jar.get(Kind::Lifeboat).and_then(|value| self.version(read_base(value)?));
        let has_writes = jar.get(Kind::Lifeboat).is_some_and(has_writes);
        let entry = Entry {
            task: task.clone(),
            shown,
            version,
            boat,
            has_writes,
            server,
            home,
            after,
            process,
            sent,
            end: None,
        };
        self.log.requests.push(entry);
        let mut request = Request::new(());
        request.headers_mut().insert(COOKIE, jar.header().try_into().expect("cookies are tokens"));
        request.extensions_mut().insert(task);
        let service = self.servers.service(server);
        let running = async move { service.oneshot(request).await.unwrap_or_else(|never| match never {}) };
        self.running.push((number, tokio::spawn(running)));
        number
    }

    /// Runs requests until each waits at a gate or has its answer, and judges those that have.
    pub(crate) async fn settle(&mut self) -> Result<Vec<Answer>, String> {
        // Time is paused: it jumps when nothing else can be done.
        tokio::time::sleep(Duration::from_millis(1)).await;
        // Several requests may share a read, and one of them come when its failure is on its way already.
        self.log.wary.extend(self.gates.failures());
        self.gates.count_step();
        self.note_store();
        self.servers.tell(self.clock.now());
        self.log.unreplayed.extend(self.servers.unreplayed());
        let (ended, running) =
            std::mem::take(&mut self.running).into_iter().partition(|(_, run)| run.is_finished());
        self.running = running;
        let mut answers = Vec::new();
        for (number, run) in ended as Vec<(u32, JoinHandle<_>)> {
            let response = run.await.map_err(|failed| format!("#{number} {failed}"))?;
            answers.push(self.record(number, &response));
            let verdict = self.log.judge(self.log.request(number));
            verdict.map_err(|broken| format!("#{number} {broken}"))?;
        }
        Ok(answers)
    }

    /// Lets on who waits at a gate.
    pub(crate) fn open(&mut self, at: usize, fate: Fate) {
        if fate != Fate::Done {
            self.note(format_args!("{:?} {fate:?}", self.gates.places()[at]));
            let (process, step) = (self.gates.process_at(at), self.gates.step());
            self.log.wary.extend(process.map(|process| (process, step)));
        }
        self.gates.open(at, fate);
    }

    /// Drops a request, as when its client closes the connection, and says which.
    pub(crate) fn cancel(&mut self, at: usize) -> u32 {
        let (number, run) = self.running.remove(at);
        run.abort();
        self.note(format_args!("#{number} is cancelled"));
        number
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Where among the running requests one is that the server number `server` is working on.
    pub(crate) fn running_on(&self, server: usize) -> Option<usize> {
        let process = self.servers.process(server);
        self.running.iter().position(|(number, _)| self.log.request(*number).process == process)
    }

    /// Has the server number `server` begin anew, when it works on nothing any more.
    pub(crate) async fn restart(&mut self, server: usize) {
        if self.servers.keep_journals() {
            let process = self.servers.process(server);
            if !has_journal(server) {
                self.log.forgetful.push(process);
            }
            self.servers.kill(server);
            // Until all that it had under way has come to nothing.
            for _ in 0..1_000 {
                self.wait(Duration::from_secs(40)).await;
                if self.servers.has_let_go(server) {
                    break;
                }
            }
        }
        self.servers.restart(server);
        self.cut_off_again(server);
        self.note(format_args!("server {server} is started again"));
    }

    pub(crate) fn hear(&mut self, server: usize, is_odd: bool) -> bool {
        let arrives = self.servers.stream(server).arrive(is_odd);
        if arrives {
            self.log.told.push((self.servers.process(server), self.gates.step()));
            self.note(format_args!(
                "server {server} is told of a change{}",
                if is_odd { ", oddly" } else { "" }
            ));
        }
        arrives
    }

    /// The stream of changes to the server number `server` shows that it works, if it does.
    pub(crate) fn pulse(&mut self, server: usize) {
        let now = self.clock.now();
        if self.servers.stream(server).pulse(now) {
            self.note(format_args!("server {server} hears a pulse"));
        }
    }

    /// For how long the oldest request has been running.
    pub(crate) fn longest_running(&self) -> Duration {
        let oldest = self.running.iter().map(|(number, _)| self.log.request(*number).sent.time).min();
        oldest.map_or(Duration::ZERO, |oldest| self.clock.now().since(oldest))
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
        self.servers.advance(by);
        self.note(format_args!("{by:?} pass"));
    }

    pub(crate) fn sweep(&mut self) -> Verdict {
        let swept = crate::gates::finish(self.store.sweep(usize::MAX)).map_err(|error| error.to_string())?;
        self.note(format_args!("{swept} records swept"));
        Ok(())
    }

    /// Judges how many sessions are left of each user, when all have been looked at.
    pub(crate) fn judge_limit(&self) -> Verdict {
        self.log.judge_limit()
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment { step: self.gates.step(), time: self.clock.now() }
    }

    /// What the cookies in `jar` say. One under another name than it was given says nothing, a spare one only beside the
    /// session cookies that it names.
    pub(crate) fn meaning_of(&self, jar: &Jar) -> Vec<Shown> {
        let shown = |kind| self.cookies.get(jar.get(kind)?).copied().filter(|shown| shown.kind == kind);
        let [session, anonymous, spare] = KINDS.map(shown);
        // It says itself beside which sessions' cookies it counts, and is signed for that.
        let is_named = |session: &Shown| {
            let key = self.log.sessions[&session.session].key;
            jar.get(Kind::Spare).is_some_and(|value| value.contains(&key.handle().to_string()))
        };
        let is_beside = |_: &Shown| session.as_ref().is_some_and(is_named);
        [session, spare.filter(is_beside), anonymous].into_iter().flatten().collect()
    }

    /// What a version cookie says, if it is about a session.
    fn version(&self, cookie: &str) -> Option<Version> {
        let (of_key, count) = read_version(cookie)?;
        let is_of = |made: &Made| {
            format!("{:02x?}", &made.key.as_bytes()[..4]).replace(['[', ']', ',', ' '], "") == of_key
        };
        let (session, _) = self.log.sessions.iter().find(|(_, made)| is_of(made))?;
        Some(Version { session: *session, count })
    }

    pub(crate) fn note(&mut self, what: impl std::fmt::Display) {
        let (step, seconds) = (self.gates.step(), self.clock.now().as_millis() % 1_000_000_000);
        writeln!(self.trace, "{step:>4} {:>9.3}s {what}", Duration::from_millis(seconds).as_secs_f64())
            .expect("a string takes everything");
    }

    fn record(&mut self, number: u32, response: &Response<()>) -> Answer {
        let headers = response.headers().get_all(SET_COOKIE).iter();
        let changes: Vec<_> =
            headers.map(|header| Change::read(header.to_str().expect("cookies are text"))).collect();
        let mut end = End {
            at: self.moment(),
            status: response.status(),
            version: None,
            set: Vec::new(),
            deleted: Vec::new(),
            says_ended: false,
        };
        for change in &changes {
            match &change.value {
                Some(value) if change.kind == Kind::Version => end.version = self.version(value),
                value if change.kind == Kind::Lifeboat => {
                    let label =
                        value.as_deref().map(|value| value.rsplit_once('.').map_or("", |(label, _)| label));
                    let label = label.unwrap_or("none").to_owned();
                    end.says_ended = label == "ended";
                    self.note(format_args!("#{number} sets lifeboat {label}"));
                }
                Some(value) => end.set.push(self.handed_out(number, change, value)),
                None => end.deleted.push(change.kind),
            }
        }
        let Report { seen, taken, .. } = self.log.request(number).report().clone();
        let (status, set, deleted) = (end.status, end.set.clone(), end.deleted.clone());
        let version = end.version.map(|version| (version.session, version.count));
        self.note(format_args!(
            "#{number} {status}, saw {seen:?} took {taken:?} sets {set:?} {version:?} deletes {deleted:?}"
        ));
        self.log.requests[number as usize].end = Some(end);
        Answer { request: number, changes }
    }

    /// What a cookie says; a session that nobody heard of was made by the request.
    fn handed_out(&mut self, number: u32, change: &Change, value: &str) -> Shown {
        if change.kind == Kind::Spare {
            // Signed for the session that the client came with, of which a stranger knows nothing.
            let shown = Shown { kind: change.kind, session: number, generation: 0 };
            self.cookies.insert(value.to_owned(), shown);
            return shown;
        }
        let meaning =
            Meaning::of(change.kind, value, &self.servers.keyring).expect("servers sign what they set");
        let session = self.log.session_under(meaning.key).unwrap_or_else(|| {
            let tag = self.servers.keyring.log_tag(&meaning.key);
            let made = self.log.request(number).makes(meaning.key, tag);
            self.log.sessions.insert(number, made);
            number
        });
        let shown = Shown { kind: change.kind, session, generation: meaning.generation };
        self.cookies.insert(value.to_owned(), shown);
        shown
    }
}

impl Entry {
    /// The session that it made.
    fn makes(&self, key: StorageKey, tag: LogTag) -> Made {
        let report = self.report();
        let found = report.seen.first();
        let parent = found.and_then(|seen| seen.name);
        let subject = match self.action() {
            Action::Login(user) => Some(user),
            Action::Elevate => found.and_then(|seen| seen.subject),
            _ => None,
        };
        Made { key, tag, subject, parent: parent.filter(|_| subject.is_some()) }
    }
}
