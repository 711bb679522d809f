//! What may be served while the store is out: what it had confirmed, for a while, to read; and nothing is promised.

use stayput::Outage;

use super::known::View;
use super::{Entry, Log, Verdict, must};
use crate::application::Action;

impl Log {
    /// An adrift session is served where something failed only, and changes nothing: neither a cookie nor what it holds.
    pub(super) fn judge_adrift(&self, request: &Entry) -> Verdict {
        let seen = request.report().seen.clone();
        if !seen.iter().any(|seen| seen.is_adrift) {
            return request.keeps_cookies();
        }
        must(self.policy.outage == Outage::ReadOnly, "was served adrift by servers that refuse")?;
        must(self.had_faults(request), "was adrift, but nothing failed")?;
        let asks_store = |at: usize| View { request, session: 0, at }.asked_store_at().is_some();
        let is_past_store = (0..seen.len()).any(|at| seen[at].is_adrift && asks_store(at));
        must(!is_past_store, "was adrift where no copy will do")?;
        let writes =
            matches!(request.action(), Action::Mark | Action::Set(_) | Action::Remove(_) | Action::Take(_));
        must(!writes || !request.is_ok(), "was told that it wrote to an adrift session")?;
        let Some(end) = request.end.as_ref().filter(|_| seen.iter().all(|seen| seen.is_adrift)) else {
            return Ok(());
        };
        if request.is_ok() && request.changes_identity() {
            // The store was back by then.
            return Ok(());
        }
        must(end.set.is_empty(), "was given a cookie adrift")?;
        request.keeps_cookies()
    }
}

impl Entry {
    /// Who failed keeps all cookies.
    pub(super) fn keeps_cookies(&self) -> Verdict {
        let Some(end) = &self.end else { return Ok(()) };
        must(self.is_ok() || end.deleted.is_empty(), "lost a cookie by a failure")
    }

    /// Whether the session that it came with was adrift.
    pub(super) fn came_adrift(&self) -> bool {
        self.report().seen.first().is_some_and(|seen| seen.is_adrift)
    }

    /// Whether it saw its session as it was before the store was out, and no more than that.
    pub(super) fn is_adrift(&self) -> bool {
        let report = self.report();
        !report.seen.is_empty() && report.seen.iter().all(|seen| seen.is_adrift)
    }
}
