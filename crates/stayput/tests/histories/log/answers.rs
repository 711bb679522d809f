//! What answers say: failures only where something failed, cookies only of the session that was shown or made.

use super::{Entry, Found, Log, Verdict, must};
use crate::application::Action;
use crate::browser::Kind;

impl Log {
    pub(super) fn judge_answer(&self, request: &Entry) -> Verdict {
        self.judge_status(request)?;
        self.judge_set(request)?;
        judge_deleted(request)
    }

    fn judge_status(&self, request: &Entry) -> Verdict {
        let Some(end) = &request.end else { return Ok(()) };
        let status = end.status;
        if status.is_server_error() {
            return must(self.had_faults(request), format_args!("was answered {status}, but nothing failed"));
        }
        if let Found::Session(session) = request.found() {
            let is_alive = request.is_refused() && self.is_alive_for(session, request);
            let is_anonymous = self.sessions.get(&session).is_some_and(|made| made.subject.is_none());
            let needs_login = request.action() == Action::Elevate && is_anonymous;
            must(!is_alive || needs_login, format_args!("was answered {status}, but its session is alive"))?;
            let writes = matches!(request.action(), Action::Mark | Action::Set(_) | Action::Elevate);
            let is_left = self.left(session, request.sent).is_some();
            must(!(writes && is_left && request.is_ok()), "wrote to what a login left behind")?;
        }
        let elevated = request.action() == Action::Elevate && request.is_ok();
        must(!elevated || request.found() != Found::Nobody, "elevated nobody")
    }

    fn judge_set(&self, request: &Entry) -> Verdict {
        let Some(end) = &request.end else { return Ok(()) };
        for cookie in &end.set {
            let subject = self.sessions.get(&cookie.session).and_then(|made| made.subject);
            must(cookie.kind == Kind::of(subject), "set the other kind of session's cookie")?;
            if cookie.session == request.number() {
                continue;
            }
            let shown =
                request.shows(cookie.session).filter(|_| request.found() == Found::Session(cookie.session));
            let Some(shown) = shown else { return Err(format!("was given session {}", cookie.session)) };
            must(cookie.generation > shown.generation, "was given a cookie no newer than its own")?;
            let is_left = self.left(cookie.session, request.sent).is_some();
            must(!is_left, "was given the cookie of what a login left behind")?;
        }
        let makes = matches!(request.action(), Action::Login(_) | Action::Elevate) && request.is_ok();
        let has_new = end.set.iter().any(|cookie| cookie.session == request.number());
        must(!makes || has_new, "got no new id")
    }
}

fn judge_deleted(request: &Entry) -> Verdict {
    let Some(end) = &request.end else { return Ok(()) };
    let allowed: &[Kind] = match request.action() {
        Action::Logout => &[Kind::Session, Kind::Anonymous],
        Action::Login(_) | Action::Elevate => &[Kind::Anonymous],
        _ => &[],
    };
    must(end.deleted.iter().all(|kind| allowed.contains(kind)), "lost a cookie that is not over")?;
    let done = request.is_ok() && request.action() == Action::Logout;
    // The session cookie stays where it was an anonymous session that ended: a parallel login may have set it.
    must(!done || end.deleted.contains(&Kind::Anonymous), "kept a cookie after its logout")
}
