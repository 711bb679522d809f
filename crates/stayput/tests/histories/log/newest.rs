//! Of a server's copy and of what a lifeboat carries, the newer one is served: who comes with older cookies takes nobody back.

use super::{Entry, Log, Verdict, must};
use crate::application::{Action, Seen};

impl Log {
    /// Who is served adrift sees no less than what this server had written last, if it can't but have a copy of that.
    pub(super) fn judge_newest(&self, request: &Entry, session: u32, seen: &Seen) -> Verdict {
        // What a lifeboat says was written elsewhere is shown for a while over whatever there is (docs/outages.md: "for 3 s").
        if !seen.is_adrift || !self.losses.is_empty() {
            return Ok(());
        }
        for other in self.requests.iter().filter(|other| self.is_held_for(other, session, request)) {
            let Some(had) = other.report().seen.last().cloned() else { continue };
            let number = other.number();
            let missing = had.marks.iter().find(|mark| !seen.marks.contains(mark));
            must(
                missing.is_none(),
                format_args!("did not see mark {missing:?}, which {number} had left here"),
            )?;
            must(seen.count >= had.count, format_args!("saw a lower count than {number} had left here"))?;
        }
        Ok(())
    }

    /// Whether the server that `request` came to has a copy of what `other` wrote there, and one that is good for it.
    fn is_held_for(&self, other: &Entry, session: u32, request: &Entry) -> bool {
        let Some(end) = &request.end else { return false };
        let is_written = matches!(other.action(), Action::Mark | Action::Add)
            && other.is_ok()
            && other.process == request.process
            && other.ended_by(request.sent.step)
            && other.wrote_in_store_to(session)
            && !self.had_faults(other);
        is_written
            && other.is_as_new_for(session, request)
            && end.at.time.after(self.limits.skew + super::lifeboat::SLACK)
                < other.sent.time.after(self.policy.max_age)
            && !self.was_told(request.process, other.sent.step, end.at.step)
            && !self.requests.iter().any(|by| by.may_have_changed(session, other, request))
    }

    /// Whether the store told that process of anything in between: its copy of that is gone.
    fn was_told(&self, process: u32, from: u32, to: u32) -> bool {
        self.told.iter().any(|(whose, step)| *whose == process && (from..=to).contains(step))
    }
}

impl Entry {
    fn wrote_in_store_to(&self, session: u32) -> bool {
        let report = self.report();
        let is_there =
            |seen: Option<&Seen>| seen.is_some_and(|seen| seen.name == Some(session) && !seen.is_adrift);
        is_there(report.seen.first()) && is_there(report.seen.last())
    }

    /// Whether a copy of what this one wrote will do for what the client of `later` has seen.
    fn is_as_new_for(&self, session: u32, later: &Self) -> bool {
        let generation = |of: &Self| of.shows(session).map(|shown| shown.generation);
        let version = |version: Option<super::Version>| version.filter(|version| version.session == session);
        let seen = version(later.version).map(|version| version.count);
        let is_of_version =
            seen.is_none() || seen <= version(self.saw_version()).map(|version| version.count);
        is_of_version && generation(later) <= generation(self)
    }

    /// Whether it may have had the server give up its copy of what `other` wrote before `later` came: by a write of its own, or
    /// by what it found.
    fn may_have_changed(&self, session: u32, other: &Self, later: &Self) -> bool {
        let is_between = ![other.number(), later.number()].contains(&self.number())
            && !self.ended_by(other.sent.step)
            && later.end.as_ref().is_some_and(|end| self.sent.step <= end.at.step);
        let is_about = self.shows(session).is_some() || matches!(self.action(), Action::EndAll(_));
        // What comes with a lifeboat that has writes may be written on here, and is then what this server shows.
        is_between && is_about && (self.has_writes || !self.is_adrift() || self.end.is_none())
    }
}
