//! What happened, as plain lists: the oracle. Every rule asks the log, and knows nothing of how the library works.
//!
//! The log believes no server: what it holds is who sent what when, and what came back.

mod access;
mod adrift;
mod answers;
mod content;
mod cookies;
mod known;
mod lifeboat;
mod lost;
mod newest;
mod over;

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::sync::MutexGuard;
use std::time::Duration;

use axum::http::StatusCode;
use stayput::{LogTag, Outage, Policy, Timestamp, Unreplayed};
use stayput_core::StorageKey;

use crate::application::{Action, MARKS, Report, Task};
use crate::browser::Kind;

pub(crate) use self::lost::Loss;

/// A point in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    pub(crate) step: u32,
    pub(crate) time: Timestamp,
}

/// A request, from its sending to its answer.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) task: Task,
    /// The sessions whose cookies it carried, the logged-in one first.
    pub(crate) shown: Vec<Shown>,
    /// What its version cookie said.
    pub(crate) version: Option<Version>,
    /// The session that its browser must be in, whatever its cookie says.
    pub(crate) home: Option<u32>,
    /// The requests before it of whose answers its cookies come, and of nothing else.
    pub(crate) after: Vec<u32>,
    /// What its lifeboat is of, and how new the state of it that was last in the store.
    pub(crate) boat: Option<Version>,
    /// Whether that carries what was written since.
    pub(crate) has_writes: bool,
    /// The server that it went to, and the process.
    pub(crate) server: usize,
    pub(crate) process: u32,
    pub(crate) sent: Moment,
    pub(crate) end: Option<End>,
}

/// A session's cookie in a request or an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) kind: Kind,
    pub(crate) session: u32,
    pub(crate) generation: u32,
}

impl fmt::Debug for Shown {
    /// `Session 5.2`: the third cookie of the session that request 5 made.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}.{}", self.kind, self.session, self.generation)
    }
}

/// A session's version in a request or an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Version {
    pub(crate) session: u32,
    pub(crate) count: u64,
}

/// What servers with near caches may fall short by. Without them, nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Whether servers may answer from copies, and how old what is in them may be.
    pub(crate) staleness: Option<Duration>,
    /// The most that two clocks differ by.
    pub(crate) skew: Duration,
}

/// A request's answer, as the server gave it.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) at: Moment,
    pub(crate) status: StatusCode,
    /// What its version cookie says, if it has one.
    pub(crate) version: Option<Version>,
    pub(crate) set: Vec<Shown>,
    pub(crate) deleted: Vec<Kind>,
    /// Whether it left word in the browser that its session was ended while the store was out.
    pub(crate) says_ended: bool,
}

/// A session, by the request that made it.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) key: StorageKey,
    pub(crate) tag: LogTag,
    pub(crate) subject: Option<u32>,
    /// The session that it took the place of.
    pub(crate) parent: Option<u32>,
}

/// Which session a handler had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It hasn't seen any yet.
    Unknown,
    Nobody,
    Session(u32),
}

/// All of a history so far.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) requests: Vec<Entry>,
    pub(crate) sessions: BTreeMap<u32, Made>,
    /// The steps at which the store failed for all.
    pub(crate) faults: Vec<u32>,
    /// The processes, by steps, for which it failed, or had failed so often that they may have turned requests away.
    pub(crate) wary: Vec<(u32, u32)>,
    /// The steps from which on, and until which, what the store was asked for may have been done later than anybody waited.
    pub(crate) silences: Vec<(u32, Option<u32>)>,
    /// What the store forgot.
    pub(crate) losses: Vec<Loss>,
    /// Since when the store is well again for good, and everybody knows.
    pub(crate) rest: Option<Timestamp>,
    /// From when until when the store did nothing for anybody.
    pub(crate) blackouts: Vec<(Moment, Option<Moment>)>,
    /// What servers said that they couldn't bring into the store, by session.
    pub(crate) unreplayed: Vec<(LogTag, Unreplayed)>,
    /// The processes that ended without a journal.
    pub(crate) forgetful: Vec<u32>,
    /// Which process the store told of something, and when.
    pub(crate) told: Vec<(u32, u32)>,
    policy: Policy,
    limits: Limits,
}

/// A rule that was kept, or how it was broken.
pub(crate) type Verdict = Result<(), String>;

/// Holds a history to a rule.
pub(crate) fn must(holds: bool, rule: impl Display) -> Verdict {
    if holds { Ok(()) } else { Err(rule.to_string()) }
}

impl Log {
    pub(crate) fn new(policy: Policy, limits: Limits) -> Self {
        let (requests, sessions, faults) = (Vec::new(), BTreeMap::new(), Vec::new());
        let (wary, silences, losses) = (Vec::new(), Vec::new(), Vec::new());
        let (rest, blackouts, unreplayed) = (None, Vec::new(), Vec::new());
        let (forgetful, told) = (Vec::new(), Vec::new());
        Self {
            requests,
            sessions,
            faults,
            wary,
            silences,
            losses,
            rest,
            blackouts,
            unreplayed,
            forgetful,
            told,
            policy,
            limits,
        }
    }

    /// Judges a request by all rules, once it has ended.
    pub(crate) fn judge(&self, request: &Entry) -> Verdict {
        if self.policy.outage == Outage::Lifeboat {
            return self.judge_lifeboat(request);
        }
        self.judge_access(request)?;
        self.judge_adrift(request)?;
        self.judge_answer(request)?;
        self.judge_cookies(request)?;
        self.judge_content(request)
    }

    pub(crate) fn request(&self, number: u32) -> &Entry {
        &self.requests[number as usize]
    }

    /// The session under a storage key.
    pub(crate) fn session_under(&self, key: StorageKey) -> Option<u32> {
        self.sessions.iter().find(|(_, made)| made.key == key).map(|(name, _)| *name)
    }

    /// The session and those before it whose value under `key` it began with.
    fn line(&self, session: u32, key: &str) -> Vec<u32> {
        let mut line = vec![session];
        let mut at = session;
        while let Some(made) = self.sessions.get(&at)
            && let Some(parent) = made.parent
            && self.hands_on(at, parent, key)
        {
            line.push(parent);
            at = parent;
        }
        line
    }

    fn hands_on(&self, session: u32, parent: u32, key: &str) -> bool {
        let owner = self.sessions.get(&parent).and_then(|made| made.subject);
        match self.request(session).task.action {
            Action::Elevate => true,
            Action::Login(user) => key == MARKS && owner.is_none_or(|owner| owner == user),
            _ => false,
        }
    }

    fn subject(&self, session: u32) -> Option<u32> {
        self.sessions.get(&session).and_then(|made| made.subject)
    }

    fn idle(&self, session: u32) -> Duration {
        match self.subject(session) {
            Some(_) => self.policy.idle_timeout,
            None => self.policy.anonymous_idle_timeout,
        }
    }

    /// Whether the store failed while the request ran, or had failed so lately that its server may have turned it away.
    fn had_faults(&self, request: &Entry) -> bool {
        let end = request.end.as_ref().map_or(u32::MAX, |end| end.at.step);
        let ran = request.sent.step..=end;
        let is_wary = |(process, step): &(u32, u32)| *process == request.process && ran.contains(step);
        self.faults.iter().any(|step| ran.contains(step)) || self.wary.iter().any(is_wary)
    }
}

impl Log {
    /// The step after which the request does nothing any more: with its answer, unless it failed, and the store may have been
    /// at it still.
    fn done_by(&self, request: &Entry) -> Option<u32> {
        let end = request.end.as_ref()?.at.step;
        let is_over =
            |(from, to): &&(u32, Option<u32>)| *from <= end && to.is_none_or(|to| to >= request.sent.step);
        let mut silences = self.silences.iter().filter(is_over).filter(|_| !request.is_ok());
        silences.try_fold(end, |end, (_, to)| to.map(|to| end.max(to)))
    }
}

impl Entry {
    pub(crate) fn number(&self) -> u32 {
        self.task.number
    }

    pub(crate) fn action(&self) -> Action {
        self.task.action
    }

    /// What its handler told so far.
    pub(crate) fn report(&self) -> MutexGuard<'_, Report> {
        self.task.report.lock().unwrap()
    }

    /// The session that it came with.
    pub(crate) fn found(&self) -> Found {
        match self.report().seen.first() {
            None => Found::Unknown,
            Some(seen) => seen.name.map_or(Found::Nobody, Found::Session),
        }
    }

    /// The session that it writes to: the one that it came with, or a new one.
    fn target(&self) -> Option<u32> {
        match self.found() {
            Found::Unknown => None,
            Found::Nobody => Some(self.number()),
            Found::Session(name) => Some(name),
        }
    }

    pub(crate) fn shows(&self, session: u32) -> Option<Shown> {
        self.shown.iter().find(|shown| shown.session == session).copied()
    }

    /// Whether it had its answer by that step.
    fn ended_by(&self, step: u32) -> bool {
        self.end.as_ref().is_some_and(|end| end.at.step <= step)
    }

    /// Whether there was a time at which both were under way.
    fn overlaps(&self, other: &Self) -> bool {
        let starts_before_end =
            |a: &Self, b: &Self| b.end.as_ref().is_none_or(|end| a.sent.step < end.at.step);
        starts_before_end(self, other) && starts_before_end(other, self)
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.status.is_success())
    }

    /// Whether it was told that what it asked for was not done.
    fn is_refused(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.status.is_client_error())
    }

    /// Whether it gives the session that it came with a new id, or ends it.
    pub(crate) fn changes_identity(&self) -> bool {
        matches!(self.action(), Action::Login(_) | Action::Elevate | Action::Logout)
    }
}
