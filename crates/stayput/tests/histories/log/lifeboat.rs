//! What lifeboats must not do: lose a mark that was acknowledged adrift, make one twice, or carry a session past its end.
//!
//! What is seen in between is looser than without them, and not judged here.

use super::{Entry, Found, Log, Verdict, must};
use crate::application::{Action, MARKS};

impl Log {
    pub(super) fn judge_lifeboat(&self, request: &Entry) -> Verdict {
        request.keeps_cookies()?;
        if let Found::Session(session) = request.found() {
            let Some(shown) = request.shows(session) else {
                return Err(format!("got session {session} without its cookie"));
            };
            let over = self.is_over(session, shown.generation, request.sent, request.came_adrift());
            must(over.is_none(), format_args!("got session {session}, {}", over.unwrap_or_default()))?;
        }
        for seen in &request.report().seen.clone() {
            let Some(session) = seen.name else { continue };
            let line = self.line(session, MARKS);
            for (at, mark) in seen.marks.iter().enumerate() {
                must(!seen.marks[..at].contains(mark), format_args!("saw mark {mark} twice"))?;
                let by = self.request(*mark);
                let is_ours =
                    by.action() == Action::Mark && by.target().is_some_and(|target| line.contains(&target));
                must(is_ours, format_args!("saw mark {mark} of another session in session {session}"))?;
            }
            let is_made =
                |by: &&Entry| by.action() == Action::Mark && by.is_ok() && by.target() == Some(session);
            let mut made = self.requests.iter().filter(is_made).map(Entry::number);
            let missing = made.find(|mark| self.is_at_rest && !seen.marks.contains(mark));
            must(missing.is_none(), format_args!("did not see mark {missing:?} after all"))?;
        }
        Ok(())
    }
}
