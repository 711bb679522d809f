//! When a session, or a cookie of it, is over: from then on nobody gets at it, whatever they show.

use super::{Entry, Found, Log, Moment};
use crate::application::Action;

impl Log {
    /// Why nobody may get at the session by a cookie of that generation any more, in quiet times or adrift.
    pub(crate) fn is_over(
        &self,
        session: u32,
        generation: u32,
        now: Moment,
        is_adrift: bool,
    ) -> Option<&'static str> {
        let made = self.request(session).end.as_ref()?.at;
        let lag = self.lag(is_adrift);
        let ends = self.requests.iter().filter(|other| self.ends(other, session) && other.ended_by(now.step));
        let mut ends = ends.filter_map(|other| other.end.as_ref());
        if ends.any(|end| now.time >= end.at.time.after(lag)) {
            return Some("which was ended");
        }
        if now.time >= made.time.after(self.policy.absolute_timeout + self.limits.skew) {
            return Some("whose absolute deadline is past");
        }
        let idle = self.idle(session) + self.limits.skew;
        if self.last_use(session, now).is_some_and(|last| now.time >= last.time.after(idle)) {
            return Some("whose idle deadline is past");
        }
        let grace = |end: Moment| now.time >= end.time.after(self.policy.grace + lag);
        if self.left(session, now.step).is_some_and(grace) {
            return Some("whose place another took, longer ago than the grace");
        }
        if self.newest_handed_out(session, now, is_adrift).is_some_and(|newest| newest >= generation + 2) {
            return Some("by a cookie two renewals old");
        }
        self.confirmed(session, generation + 1, now).is_some_and(grace).then_some(
            "by the cookie before the last renewal, longer than the grace after that was confirmed",
        )
    }

    /// Whether the request has ended the session for good, by a logout or with all of its user's.
    pub(super) fn ends(&self, other: &Entry, session: u32) -> bool {
        let is_made_before = || self.request(session).ended_by(other.sent.step);
        let is_meant = match other.action() {
            Action::Logout => other.found() == Found::Session(session),
            Action::EndAll(user) => self.subject(session) == Some(user) && is_made_before(),
            _ => false,
        };
        is_meant && other.is_ok() && !self.may_be_lost(other)
    }

    /// Whether somebody tried to end the session with all of its user's.
    pub(super) fn may_have_ended_all(&self, session: u32) -> bool {
        let Some(user) = self.subject(session) else { return false };
        let made = self.request(session).sent.step;
        let is_after = |other: &Entry| self.done_by(other).is_none_or(|done| done > made);
        self.requests.iter().any(|other| other.action() == Action::EndAll(user) && is_after(other))
    }

    /// When a login or an elevation had taken the session's place, if one had by that step.
    pub(super) fn left(&self, session: u32, step: u32) -> Option<Moment> {
        let takes_over = |other: &&Entry| {
            let action = other.action();
            matches!(action, Action::Login(_) | Action::Elevate)
                && other.ended_it(session, action, step)
                && !self.may_be_lost(other)
        };
        self.requests.iter().filter(takes_over).filter_map(|heir| heir.end.as_ref()).map(|end| end.at).min()
    }

    /// Whether the session was logged out, or another had taken its place, by that step.
    pub(super) fn is_closed(&self, session: u32, step: u32) -> bool {
        let mut ends = self.requests.iter().filter(|other| other.ended_by(step));
        ends.any(|other| self.ends(other, session)) || self.left(session, step).is_some()
    }

    /// When a request that may have used the session ended last; `None` if one is still under way.
    fn last_use(&self, session: u32, now: Moment) -> Option<Moment> {
        let uses = |other: &&Entry| {
            // What is served adrift extends nothing.
            let may_find =
                !(matches!(other.found(), Found::Nobody) || other.is_adrift() && other.end.is_some());
            let may_use = may_find && other.shows(session).is_some();
            other.sent.step < now.step && (may_use || other.number() == session)
        };
        let mut last = None;
        for other in self.requests.iter().filter(uses) {
            if !other.ended_by(now.step) {
                return None;
            }
            last = last.max(other.end.as_ref().map(|end| end.at));
        }
        last
    }

    pub(super) fn newest_handed_out(&self, session: u32, now: Moment, is_adrift: bool) -> Option<u32> {
        let answers = self.requests.iter().filter(|other| !self.may_be_of_lost(other));
        let answers = answers.filter_map(|other| other.end.as_ref());
        let cookies = answers.filter(|end| self.is_past(end.at, now, is_adrift)).flat_map(|end| &end.set);
        cookies.filter(|cookie| cookie.session == session).map(|cookie| cookie.generation).max()
    }

    /// When a request that nothing disturbed had shown that generation.
    pub(super) fn confirmed(&self, session: u32, generation: u32, now: Moment) -> Option<Moment> {
        let confirms = |other: &&Entry| {
            other.ended_by(now.step)
                && other.found() == Found::Session(session)
                && other.shows(session).is_some_and(|shown| shown.generation == generation)
                && !other.changes_identity()
                && !self.had_faults(other)
                && !self.may_be_of_lost(other)
                && self.is_alone(other, session)
        };
        self.requests.iter().filter(confirms).filter_map(|other| other.end.as_ref()).map(|end| end.at).min()
    }

    /// Whether no other request that showed the session ran beside this one, or so shortly before that this one may have had a
    /// copy from before that: its upkeep then finds that somebody wrote first, and leaves it to the next.
    pub(super) fn is_alone(&self, request: &Entry, session: u32) -> bool {
        let may_be_missed = |other: &Entry| {
            let staleness = self.limits.staleness.unwrap_or_default();
            other.end.as_ref().is_some_and(|end| request.sent.time < end.at.time.after(staleness))
                && other.sent.step < request.sent.step
        };
        !self.requests.iter().any(|other| {
            other.number() != request.number()
                && (other.shows(session).is_some() || other.number() == session)
                && (other.overlaps(request) || may_be_missed(other))
        })
    }
}

impl Entry {
    /// Whether it has ended the session by `action`.
    pub(super) fn ended_it(&self, session: u32, action: Action, step: u32) -> bool {
        self.action() == action
            && self.is_ok()
            && self.ended_by(step)
            && self.found() == Found::Session(session)
    }
}
