//! What a request must know of others, where servers may answer from copies.
//!
//! Without near caches a request knows of everything that had its answer when it was sent.

use std::time::Duration;

use super::{Entry, Log, Moment, Version};
use crate::application::Action;
use crate::browser::Kind;

/// What a request's handler saw of a session, at one time of several.
#[derive(Clone, Copy)]
pub(super) struct View<'l> {
    pub(super) request: &'l Entry,
    pub(super) session: u32,
    /// Which of the things that it saw.
    pub(super) at: usize,
}

impl Log {
    /// Whether what `other` did and saw must show in this view. It must if it had its answer before, and
    ///
    /// * this is no copy: it was asked for [fresh](stayput::Session::fresh), or is what a write left; or
    /// * the same browser awaited that answer, and every one since: who waits reads their own writes, wherever. Unless
    ///   somebody ended the session: who wrote just before is told of no version; or
    /// * the client shows a version of the session that is no older than the one it was answered with; or
    /// * the same process answered it: no server goes back; or
    /// * no copy may be as old as that.
    pub(super) fn must_know(&self, view: View<'_>, other: &Entry) -> bool {
        let request = view.request;
        if self.may_be_lost(other) {
            return false;
        }
        let Some(staleness) = self.staleness(view.is_adrift()) else {
            return other.ended_by(request.sent.step);
        };
        if let Some(step) = view.asked_store_at() {
            return other.ended_by(step);
        }
        if self.may_see_lost(request) {
            return false;
        }
        let Some(end) = other.end.as_ref().filter(|end| end.at.step <= request.sent.step) else {
            return false;
        };
        // A store that forgot counts versions anew: what a client has seen says nothing then.
        let tells = !self.is_older_than_loss(view.session);
        let showed = |version: Version| {
            let other = other.saw_version().filter(|other| other.session == version.session);
            version.session == view.session && other.is_some_and(|other| other.count <= version.count)
        };
        let awaited = request.after.contains(&other.number()) && !self.may_have_ended_all(view.session);
        tells && (awaited || request.version.is_some_and(showed))
            || request.process == other.process
            || request.sent.time >= end.at.time.after(staleness)
    }

    /// The same of what ended sessions that nobody showed: their clients weren't told.
    pub(super) fn must_know_ended(&self, view: View<'_>, other: &Entry) -> bool {
        let request = view.request;
        if self.may_be_lost(other) {
            return false;
        }
        let Some(staleness) = self.staleness(view.is_adrift()) else {
            return other.ended_by(request.sent.step);
        };
        if let Some(step) = view.asked_store_at() {
            return other.ended_by(step);
        }
        let ended = other.end.as_ref().filter(|end| end.at.step <= request.sent.step);
        let is_here = request.process == other.process;
        ended.is_some_and(|end| is_here || request.sent.time >= end.at.time.after(staleness))
    }

    /// How old what is in a copy may be that is served adrift, or in quiet times.
    pub(super) fn staleness(&self, is_adrift: bool) -> Option<Duration> {
        let staleness = self.limits.staleness?;
        Some(if is_adrift { self.policy.max_age.max(staleness) } else { staleness })
    }

    /// Whether it must be known everywhere `now` what was so at `then`, whatever a server holds copies of.
    pub(super) fn is_past(&self, then: Moment, now: Moment, is_adrift: bool) -> bool {
        let staleness = self.staleness(is_adrift).unwrap_or_default();
        then.step <= now.step && now.time >= then.time.after(staleness)
    }

    /// How much later than it should a server may find that a time is over: its copy of when that began may be old, and the
    /// clocks differ.
    pub(super) fn lag(&self, is_adrift: bool) -> Duration {
        self.staleness(is_adrift).unwrap_or_default() + self.limits.skew
    }
}

impl View<'_> {
    pub(super) fn is_adrift(&self) -> bool {
        self.request.report().seen.get(self.at).is_some_and(|seen| seen.is_adrift)
    }

    /// When the store was asked for what is seen here, if it was for sure: what is seen after a write is what was written.
    pub(super) fn asked_store_at(&self) -> Option<u32> {
        let step = match self.request.action() {
            Action::Refresh if self.at > 0 => self.request.report().acted,
            Action::Fresh => None,
            _ if self.at > 0 => None,
            _ => return None,
        };
        Some(step.unwrap_or(self.request.sent.step))
    }
}

impl Entry {
    /// The version of its session that its client has from its answer, or had before; none after a logout.
    pub(super) fn saw_version(&self) -> Option<Version> {
        let end = self.end.as_ref().filter(|end| !end.deleted.contains(&Kind::Version))?;
        // Who has another session since has no version of the one before.
        end.version.or(self.version.filter(|_| !self.changes_identity()))
    }
}
