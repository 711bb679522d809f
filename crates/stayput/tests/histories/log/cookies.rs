//! What answers do to cookies: they set that of the session that was shown or made, its newest, and delete none that
//! may be good.

use super::{End, Entry, Found, Log, Verdict, must};
use crate::application::Action;
use crate::browser::Kind;

impl Log {
    pub(super) fn judge_cookies(&self, request: &Entry) -> Verdict {
        let Some(end) = &request.end else { return Ok(()) };
        self.judge_set(request, end)?;
        self.judge_renewed(request, end)?;
        let allowed: &[Kind] = match request.action() {
            Action::Logout => &[Kind::Session, Kind::Anonymous, Kind::Spare, Kind::Version],
            Action::Login(_) | Action::Elevate => &[Kind::Anonymous, Kind::Spare],
            _ => &[],
        };
        must(end.deleted.iter().all(|kind| allowed.contains(kind)), "lost a cookie that may be good")?;
        // The session cookie stays beside an anonymous session that ended: a parallel login may have set it.
        let logged_out = request.is_ok() && request.action() == Action::Logout;
        must(!logged_out || end.deleted.contains(&Kind::Anonymous), "kept a cookie after its logout")
    }

    fn judge_set(&self, request: &Entry, end: &End) -> Verdict {
        for cookie in &end.set {
            let is_new = cookie.session == request.number();
            if cookie.kind == Kind::Spare {
                let is_login = is_new && self.sessions.contains_key(&cookie.session);
                must(is_login, "was left a spare cookie without a login")?;
                continue;
            }
            let is_right = cookie.kind == Kind::of(self.subject(cookie.session));
            must(is_right, "was given a cookie of the wrong kind")?;
            if is_new {
                continue;
            }
            let had = request.found() == Found::Session(cookie.session);
            let Some(shown) = request.shows(cookie.session).filter(|_| had) else {
                return Err(format!("was given session {}", cookie.session));
            };
            let is_newer = cookie.generation > shown.generation || cookie.kind != shown.kind;
            // A renewal that the store forgot is made again.
            let is_forgotten = self.is_older_than_loss(cookie.session);
            must(is_newer || is_forgotten, "was given a cookie no newer than its own")?;
            let left = self.left(cookie.session, request.sent.step);
            let is_left = left.is_some_and(|left| self.is_past(left, request.sent, false));
            must(!is_left, "was given the cookie of what a login left behind")?;
        }
        let makes = matches!(request.action(), Action::Login(_) | Action::Elevate) && request.is_ok();
        let has_new = end.set.iter().any(|cookie| cookie.session == request.number());
        must(!makes || has_new, "got no new id")
    }

    /// An older cookie is answered with the newest, and one that is due for it is renewed; unless the handler took so long
    /// that its newest may be old by now.
    fn judge_renewed(&self, request: &Entry, end: &End) -> Verdict {
        let Found::Session(session) = request.found() else { return Ok(()) };
        let Some(shown) = request.shows(session) else { return Ok(()) };
        let is_slow = end.at.time >= request.sent.time.after(self.policy.grace);
        let is_alive = !self.had_faults(request) && self.is_alive_for(session, request);
        if request.changes_identity() || is_slow || !is_alive {
            return Ok(());
        }
        let given = end.set.iter().find(|cookie| cookie.session == session).map(|cookie| cookie.generation);
        let newest = self.newest_handed_out(session, request.sent, false).unwrap_or_default();
        must(given.unwrap_or(shown.generation) >= newest, "was not given the newest cookie")?;
        let since = self.confirmed(session, shown.generation, request.sent);
        let is_due = since.is_some_and(|since| {
            request.sent.time >= since.time.after(self.policy.renewal_interval + self.lag(false))
                && self.is_alone(request, session)
        });
        must(!is_due || given.is_some(), "was not given a new cookie, which was due")
    }
}
