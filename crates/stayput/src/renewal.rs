//! Keeping a session up: touches, renewals, and the cookies that follow from them.
//!
//! A renewal raises the generation in the same record by one compare-and-swap. The cookie before it is accepted until
//! the grace after the new one was first presented, and answered with the new one: lost, late and reordered answers log
//! nobody out. None of this may fail a request: what could not be done now is done at the next one.

use std::sync::Arc;

use stayput_core::{Header, Operation, Policy, State as RecordState, Timestamp, Touched};

use crate::Error;
use crate::commit::Written;
use crate::device::{Device, Moved, moved};
use crate::events::EventKind;
use crate::session::{Current, Session, Source, State};

/// What a session that was used needs.
enum Due {
    /// A new generation.
    Renewal,
    /// Its newest generation was presented for the first time: the one before it may end.
    Confirmation,
    /// It is used from another address or browser, which it is to know from now on.
    Move(Moved),
    /// A later idle deadline, without a write of the data.
    Touch,
}

impl Session {
    /// Does what the session needs after it was used, and hands out its newest cookie if the client has an older one.
    pub(crate) async fn keep_up(&self) {
        let policy = &self.sessions().inner.policy;
        let (current, now, due) = {
            let state = self.state();
            let Some(current) = state.live() else { return };
            (Arc::clone(current), state.active, state.due(current, policy))
        };
        let done = match due {
            None => Ok(()),
            Some(Due::Touch) => self.touch(&current, now).await,
            Some(Due::Move(moved)) => self.follow(&current, moved, now).await,
            Some(Due::Renewal) => {
                let header = current.header.renew(now, self.sessions().write_tag());
                let renewed = self.write_upkeep(&current, current.with(header), now).await;
                if let Ok(true) = renewed {
                    self.emit(EventKind::Renewed, Some(&current));
                }
                renewed.map(|_| ())
            }
            Some(Due::Confirmation) => {
                let mut header = current.header.next(self.sessions().write_tag());
                // Not when it was found: until now answers may have left that knew nothing of it.
                header.presented = Some(self.sessions().inner.clock.now());
                self.write_upkeep(&current, current.with(header), now).await.map(|_| ())
            }
        };
        if let Err(error) = done {
            error.log();
        }
        if let Err(error) = self.hand_out_newest().await {
            error.log();
        }
    }

    /// Whether a session that was just found might end while its handler is at work.
    pub(crate) fn ends_soon(&self, header: &Header, now: Timestamp) -> bool {
        header.state == RecordState::Live && self.sessions().inner.policy.touch_is_urgent(header, now)
    }

    /// Touches such a session.
    pub(crate) async fn keep_alive(&self, found: &mut Arc<Current>, now: Timestamp) {
        let policy = &self.sessions().inner.policy;
        match self.touch(found, now).await {
            Ok(()) => {
                let mut header = found.header.clone();
                header.expires = policy.expiry(&header, now);
                *found = Arc::new(found.with(header));
            }
            Err(error) => error.log(),
        }
    }

    async fn touch(&self, current: &Current, now: Timestamp) -> Result<(), Error> {
        let (inner, header) = (&self.sessions().inner, &current.header);
        let expires = inner.policy.expiry(header, now);
        match self.sessions().call(Operation::Touch, |store| store.touch(current.key, expires)).await? {
            Touched::Touched | Touched::Missing => Ok(()),
        }
    }

    /// Has the session know where it is used now, and says so.
    async fn follow(&self, current: &Current, moved: Moved, now: Timestamp) -> Result<(), Error> {
        let device = Device::decode(current.data.device().unwrap_or_default()).seen(&self.client());
        let header = current.header.next(self.sessions().write_tag());
        let next = Current { data: current.data.on(&device), ..current.with(header) };
        // Of parallel requests from the new place one says so.
        if self.write_upkeep(current, next, now).await? {
            let kind = EventKind::ClientChanged { address: moved.address, agent: moved.agent };
            self.emit(kind, Some(current));
        }
        Ok(())
    }

    /// Writes the session as `next`, and says whether it did: whoever wrote first has kept the session up, or the
    /// next request will. That it lives on until then is seen to in any case.
    async fn write_upkeep(
        &self,
        current: &Current,
        mut next: Current,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let policy = &self.sessions().inner.policy;
        next.header.expires = next.header.expires.max(policy.expiry(&next.header, now));
        let expected = current.header.version();
        let (session, is_written) = match self.sessions().replace(Arc::new(next), expected).await {
            Ok(Written::Done(session)) => (Some(session), true),
            Ok(Written::Conflict(session)) => (Some(session), false),
            Err(Error::Ended) => (None, false),
            Err(error) => return Err(error),
        };
        // What is replayed of an outage is nobody's activity: where that was first, the deadline is what it was.
        let unkept = session.clone().filter(|session| {
            session.header.state == RecordState::Live && policy.touch_is_due(&session.header, now)
        });
        {
            let mut state = self.state();
            match session {
                Some(session) => state.see(session),
                None => state.current = None,
            }
        }
        if let Some(session) = unkept {
            self.touch(&session, now).await?;
        }
        Ok(is_written)
    }

    async fn hand_out_newest(&self) -> Result<(), Error> {
        let policy = &self.sessions().inner.policy;
        let Some(mut current) = self.state().to_hand_out() else { return Ok(()) };
        // What a copy says, or a slow handler saw, may have been renewed since, and confirmed: its newest cookie may be worth
        // nothing by now.
        if self.may_be_behind() {
            let Some(seen) = self.seen_again(&current).await? else { return Ok(()) };
            current = seen;
        }
        // Otherwise its client keeps a cookie that will do, or had this one from another answer. Whoever an old copy alone has let
        // in is given nothing by what was learned since.
        let (now, header) = (self.sessions().inner.clock.now(), &current.header);
        let cookie = self.state().cookie;
        let is_let_in = !cookie.by_copy || header.accepts(cookie.generation, now, policy.grace);
        if is_let_in && policy.may_hand_out(header, now) {
            let cookie = self.newest_cookie(&current);
            *self.state().cookie_for(&current) = Some(cookie);
        }
        Ok(())
    }

    fn may_be_behind(&self) -> bool {
        let (inner, state) = (&self.sessions().inner, self.state());
        state.source == Source::Copy || inner.clock.now().since(state.active) >= inner.policy.grace
    }

    /// The session as it is by now, if it is alive.
    async fn seen_again(&self, current: &Current) -> Result<Option<Arc<Current>>, Error> {
        let record = self.sessions().call(Operation::Load, |store| store.load(current.key)).await?;
        let now = self.sessions().inner.clock.now();
        let is_alive = |header: &Header| header.state == RecordState::Live && header.absolute > now;
        let header = record.map(|record| record.header.clone()).filter(is_alive);
        Ok(header.map(|header| Arc::new(current.with(header))))
    }
}

impl State {
    /// Whether [`Session::keep_up`] would do nothing.
    pub(crate) fn is_kept_up(&self, policy: &Policy) -> bool {
        self.live().is_none_or(|current| {
            self.presents_newest(&current.header) && self.due(current, policy).is_none()
        })
    }

    /// Whether the client presented the newest generation, or one after it that a store forgot when it failed over: that
    /// renewal is due still, and will give it the same cookie.
    pub(crate) fn presents_newest(&self, header: &Header) -> bool {
        self.cookie.generation >= header.generation && !self.cookie.is_spare
    }

    /// The session, if the client has to get its newest cookie.
    fn to_hand_out(&self) -> Option<Arc<Current>> {
        self.live().filter(|current| !self.presents_newest(&current.header)).cloned()
    }

    /// The session, unless it is none or the remainder of one: the cookie of a remainder would overwrite that of the
    /// login that left it. Nor while the store is out: there is nothing that could be kept up, and no telling what is newest.
    pub(crate) fn live(&self) -> Option<&Arc<Current>> {
        let is_live = |current: &&Arc<Current>| current.header.state == RecordState::Live;
        self.current.as_ref().filter(is_live).filter(|_| !self.is_adrift())
    }

    fn due(&self, current: &Current, policy: &Policy) -> Option<Due> {
        let header = &current.header;
        let (is_newest, now) = (self.cookie.generation >= header.generation, self.active);
        // A spare cookie is the newest, too. Soon nobody may be given the session cookie in its place, until there is a new one.
        let is_early = self.cookie.under_former_key || self.cookie.is_spare;
        let touch_is_due = policy.touch_is_due(header, now);
        let (device, client) = (current.data.device(), self.client.as_ref());
        let moved = device.zip(client).map(|(device, client)| moved(device, client)).unwrap_or_default();
        if is_newest && header.presented.is_none() {
            Some(Due::Confirmation)
        } else if is_newest && policy.renewal_is_due(header, now, is_early) {
            Some(Due::Renewal)
        } else if moved.agent || moved.address && touch_is_due {
            // Some clients change their address with every request: one write in a touch interval is enough for that.
            Some(Due::Move(moved))
        } else {
            touch_is_due.then_some(Due::Touch)
        }
    }
}
