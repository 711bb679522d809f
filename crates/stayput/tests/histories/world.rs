//! Three servers over one store, and the requests that run on them.
//!
//! One thread does everything, and time stands still unless it is moved: the same orders always have the same outcome.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{Request, Response};
use stayput::{Clock, Keyring, Policy, SessionStore, Sessions};
use stayput_testkit::{ManualClock, Seed, SeededRandom};
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::application::{Action, MARKS, Report, Server, Task, server};
use crate::browser::{Change, Jar, KINDS, Kind, Meaning};
use crate::gates::{Fate, GatedStore, Gates};
use crate::log::{End, Entry, Log, Made, Moment, Shown, Verdict};

/// What a history acts on.
pub(crate) struct World {
    pub(crate) log: Log,
    pub(crate) trace: String,
    servers: Vec<Server>,
    store: Arc<dyn SessionStore>,
    clock: Arc<ManualClock>,
    pub(crate) gates: Arc<Gates>,
    keyring: Arc<Keyring>,
    running: Vec<(u32, JoinHandle<Response<()>>)>,
    /// What the cookies say that were handed out.
    cookies: HashMap<String, Shown>,
}

/// An answer on its way to its browser.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) request: u32,
    pub(crate) changes: Vec<Change>,
}

/// Three, so that two may disagree about a third.
pub(crate) const SERVERS: usize = 3;

impl World {
    /// Servers over `store`. Outside of a runtime, so that only the history sweeps.
    pub(crate) fn new(seed: Seed, clock: Arc<ManualClock>, store: Arc<dyn SessionStore>) -> Self {
        let random = Arc::new(SeededRandom::new(seed));
        let keyring = Arc::new(Keyring::generate(&*random));
        let gates = Arc::new(Gates::default());
        let policy = Policy {
            carry: vec![MARKS.to_owned()],
            absolute_timeout: Duration::from_mins(90),
            ..Policy::web()
        };
        let build = |_| {
            let sessions = Sessions::builder(GatedStore::new(store.clone(), gates.clone()))
                .keyring(keyring.clone())
                .policy(policy.clone())
                .clock(clock.clone())
                .random(random.clone())
                .build()
                .expect("the rules are sound");
            server(&sessions, gates.clone())
        };
        let servers = (0..SERVERS).map(build).collect();
        let (log, trace) = (Log::new(policy), String::new());
        let (running, cookies) = (Vec::new(), HashMap::new());
        Self { log, trace, servers, store, clock, gates, keyring, running, cookies }
    }

    /// Sends a request with the cookies in `jar`, and gives back its number.
    pub(crate) fn send(&mut self, server: usize, jar: &Jar, home: Option<u32>, act: (Action, bool)) -> u32 {
        let number = u32::try_from(self.log.requests.len()).expect("histories are short");
        let task = Task { number, action: act.0, is_slow: act.1, report: Arc::default() };
        let shown = self.meaning_of(jar);
        let what = format_args!("{:?}{}", act.0, if act.1 { " slowly" } else { "" });
        self.note(format_args!("#{number} to server {server}: {what}, shows {shown:?}, home {home:?}"));
        let entry = Entry { task: task.clone(), shown, home, sent: self.moment(), end: None };
        self.log.requests.push(entry);
        let mut request = Request::new(());
        request.headers_mut().insert(COOKIE, jar.header().try_into().expect("cookies are tokens"));
        request.extensions_mut().insert(task);
        let service = self.servers[server].clone();
        let running = async move { service.oneshot(request).await.unwrap_or_else(|never| match never {}) };
        self.running.push((number, tokio::spawn(running)));
        number
    }

    /// Runs requests until each waits at a gate or has its answer, and judges those that have.
    pub(crate) async fn settle(&mut self) -> Result<Vec<Answer>, String> {
        // Time is paused: it jumps when nothing else can be done.
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.gates.count_step();
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
            self.log.faults.push(self.gates.step());
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

    /// For how long the oldest request has been running.
    pub(crate) fn longest_running(&self) -> Duration {
        let oldest = self.running.iter().map(|(number, _)| self.log.request(*number).sent.time).min();
        oldest.map_or(Duration::ZERO, |oldest| self.clock.now().since(oldest))
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
        self.note(format_args!("{by:?} pass"));
    }

    pub(crate) fn sweep(&mut self) -> Verdict {
        let swept = crate::gates::finish(self.store.sweep(usize::MAX)).map_err(|error| error.to_string())?;
        self.note(format_args!("{swept} records swept"));
        Ok(())
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment { step: self.gates.step(), time: self.clock.now() }
    }

    /// What the cookies in `jar` say. One under another name than it was given says nothing, a spare one only beside the
    /// session cookie that its login came with.
    pub(crate) fn meaning_of(&self, jar: &Jar) -> Vec<Shown> {
        let shown = |kind| self.cookies.get(jar.get(kind)?).copied().filter(|shown| shown.kind == kind);
        let [session, anonymous, spare] = KINDS.map(shown);
        let came_with = |login: u32| {
            let cookies = &self.log.request(login).shown;
            cookies.iter().find(|cookie| cookie.kind == Kind::Session).map(|cookie| cookie.session)
        };
        let is_beside =
            |spare: &Shown| session.is_some_and(|it| came_with(spare.session) == Some(it.session));
        [session, spare.filter(is_beside), anonymous].into_iter().flatten().collect()
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
        let mut end =
            End { at: self.moment(), status: response.status(), set: Vec::new(), deleted: Vec::new() };
        for change in &changes {
            match &change.value {
                Some(value) => end.set.push(self.handed_out(number, change, value)),
                None => end.deleted.push(change.kind),
            }
        }
        let Report { seen, taken, .. } = self.log.request(number).report().clone();
        let (status, set, deleted) = (end.status, end.set.clone(), end.deleted.clone());
        self.note(format_args!(
            "#{number} {status}, saw {seen:?} took {taken:?} sets {set:?} deletes {deleted:?}"
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
        let meaning = Meaning::of(change.kind, value, &self.keyring).expect("servers sign what they set");
        let session = self.log.session_under(meaning.key).unwrap_or_else(|| {
            let made = self.log.request(number).makes(meaning.key);
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
    fn makes(&self, key: stayput_core::StorageKey) -> Made {
        let report = self.report();
        let found = report.seen.first();
        let parent = found.and_then(|seen| seen.name);
        let subject = match self.action() {
            Action::Login(user) => Some(user),
            Action::Elevate => found.and_then(|seen| seen.subject),
            _ => None,
        };
        Made { key, subject, parent: parent.filter(|_| subject.is_some()) }
    }
}
