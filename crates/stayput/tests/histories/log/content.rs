//! What a session holds: all that was written to it and to those before it, each once, and nothing else.

use super::known::View;
use super::{Entry, Log, Verdict, must};
use crate::application::{Action, MARKS, Seen, VALUES};

/// A write to a single value.
#[derive(Clone, Copy)]
struct Write<'l> {
    /// Who wrote it; nobody that it was not there at first.
    by: Option<&'l Entry>,
    value: Option<u32>,
    sent: u32,
    /// When it was over, and whether it certainly happened.
    ended: Option<(u32, bool)>,
}

impl Log {
    pub(super) fn judge_content(&self, request: &Entry) -> Verdict {
        let seen = request.report().seen.clone();
        for (at, seen) in seen.iter().enumerate() {
            let Some(session) = seen.name else {
                must(seen.subject.is_none() && seen.marks.is_empty(), "saw a session that lost its values")?;
                must(seen.values == [None; VALUES.len()], "saw a session that lost some of its values")?;
                continue;
            };
            self.judge_subject(request, session, seen)?;
            let view = View { request, session, at };
            self.judge_marks(view, &seen.marks)?;
            for (key, value) in VALUES.into_iter().zip(seen.values) {
                self.judge_value(view, key, value)?;
            }
        }
        self.judge_taken(request)
    }

    fn judge_subject(&self, request: &Entry, session: u32, seen: &Seen) -> Verdict {
        let expected = match request.action() {
            Action::Login(user) if session == request.number() => Some(user),
            _ => self.sessions.get(&session).and_then(|made| made.subject),
        };
        must(seen.subject == expected, format_args!("saw user {:?} in session {session}", seen.subject))
    }

    /// The list of marks only grows, at its end, by each request's number once.
    fn judge_marks(&self, view: View<'_>, marks: &[u32]) -> Verdict {
        let View { request, session, .. } = view;
        let line = self.line(session, MARKS);
        for (at, mark) in marks.iter().enumerate() {
            let by = self.requests.get(*mark as usize).filter(|by| by.action() == Action::Mark);
            let Some(by) = by else { return Err(format!("saw mark {mark}, which nobody made")) };
            must(!marks[..at].contains(mark), format_args!("saw mark {mark} twice"))?;
            must(!self.is_surely_refused(by), format_args!("saw mark {mark}, which was refused"))?;
            let belongs = by.target().is_some_and(|target| line.contains(&target));
            must(belongs, format_args!("saw mark {mark} of another session in session {session}"))?;
        }
        let certain = self.certain_line(&line, marks);
        for by in self.requests.iter().filter(|by| by.action() == Action::Mark && by.is_ok()) {
            let target = by.target().filter(|target| certain.contains(target));
            let is_handed_on = |target| target != session && !self.may_be_lost(by);
            let is_due = target.is_some_and(|target| is_handed_on(target) || self.must_know(view, by));
            must(!is_due || marks.contains(&by.number()), format_args!("did not see mark {}", by.number()))?;
        }
        let is_comparable =
            |other: &&Entry| other.number() != request.number() && self.are_of_one_line(request, other);
        for other in self.requests.iter().filter(is_comparable) {
            for seen in &other.report().seen {
                let Some(name) = seen.name.filter(|name| certain.contains(name)) else { continue };
                let common = seen.marks.len().min(marks.len());
                must(seen.marks[..common] == marks[..common], "saw marks in another order")?;
                let is_before = name != session || self.must_know(view, other);
                must(
                    !is_before || seen.marks.len() <= marks.len(),
                    format_args!("did not see what {} had seen", other.number()),
                )?;
            }
        }
        Ok(())
    }

    /// Those in `line` of which a session with these `marks` must hold everything: a login over a session that ended
    /// meanwhile takes nothing over, any other takes all.
    fn certain_line<'l>(&self, line: &'l [u32], marks: &[u32]) -> &'l [u32] {
        let holds_any = |of: &[u32]| {
            let mut targets = marks.iter().filter_map(|mark| self.request(*mark).target());
            targets.any(|target| of.contains(&target))
        };
        let takes_over = |at: &usize| {
            let heir = self.request(line[*at - 1]);
            !self.may_be_lost(heir) && (holds_any(&line[*at..]) || self.is_alive_during(line[*at], heir))
        };
        &line[..(1..line.len()).find(|at| !takes_over(at)).unwrap_or(line.len())]
    }

    /// A value is that of a write which no other had certainly replaced before the request was sent.
    fn judge_value(&self, view: View<'_>, key: &'static str, value: Option<u32>) -> Verdict {
        let View { request, session, .. } = view;
        let Some(end) = &request.end else { return Ok(()) };
        let line = self.line(session, key);
        let mut writes = vec![Write { by: None, value: None, sent: 0, ended: Some((0, true)) }];
        let others = self.requests.iter().filter(|by| !self.is_surely_refused(by));
        writes.extend(others.filter_map(|by| by.writes(&line, key)).map(|write| self.as_done(write)));
        // What was written to a session before this one took its place it began with, unless that is forgotten in part.
        let forgotten = line.iter().position(|heir| self.may_be_lost(self.request(*heir)));
        let handed_on = &line[..forgotten.map_or(line.len(), |at| at + 1)];
        let is_known = |write: &Write<'_>| {
            write.by.is_none_or(|by| {
                let is_here = by.target() == Some(session);
                let is_handed_on = !is_here && by.ended_by(request.sent.step) && !self.may_be_lost(by);
                let is_in_line = by.target().is_some_and(|target| handed_on.contains(&target));
                is_in_line && (is_handed_on || self.must_know(view, by))
            })
        };
        let is_replaced = |write: &Write<'_>| {
            let Some((ended, _)) = write.ended else { return false };
            writes.iter().any(|later| {
                later.sent >= ended
                    && later.ended.is_some_and(|(end, done)| done && ended < end)
                    && is_known(later)
            })
        };
        let mut candidates = writes.iter().filter(|write| write.value == value && write.sent < end.at.step);
        let legal = candidates.any(|write| !is_replaced(write));
        must(legal, format_args!("saw {value:?} under {key} in session {session}"))
    }

    /// A write that failed while the store was out may be done when that is back.
    fn as_done<'l>(&self, write: Write<'l>) -> Write<'l> {
        let done = write.by.and_then(|by| self.done_by(by));
        Write { ended: write.ended.zip(done).map(|((_, is_certain), done)| (done, is_certain)), ..write }
    }

    /// Who asks again after a write in doubt, and finds the session ended, may have written before that.
    fn is_surely_refused(&self, request: &Entry) -> bool {
        request.is_refused() && !self.had_faults(request)
    }

    fn judge_taken(&self, request: &Entry) -> Verdict {
        let Some(taken) = request.taken() else { return Ok(()) };
        let others = self.requests.iter();
        let others = others.filter(|other| other.number() != request.number() && !self.may_be_lost(other));
        let twice = others.into_iter().any(|other| other.taken() == Some(taken));
        must(!twice, format_args!("took {taken}, which was taken before"))
    }
}

impl Entry {
    fn taken(&self) -> Option<u32> {
        self.report().taken
    }

    /// What it wrote under `key` to one of the sessions in `line`, if it may have.
    fn writes(&self, line: &[u32], key: &str) -> Option<Write<'_>> {
        self.target().filter(|target| line.contains(target))?;
        let (value, certain) = match self.action() {
            Action::Set(set) if set == key => (Some(self.number()), self.is_ok()),
            // Where there was nothing to remove, nothing is written; but there was nothing.
            Action::Remove(removed) if removed == key => (None, self.is_ok()),
            // Who took nothing wrote nothing, unless the answer was lost.
            Action::Take(taken) if taken == key && (self.taken().is_some() || !self.is_ok()) => {
                (None, self.taken().is_some())
            }
            _ => return None,
        };
        let ended = self.end.as_ref().map(|end| (end.at.step, certain));
        Some(Write { by: Some(self), value, sent: self.sent.step, ended })
    }
}
