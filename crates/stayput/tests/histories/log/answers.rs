//! What answers say: failures only where something failed, success only where it can have been had.

use super::{Entry, Found, Log, Verdict, must};
use crate::application::Action;

impl Log {
    pub(super) fn judge_answer(&self, request: &Entry) -> Verdict {
        let Some(end) = &request.end else { return Ok(()) };
        let status = end.status;
        if status.is_server_error() {
            return must(self.had_faults(request), format_args!("was answered {status}, but nothing failed"));
        }
        let elevated = request.action() == Action::Elevate && request.is_ok();
        let Found::Session(session) = request.found() else { return must(!elevated, "elevated nobody") };
        let is_anonymous = self.sessions.get(&session).is_some_and(|made| made.subject.is_none());
        must(!elevated || !is_anonymous, "elevated an anonymous session")?;
        let needs_login = request.action() == Action::Elevate && is_anonymous;
        // A login whose new session the store forgets before it is finished fails, too.
        let is_interrupted = self.is_revoked(request) || self.may_be_lost(request);
        let is_alive = request.is_refused() && !is_interrupted && self.is_alive_for(session, request);
        must(!is_alive || needs_login, format_args!("was answered {status}, but its session is alive"))?;
        let wrote = request.is_ok() && request.certainly_writes();
        let was_closed = request.report().acted.is_some_and(|acted| self.is_closed(session, acted));
        must(!was_closed || !wrote, format_args!("wrote to session {session}, which was closed by then"))
    }
}

impl Log {
    /// Whether it logs in as somebody all of whose sessions may have been ended meanwhile.
    fn is_revoked(&self, request: &Entry) -> bool {
        let Action::Login(user) = request.action() else { return false };
        let mut others = self.requests.iter().filter(|other| other.action() == Action::EndAll(user));
        others.any(|other| other.overlaps(request))
    }
}

impl Entry {
    /// Whether success means that it wrote to the session that it came with.
    fn certainly_writes(&self) -> bool {
        match self.action() {
            Action::Mark | Action::Set(_) | Action::Elevate => true,
            Action::Take(_) => self.report().taken.is_some(),
            _ => false,
        }
    }
}
