//! Who gets which session: nobody one whose cookie they didn't show, everybody one that is theirs and alive.

use std::collections::BTreeMap;
use std::time::Duration;

use stayput::Timestamp;

use super::{End, Entry, Found, Log, Moment, Verdict, must};
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
            if let Some(reason) = self.is_over(session, shown.generation, request.sent) {
                return Err(format!("got session {session}, {reason}"));
            }
        }
        for shown in &request.shown {
            if found == Some(shown.session) {
                break;
            }
            let alive = self.is_alive_for(shown.session, request);
            must(!alive, format_args!("did not get session {}, which is alive", shown.session))?;
        }
        let home = request.home.filter(|home| {
            found != Some(*home) && !request.end.as_ref().is_some_and(|end| self.is_hurried(*home, end.at))
        });
        let kept_out = home.filter(|home| self.is_alive_during(*home, request));
        must(kept_out.is_none(), format_args!("its browser was logged out of session {kept_out:?}"))
    }

    /// Whether the session is alive all through the request, and its cookie the newest or still good.
    pub(super) fn is_alive_for(&self, session: u32, request: &Entry) -> bool {
        let (Some(end), Some(shown)) = (&request.end, request.shows(session)) else { return false };
        let mut newer = self.first_shown(session, end.at).split_off(&(shown.generation + 1));
        let next = newer.remove(&(shown.generation + 1));
        let in_grace = |first: Timestamp| end.at.time < first.after(self.policy.grace);
        newer.is_empty()
            && next.is_none_or(in_grace)
            && !self.is_hurried(session, end.at)
            && self.is_alive_during(session, request)
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

    /// Whether a generation was first shown when it was about to be renewed. It then is at once, which ends the one
    /// before it without its grace: a gap of the library, known and not held against it here.
    fn is_hurried(&self, session: u32, until: Moment) -> bool {
        let first = self.first_shown(session, until).into_iter().filter(|(generation, _)| *generation > 0);
        first.into_iter().any(|(generation, first)| {
            let due = self.renewed(session, generation).after(self.policy.renewal_interval);
            first.after(self.policy.grace * 10) >= due
        })
    }

    /// The earliest time at which that generation may have begun.
    fn renewed(&self, session: u32, generation: u32) -> Timestamp {
        let may_renew = |other: &&Entry| {
            let hands_out =
                |end: &End| end.set.iter().any(|set| (set.session, set.generation) == (session, generation));
            let is_silent = other.end.is_none() || self.had_faults(other);
            let shows_last = other.shows(session).is_some_and(|shown| shown.generation + 1 == generation);
            is_silent && shows_last || other.end.as_ref().is_some_and(hands_out)
        };
        self.requests.iter().filter(may_renew).map(|other| other.sent.time).min().unwrap_or_default()
    }

    /// Whether the session is alive all through the request, unless its cookie is too old.
    pub(super) fn is_alive_during(&self, session: u32, request: &Entry) -> bool {
        let Some(end) = &request.end else { return false };
        let began = self.request(session).sent.time;
        let may_end = |other: &Entry| {
            other.number() != request.number()
                && other.changes_identity()
                && !(other.action() == Action::Elevate && other.is_refused())
                && other.sent.step < end.at.step
                && other.shows(session).is_some()
                && matches!(other.found(), Found::Unknown | Found::Session(_))
        };
        let soon = end.at.time.after(SLACK);
        soon < began.after(self.policy.absolute_timeout)
            && soon < self.kept_until(session, request.sent)
            && !self.requests.iter().any(may_end)
    }

    /// Until when the requests that had ended must have kept the session alive.
    fn kept_until(&self, session: u32, now: Moment) -> Timestamp {
        let least = self.idle(session) / 10 * 9;
        let uses = |other: &&Entry| other.found() == Found::Session(session) && !self.had_faults(other);
        let used = self.requests.iter().filter(uses).filter(|other| other.ended_by(now.step));
        let mut spans: Vec<_> =
            used.filter_map(|other| Some((other.end.as_ref()?.at, other.sent.time))).collect();
        spans.sort_unstable_by_key(|(end, _)| *end);
        // A request is counted when it ends: one that takes longer than the session had left doesn't save it.
        spans.into_iter().fold(self.request(session).sent.time.after(least), |until, (end, sent)| {
            if end.time.after(SLACK) < until { until.max(sent.after(least)) } else { until }
        })
    }
}

/// How long a store call may take: what a request knows of the session may be that old when it is written.
const SLACK: Duration = Duration::from_secs(10);
