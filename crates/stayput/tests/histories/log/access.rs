//! Who gets which session: nobody one whose cookie they didn't show, everybody one that is theirs and alive.

use std::collections::BTreeMap;
use std::time::Duration;

use stayput::{NearCache, Timestamp};

use super::known::View;
use super::{Entry, Found, Log, Moment, Verdict, must};
use crate::application::Action;

impl Log {
    pub(super) fn judge_access(&self, request: &Entry) -> Verdict {
        let found = match request.found() {
            Found::Unknown => return Ok(()),
            Found::Nobody => None,
            Found::Session(name) => Some(name),
        };
        if let Some(session) = found {
            let shown = request.shows(session);
            let Some(shown) = shown else { return Err(format!("got session {session} without its cookie")) };
            if let Some(reason) = self.is_over(session, shown.generation, request.sent, request.came_adrift())
            {
                return Err(format!("got session {session}, {reason}"));
            }
            self.judge_ended(request)?;
        }
        for shown in &request.shown {
            if found == Some(shown.session) {
                break;
            }
            let alive = self.is_alive_for(shown.session, request);
            must(!alive, format_args!("did not get session {}, which is alive", shown.session))?;
        }
        let home = request.home.filter(|home| found != Some(*home));
        let kept_out = home.filter(|home| self.is_alive_during(*home, request));
        must(kept_out.is_none(), format_args!("its browser was logged out of session {kept_out:?}"))
    }

    /// What was logged out is so at once where nobody may answer from a copy: on the server that did it, and for who asks the
    /// store. If that could only be closed and not removed, it is so by the clock of who did it.
    fn judge_ended(&self, request: &Entry) -> Verdict {
        let seen = request.report().seen.clone();
        for (at, seen) in seen.iter().enumerate() {
            let Some(session) = seen.name else { continue };
            let view = View { request, session, at };
            let ends = |other: &&Entry| {
                let is_known = match other.action() {
                    Action::EndAll(_) => self.must_know_ended(view, other),
                    _ => self.must_know(view, other),
                };
                let is_here = other.process == request.process;
                self.ends(other, session) && is_known && (!self.had_faults(other) || is_here)
                    || self.is_still_ended_here(view, other)
            };
            let ended = self.requests.iter().find(ends).map(Entry::number);
            must(ended.is_none(), format_args!("saw session {session}, which {ended:?} had ended"))?;
        }
        Ok(())
    }

    /// Whether the server that answers had ended the session so lately that it knows, even if the store forgot it.
    fn is_still_ended_here(&self, view: View<'_>, other: &Entry) -> bool {
        let View { request, session, .. } = view;
        let lease = other.sent.time.after(NearCache::default().lease);
        self.limits.staleness.is_some()
            && other.process == request.process
            && other.ended_it(session, Action::Logout, request.sent.step)
            && !self.had_faults(other)
            && request.end.as_ref().is_some_and(|end| end.at.time < lease)
    }

    /// Whether the session is alive all through the request, and its cookie the newest or still good.
    pub(super) fn is_alive_for(&self, session: u32, request: &Entry) -> bool {
        let (Some(end), Some(shown)) = (&request.end, request.shows(session)) else { return false };
        let mut newer = self.first_shown(session, end.at).split_off(&(shown.generation + 1));
        let next = newer.remove(&(shown.generation + 1));
        let in_grace =
            |first: Timestamp| end.at.time.after(self.limits.skew) < first.after(self.policy.grace);
        newer.is_empty() && next.is_none_or(in_grace) && self.is_alive_during(session, request)
    }

    /// When each generation of the session was first shown.
    fn first_shown(&self, session: u32, until: Moment) -> BTreeMap<u32, Timestamp> {
        let mut first = BTreeMap::new();
        for other in self.requests.iter().filter(|other| other.sent.step < until.step) {
            if let Some(shown) = other.shows(session) {
                first.entry(shown.generation).or_insert(other.sent.time);
            }
        }
        first
    }

    /// Whether the session is alive all through the request, unless its cookie is too old.
    pub(super) fn is_alive_during(&self, session: u32, request: &Entry) -> bool {
        let Some(end) = &request.end else { return false };
        let made = self.request(session);
        let ends_all = |other: &Entry| {
            let is_meant =
                matches!(other.action(), Action::EndAll(user) if self.subject(session) == Some(user));
            is_meant
                && other.sent.step < end.at.step
                && self.done_by(other).is_none_or(|done| done > made.sent.step)
        };
        let may_end = |other: &Entry| {
            ends_all(other)
                || other.number() != request.number()
                    && other.changes_identity()
                    && !(other.action() == Action::Elevate && other.is_refused())
                    && other.sent.step < end.at.step
                    && other.shows(session).is_some()
                    && matches!(other.found(), Found::Unknown | Found::Session(_))
        };
        let soon = end.at.time.after(SLACK);
        soon < made.sent.time.after(self.policy.absolute_timeout)
            && !self.may_be_lost(made)
            && soon < self.kept_until(session, request.sent)
            && !self.requests.iter().any(may_end)
    }

    /// Until when the requests that had ended must have kept the session alive. One that comes at the very last moment may
    /// find it alive, and touch it too late.
    fn kept_until(&self, session: u32, now: Moment) -> Timestamp {
        let least = self.idle(session) / 10 * 9;
        let uses = |other: &&Entry| {
            let found = other.found() == Found::Session(session);
            found && other.ended_by(now.step) && !self.had_faults(other) && !self.may_be_of_lost(other)
        };
        let began = self.request(session).sent.time.after(least);
        // They stand in the order of their sending.
        self.requests.iter().filter(uses).map(|other| other.sent.time).fold(began, |until, sent| {
            if sent.after(SLACK) < until { until.max(sent.after(least)) } else { until }
        })
    }
}

/// How long a store call may take: what a request knows of the session may be that old when it is written.
const SLACK: Duration = Duration::from_secs(10);
