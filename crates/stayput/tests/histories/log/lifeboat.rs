//! What lifeboats promise (docs/outages.md): who writes adrift reads that on every server, and has it in the store afterwards,
//! once; who logs out adrift is out; and nothing is served past `max_age`.
//!
//! Between outages less is held against servers here than in the histories without lifeboats: those are the ones for that.

use std::time::Duration;

use stayput::Unreplayed;

use super::{Entry, Found, Log, Moment, Verdict, Version, must};
use crate::application::{Action, CART, COUNT, MARKS, Seen, TICKET, VALUES};
use crate::browser::Kind;
use crate::servers::MOST_SESSIONS;

impl Log {
    pub(super) fn judge_lifeboat(&self, request: &Entry) -> Verdict {
        request.keeps_cookies()?;
        judge_kept(request)?;
        self.judge_confirmed(request)?;
        judge_acts(request)?;
        let seen = request.report().seen.clone();
        if let Some(session) = seen.first().and_then(|seen| seen.name) {
            self.judge_found(request, session)?;
        } else if !seen.is_empty() {
            self.judge_turned_away(request)?;
        }
        for (at, seen) in seen.iter().enumerate() {
            let Some(session) = seen.name else { continue };
            self.judge_held(request, session, seen)?;
            if at == 0 {
                self.judge_own(request, session, seen)?;
                self.judge_newest(request, session, seen)?;
            }
            if self.is_settled_at(request) && !seen.is_adrift {
                self.judge_stock(request, session, seen)?;
            }
        }
        Ok(())
    }

    /// While the store does nothing for anybody, nothing is served for longer than `max_age` that it had confirmed before.
    fn judge_confirmed(&self, request: &Entry) -> Verdict {
        let report = request.report();
        let Some(session) = report.seen.iter().find(|seen| seen.is_adrift).and_then(|seen| seen.name) else {
            return Ok(());
        };
        let oldest = request.sent.time.before(self.policy.max_age + self.limits.skew + SLACK);
        let end = request.end.as_ref().map_or(request.sent.step, |end| end.at.step);
        let is_dark =
            |(from, to): &(Moment, Option<Moment>)| from.time <= oldest && to.is_none_or(|to| to.step >= end);
        // A login may take its time.
        let born = self.request(session).end.as_ref().map_or(request.sent.time, |end| end.at.time);
        let is_newborn = session == request.number() || born >= oldest;
        must(
            is_newborn || !self.blackouts.iter().any(is_dark),
            "was served what nobody had confirmed for too long",
        )
    }

    /// A session is found by its cookie alone, and not after its end: at once where its user ended it; elsewhere when all know.
    fn judge_found(&self, request: &Entry, session: u32) -> Verdict {
        must(request.shows(session).is_some(), format_args!("got session {session} without its cookie"))?;
        let is_late = self.is_settled_at(request);
        let ends = |other: &&Entry| {
            let is_here = other.came_adrift()
                && other.action() == Action::Logout
                && other.server == request.server
                && (other.process == request.process || self.is_in_journal(other, request));
            (is_late || is_here)
                && other.ended_by(request.sent.step)
                && self.ends(other, session)
                && !self.is_forgotten(other)
        };
        let ended = self.requests.iter().find(ends).map(Entry::number);
        must(ended.is_none(), format_args!("got session {session}, which {ended:?} had ended"))
    }

    /// Whether the server that took `done` has it in its journal when `later` comes: it has one, and nothing of it can have been
    /// replayed. What was is the store's to know, and a server that was started again is like any other.
    fn is_in_journal(&self, done: &Entry, later: &Entry) -> bool {
        let end = done.end.as_ref().map_or(done.sent.step, |end| end.at.step);
        let covers = |(from, to): &(Moment, Option<Moment>)| {
            from.step <= end && to.is_none_or(|to| to.step >= later.sent.step)
        };
        !self.forgetful.contains(&done.process) && self.blackouts.iter().any(covers)
    }

    /// Nobody is logged out by an outage.
    fn judge_turned_away(&self, request: &Entry) -> Verdict {
        for shown in &request.shown {
            let session = shown.session;
            let made = self.request(session);
            let others = |other: &Entry| match other.action() {
                // The limit may have ended it.
                Action::Login(user) => other.number() != session && self.subject(session) == Some(user),
                Action::EndAll(user) => {
                    // "If all of them were ended meanwhile, or within `max_age` before, it is over" (docs/outages.md).
                    let before = if made.is_born_adrift() { self.policy.max_age } else { Duration::ZERO };
                    let slack = before + self.limits.skew + SLACK;
                    let is_just_before =
                        other.end.as_ref().is_none_or(|end| end.at.time.after(slack) >= made.sent.time);
                    self.subject(session) == Some(user) && is_just_before
                }
                _ => false,
            };
            let is_doubtful = self.requests.iter().any(others) || !self.is_there(session, request);
            let is_alive = self.losses.is_empty() && !is_doubtful && self.is_alive_for(session, request);
            must(!is_alive, format_args!("did not get session {session}, which is alive"))?;
        }
        Ok(())
    }

    /// Whether the store has the session for sure, or the browser brings it.
    fn is_there(&self, session: u32, request: &Entry) -> bool {
        let made = self.request(session);
        let has_put = |other: &Entry| {
            other.found() == Found::Session(session)
                && !other.came_adrift()
                && other.ended_by(request.sent.step)
        };
        let end = request.end.as_ref().map_or(request.sent.time, |end| end.at.time);
        let is_young = end.after(self.limits.skew + SLACK) < made.sent.time.after(self.policy.max_age);
        !made.is_born_adrift()
            || request.boat.is_some_and(|boat| boat.session == session) && is_young
            || self.requests.iter().any(has_put)
    }

    /// A session holds what was written to it, each thing once.
    fn judge_held(&self, request: &Entry, session: u32, seen: &Seen) -> Verdict {
        let line = self.line(session, MARKS);
        for (at, mark) in seen.marks.iter().enumerate() {
            must(!seen.marks[..at].contains(mark), format_args!("saw mark {mark} twice"))?;
            let by = self.requests.get(*mark as usize).filter(|by| by.action() == Action::Mark);
            let is_ours = by.and_then(Entry::target).is_some_and(|target| line.contains(&target));
            must(is_ours, format_args!("saw mark {mark} of another session in session {session}"))?;
        }
        for (key, value) in VALUES.into_iter().zip(seen.values) {
            let Some(value) = value else { continue };
            let line = self.line(session, key);
            let by = self.requests.get(value as usize).filter(|by| by.action() == Action::Set(key));
            let is_ours = by.and_then(Entry::target).is_some_and(|target| line.contains(&target));
            must(is_ours, format_args!("saw {value} under {key} in session {session}, which nobody set"))?;
        }
        let line = self.line(session, COUNT);
        let end = request.end.as_ref().map_or(u32::MAX, |end| end.at.step);
        let adds = self.requests.iter().filter(|by| by.sent.step < end && by.may_add());
        let most = adds.filter(|by| by.target().is_some_and(|target| line.contains(&target))).count();
        must(seen.count as usize <= most, format_args!("saw a count of {}, of {most}", seen.count))
    }

    /// Who awaits each answer reads their own writes: adrift on every server until the store is back, in the store ever after.
    fn judge_own(&self, request: &Entry, session: u32, seen: &Seen) -> Verdict {
        let chain: Vec<_> = request.after.iter().map(|number| self.request(*number)).collect();
        for (at, other) in chain.iter().enumerate() {
            let Some(had) = other.report().seen.last().cloned().filter(|had| had.name == Some(session))
            else {
                continue;
            };
            let since: Vec<_> = chain[at + 1..].iter().copied().chain([request]).collect();
            let is_common = self.is_parallel(&since, chain[0], session) || self.may_be_left(session, request);
            if !other.is_ok() || self.is_forgotten(other) || is_common {
                continue;
            }
            let is_same = |link: &&Entry| link.is_adrift() && !link.was_told_of_newer(session);
            let is_all_adrift = other.is_adrift() && since.iter().all(is_same);
            let number = other.number();
            if other.set_cart_adrift()
                && is_all_adrift
                && !chain[at + 1..].iter().any(|link| link.writes_cart())
            {
                must(
                    seen.values[0] == Some(number),
                    format_args!("did not see the cart of its own {number}"),
                )?;
            }
            // Who only reads gets no new lifeboat, and may have seen what only that server has.
            let is_carried = other.writes_declared() && is_all_adrift;
            // What is ended for its user is refused within the lease (docs/outages.md, "What that risks"): who has another session
            // since is told of no version of this one any more, and may be shown an old copy of it until then.
            let is_over = self.may_be_ended_for_all(session, other, request);
            let is_behind = seen.is_adrift && request.shows_older_boat(session, &chain);
            let is_stored = !had.is_adrift && self.losses.is_empty() && !is_over && !is_behind;
            if !is_carried && !is_stored {
                continue;
            }
            // What the store forgot in a failover some server may still show, and the next one not.
            let is_kept = |mark: &&u32| !self.may_be_lost(self.request(**mark));
            let missing = had.marks.iter().filter(is_kept).find(|mark| !seen.marks.contains(mark));
            must(
                missing.is_none(),
                format_args!("did not see mark {missing:?}, which its own {number} had seen"),
            )?;
            let least = had.count.saturating_sub(self.lost_adds(session));
            must(seen.count >= least, format_args!("saw a lower count than its own {number}"))?;
        }
        Ok(())
    }

    /// How much of the session's count the store may have forgotten.
    fn lost_adds(&self, session: u32) -> u32 {
        let is_lost =
            |by: &&Entry| by.action() == Action::Add && by.shows(session).is_some() && self.may_be_lost(by);
        self.requests.iter().filter(is_lost).fold(0, |count, _| count + 1)
    }

    /// Whether another may have taken the session's place: "the old session is then as it was, or a remainder of it"
    /// (`Session::login`), which nothing is written to any more. Who knows of that shows that.
    fn may_be_left(&self, session: u32, request: &Entry) -> bool {
        let is_before = |by: &Entry| by.sent.step < request.sent.step;
        let mut others = self.requests.iter().filter(|by| by.shows(session).is_some() && is_before(by));
        others.any(|by| by.changes_identity() && !by.is_refused())
    }

    /// Whether all sessions of the session's user may have been ended between two requests.
    fn may_be_ended_for_all(&self, session: u32, from: &Entry, to: &Entry) -> bool {
        let Some(user) = self.subject(session) else { return false };
        let is_after = |by: &Entry| self.done_by(by).is_none_or(|done| done > from.sent.step);
        let is_before = |by: &Entry| to.end.as_ref().is_none_or(|end| by.sent.step < end.at.step);
        let mut ends = self.requests.iter().filter(|by| by.action() == Action::EndAll(user));
        ends.any(|by| is_after(by) && is_before(by))
    }

    /// Whether somebody else may have written to the session since the chain began, whose last requests were these.
    fn is_parallel(&self, since: &[&Entry], first: &Entry, session: u32) -> bool {
        let Some(request) = since.last() else { return false };
        self.requests.iter().any(|other| {
            let is_in_chain = other.number() == request.number() || request.after.contains(&other.number());
            !is_in_chain
                && other.shows(session).is_some()
                && other.action() != Action::Look
                // What a server took from others it shows before what comes with a lifeboat, and hands that out as the next one.
                && (!other.ended_by(first.sent.step)
                    || other.wrote_adrift() && since.iter().any(|link| link.process == other.process))
        })
    }

    /// When all is quiet again, what was acknowledged is there, unless it was said that it is not.
    fn judge_stock(&self, request: &Entry, session: u32, seen: &Seen) -> Verdict {
        let told = self.told(session);
        let is_due = |by: &&Entry| {
            let is_lost = self.forgetful.contains(&by.process) && by.wrote_adrift()
                || by.wrote_adrift() && told.iter().any(|why| *why != Unreplayed::Unmerged);
            by.is_ok() && by.target() == Some(session) && !self.is_forgotten(by) && !is_lost
        };
        let marks = self.requests.iter().filter(|by| by.action() == Action::Mark).filter(is_due);
        let missing = marks.map(Entry::number).find(|mark| !seen.marks.contains(mark));
        must(missing.is_none(), format_args!("did not see mark {missing:?} after all"))?;
        let least = self.requests.iter().filter(|by| by.action() == Action::Add).filter(is_due).count();
        must(
            seen.count as usize >= least,
            format_args!("saw a count of {} after all, of {least}", seen.count),
        )?;
        self.judge_told(request, session, &told)
    }

    /// What was given up was so for a reason.
    fn judge_told(&self, request: &Entry, session: u32, told: &[Unreplayed]) -> Verdict {
        let may_change = |other: &Entry| other.changes_identity() && other.shows(session).is_some();
        let is_doubtful = self.request(session).is_born_adrift()
            || !self.losses.is_empty()
            || self.requests.iter().any(may_change);
        let is_over = told.contains(&Unreplayed::Ended);
        must(is_doubtful || !is_over, "lost a write as if its session had ended")?;
        let is_unmerged = told.contains(&Unreplayed::Unmerged);
        let has_carts = self.requests.iter().any(|by| by.target() == Some(session) && by.writes_cart());
        must(!is_unmerged || has_carts, format_args!("lost a write of {request:?} that can be merged"))
    }

    fn told(&self, session: u32) -> Vec<Unreplayed> {
        let Some(made) = self.sessions.get(&session) else { return Vec::new() };
        self.unreplayed.iter().filter(|(tag, _)| *tag == made.tag).map(|(_, why)| *why).collect()
    }

    /// A user has no more sessions than they may have, when all that had come have been put where they belong.
    pub(crate) fn judge_limit(&self) -> Verdict {
        let mut found: Vec<(u32, u32)> = Vec::new();
        for request in self.requests.iter().filter(|request| self.is_settled_at(request)) {
            let Found::Session(session) = request.found() else { continue };
            let is_left = self.left(session, u32::MAX).is_some();
            if let Some(user) = self.subject(session).filter(|_| !is_left && !found.contains(&(session, 0))) {
                found.push((session, 0));
                found.push((u32::MAX - user, 1));
            }
        }
        let most = MOST_SESSIONS as usize;
        let count = |user: u32| found.iter().filter(|(name, kind)| *kind == 1 && *name == user).count();
        let above = found.iter().find(|(name, kind)| *kind == 1 && count(*name) > most);
        must(above.is_none() || !self.losses.is_empty(), "a user has more sessions than the limit")
    }

    /// Whether the store may have forgotten what the request did, now or when it was replayed.
    fn is_forgotten(&self, request: &Entry) -> bool {
        let is_later = self.losses.iter().any(|loss| loss.at.step >= request.sent.step);
        // It may have had the store when it came, and not any more when it ended its session.
        let says_ended = request.end.as_ref().is_some_and(|end| end.says_ended);
        self.may_be_lost(request)
            || is_later && (request.wrote_adrift() || request.came_adrift() || says_ended)
    }

    /// Whether the request came when all had heard of everything.
    fn is_settled_at(&self, request: &Entry) -> bool {
        self.rest.is_some_and(|rest| request.sent.time >= rest.after(HEARD))
    }
}

impl Entry {
    fn is_born_adrift(&self) -> bool {
        matches!(self.action(), Action::Login(_)) && self.wrote_adrift()
    }

    /// Whether what it did was done while the store was out.
    fn wrote_adrift(&self) -> bool {
        self.report().seen.last().is_some_and(|seen| seen.is_adrift)
    }

    fn writes_cart(&self) -> bool {
        matches!(self.action(), Action::Set(CART) | Action::Remove(CART) | Action::Take(CART))
    }

    /// Whether its server may have known a newer state of the session than its client's lifeboat was written over: that is shown,
    /// without what the client wrote since (docs/outages.md: "until then each shows its own").
    fn was_told_of_newer(&self, session: u32) -> bool {
        let is_told = self.end.as_ref().is_some_and(|end| end.version.is_some());
        // Who was told of it before has it in their version cookie.
        let seen = self.version.filter(|version| version.session == session);
        let knows = seen.is_some_and(|seen| {
            self.boat.is_some_and(|boat| boat.session == session && boat.count < seen.count)
        });
        is_told || knows
    }

    /// Whether the lifeboat that it shows is an older one of its client's, and not for want of a newer one: those in `chain` wrote
    /// nothing that it would carry. "Who presents an older lifeboat of theirs reads older declared values" (docs/outages.md): an
    /// answer that comes late puts one back, and who reads a newer copy while the store is out is told of its version alone.
    fn shows_older_boat(&self, session: u32, chain: &[&Self]) -> bool {
        let of = |version: Option<Version>| version.filter(|version| version.session == session);
        let is_older = of(self.boat).map(|boat| boat.count) < of(self.version).map(|seen| seen.count);
        is_older && !chain.iter().any(|link| link.writes_declared() && link.is_ok() && !link.wrote_adrift())
    }

    fn set_cart_adrift(&self) -> bool {
        self.action() == Action::Set(CART) && self.is_ok() && self.wrote_adrift()
    }

    fn writes_declared(&self) -> bool {
        matches!(self.action(), Action::Mark | Action::Add)
    }

    /// Whether it may have added one.
    fn may_add(&self) -> bool {
        self.action() == Action::Add && self.report().acted.is_some() && !self.is_refused()
    }
}

/// What clocks, leases and calls under way come to.
pub(super) const SLACK: Duration = Duration::from_secs(5);

/// After this long nobody holds a copy of what was so before.
const HEARD: Duration = Duration::from_secs(110);

/// No cookie of a session is deleted but by who logs out or in.
fn judge_kept(request: &Entry) -> Verdict {
    let Some(end) = &request.end else { return Ok(()) };
    let allowed: &[Kind] = match request.action() {
        Action::Logout => &[Kind::Session, Kind::Anonymous, Kind::Spare, Kind::Version],
        Action::Login(_) | Action::Elevate => &[Kind::Anonymous, Kind::Spare],
        _ => &[],
    };
    must(end.deleted.iter().all(|kind| allowed.contains(kind)), "lost a cookie that may be good")
}

/// What has no merge is not written adrift, and neither is an id renewed.
fn judge_acts(request: &Entry) -> Verdict {
    let report = request.report();
    let is_adrift = !report.seen.is_empty() && report.seen.iter().all(|seen| seen.is_adrift);
    let needs_store = match request.action() {
        Action::Set(TICKET) | Action::Elevate | Action::Fresh => true,
        Action::Take(TICKET) => report.taken.is_some(),
        _ => false,
    };
    must(!is_adrift || !needs_store || !request.is_ok(), "did adrift what needs the store")
}
