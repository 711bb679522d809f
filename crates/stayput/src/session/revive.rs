//! Sessions that the store doesn't have, and their lifeboat does: those that were born while it was out, and those that it lost.
//!
//! A session that was ended never comes back this way: its tombstone outlives every lifeboat of it. Nor does a lifeboat's data ever
//! take the place of what the store has.

use std::sync::Arc;

use stayput_core::{
    DecodedCookie, Epoch, Header, Keyring, OnWiped, Operation, State as RecordState, StorageKey, Timestamp,
};

use super::find::Claim;
use super::{CookieState, Current, Drift, Found, Session, Source};
use crate::Error;
use crate::answer::CookieChange;
use crate::commit::Written;
use crate::device::Device;
use crate::events::{EventKind, Refusal};
use crate::lifeboat::{Boat, Lifeboat};
use crate::login::{Heir, uncancelled};

impl Session {
    /// The session of a cookie under whose key the store has nothing that is answered, if it may be put there from its lifeboat; or
    /// what somebody else has put there by now.
    pub(super) async fn revive(
        &self,
        lifeboat: &Lifeboat,
        claim: &Claim,
        keyring: &Keyring,
    ) -> Result<Result<Found, Refusal>, Error> {
        let Claim { ref cookie, key, with_subject, .. } = *claim;
        let (sessions, inner) = (self.sessions(), &self.sessions().inner);
        let now = inner.clock.now();
        if inner.near.as_ref().is_some_and(|near| near.is_gone(&key)) {
            return Ok(Err(Refusal::NoSession));
        }
        let boat = self.boat(&key, keyring).filter(|boat| self.may_use(boat, cookie, with_subject, now));
        let Some(boat) = boat.filter(|_| inner.store.keeps_tombstones()) else {
            return Ok(Err(Refusal::NoSession));
        };
        let is_lost = !boat.is_born;
        let there = match sessions.call(Operation::Load, |store| store.load(key)).await? {
            // A copy didn't know of it, or it is over.
            Some(record) if !is_unfinished(&record.header) => {
                let found = self.fit_if_any(claim, Some(record), keyring)?;
                return Ok(found.map(|found| Found { confirmed: now, ..found }));
            }
            None if is_lost && !self.may_restore(lifeboat, &boat).await? => {
                return Ok(Err(Refusal::NoSession));
            }
            there => there,
        };
        let (current, is_there) = match &there {
            // What is there already stays as it is.
            Some(record) => (sessions.reopen(cookie.value.id.clone(), key, record)?, true),
            None => (self.begun(cookie, key, &boat), false),
        };
        let current = Arc::new(current);
        let (this, put) = (self.clone(), Arc::clone(&current));
        // A client that goes away in the middle would have everybody wait for it to come again.
        match uncancelled(async move { this.put_back(put, &boat, is_there).await }).await {
            Ok(true) if is_lost => self.emit(EventKind::Restored, Some(&current)),
            // Somebody was first, or it was ended.
            Ok(_) | Err(Error::Ended) => {}
            Err(error) => return Err(error),
        }
        sessions.replay_session(key).await?;
        let record = sessions.call(Operation::Load, |store| store.load(key)).await?;
        let found = self.fit_if_any(claim, record, keyring)?;
        Ok(found.map(|found| Found { confirmed: now, ..found }))
    }

    /// The session of a lifeboat as it is put into the store: [unfinished](is_unfinished).
    fn begun(&self, cookie: &DecodedCookie, key: StorageKey, boat: &Boat) -> Current {
        let mut header = boat.header.clone();
        header.renewed = Timestamp::default();
        // A call that comes late, when the session has been left behind and the store has forgotten that, is not to bring it back.
        header.expires = header.expires.min(boat.confirmed.after(self.sessions().inner.policy.max_age));
        let data = boat.data_before(&Device::of(&self.client())).known_whole();
        Current { id: cookie.value.id.clone(), key, header, data }
    }

    /// Whether a session that the store doesn't have was lost by it, and is wanted back.
    async fn may_restore(&self, lifeboat: &Lifeboat, boat: &Boat) -> Result<bool, Error> {
        let (sessions, inner) = (self.sessions(), &self.sessions().inner);
        if boat.marker.is_none() {
            return Ok(false);
        }
        // Who lost it may have noticed nothing yet.
        let marker = sessions.call(Operation::Marker, |store| store.marker()).await?;
        sessions.see_marker(marker);
        if boat.marker == marker || inner.policy.on_wiped == OnWiped::LogOut {
            return Ok(false);
        }
        Ok(match (&boat.subject, boat.header.authenticated) {
            (Some(subject), Some(authenticated)) => lifeboat.readmits(subject.clone(), authenticated).await,
            _ => true,
        })
    }

    /// Puts a session into the store, unless all of its subject's were ended since, or there is no room for it. Says whether it was
    /// this call that has it live.
    async fn put_back(&self, current: Arc<Current>, boat: &Boat, is_there: bool) -> Result<bool, Error> {
        let sessions = self.sessions();
        let Some(subject) = &boat.subject else {
            if !is_there {
                sessions.create(&current).await?;
            }
            return self.let_live(&current, boat).await;
        };
        let epoch = self.epoch(subject.key()).await?;
        // An epoch is at least the time at which it was raised, by another clock than that of the server that confirmed: of two
        // that are close nobody knows which was first.
        let raised = Timestamp::from_millis(epoch.count());
        if epoch != Epoch::default() && raised.after(sessions.inner.policy.max_age) >= boat.confirmed {
            if is_there {
                self.end_unfinished(&current).await?;
            }
            return Err(Error::Ended);
        }
        if !is_there {
            sessions.create(&current).await?;
        }
        let device = Device::of(&self.client());
        let is_remembered = current.header.is_remembered;
        let heir = Heir { subject: subject.clone(), device, is_remembered, keeps_all: false };
        match self.admit(&current, &heir, epoch, None).await {
            Err(Error::LimitReached | Error::Ended) => {
                self.end_unfinished(&current).await?;
                Err(Error::Ended)
            }
            admitted => admitted,
        }?;
        self.let_live(&current, boat).await
    }

    /// Has a session that was admitted live on in the store for as long as it would have, unless somebody else was first. Its data
    /// is what the store has.
    async fn let_live(&self, unfinished: &Current, boat: &Boat) -> Result<bool, Error> {
        let mut header = unfinished.header.next(self.sessions().write_tag());
        (header.renewed, header.expires) = (boat.header.renewed, boat.header.expires);
        let next = Arc::new(unfinished.with(header));
        let written = self.sessions().replace(next, unfinished.header.version()).await?;
        Ok(matches!(written, Written::Done(_)))
    }

    /// Ends a session that is not admitted, unless somebody else has finished it by now: then its user has been served.
    async fn end_unfinished(&self, unfinished: &Current) -> Result<(), Error> {
        let sessions = self.sessions();
        let mut header = unfinished.header.next(sessions.write_tag());
        header.state = RecordState::Remainder;
        match sessions.replace(Arc::new(unfinished.with(header)), unfinished.header.version()).await {
            Ok(Written::Done(_)) => sessions.remove(unfinished.key).await,
            Ok(Written::Conflict(_)) | Err(Error::Ended) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Session {
    /// Logs in while the store is out: the session is in the browser only, until the store is back and its client comes again.
    pub(crate) async fn begin_adrift(
        &self,
        lifeboat: &Lifeboat,
        mut first: Current,
        old: Option<Arc<Current>>,
    ) -> Result<(), Error> {
        let inner = &self.sessions().inner;
        let now = first.header.created;
        first.header.expires = inner.policy.expiry(&first.header, now);
        // Counted as a write, so that the lifeboat is replaced when the store has the session.
        let writer = Some(lifeboat.server);
        let drift = Drift { is_born: true, writes: 1, writer, ..Drift::since(now, inner.marker.get()) };
        let boat = self.boat_of(&first, &drift);
        let holds_all =
            first.data.iter().count() == boat.values.iter().filter(|kept| kept.value.is_some()).count();
        let cookie = self.lifeboat_of(&first, &drift).filter(|_| holds_all && inner.store.keeps_tombstones());
        let Some(cookie) = cookie else { return Err(Error::Adrift) };
        if let Some(old) = old {
            let is_carried = old.data.subject().is_none_or(|owner| Some(owner) == first.data.subject());
            if is_carried && !inner.policy.carry.iter().all(|key| old.data.knows(key)) {
                return Err(Error::Adrift);
            }
            // Who planted or stole the id from before the login gains nothing by it, and what is logged in ends with it.
            if old.header.subject.is_some() && !lifeboat.has_journal() {
                return Err(Error::Adrift);
            }
            lifeboat.end(old.key, self.sessions()).await?;
        }
        let (session, spare) = (self.newest_cookie(&first), self.spare_for(&first));
        let first = Arc::new(first);
        self.emit(EventKind::LoggedIn, Some(&first));
        let mut state = self.state();
        state.answer.session = Some(session);
        state.answer.anonymous = Some(CookieChange::Delete);
        state.answer.spare = spare;
        state.answer.lifeboat = Some(cookie);
        (state.cookie, state.active, state.confirmed) = (CookieState::default(), now, now);
        (state.current, state.source) = (Some(first), Source::Adrift);
        state.drift = Some(Box::new(drift));
        state.end_lookup();
        Ok(())
    }
}

/// Whether a session was put into the store from its lifeboat by somebody who has not come to let it live: it may be above the limit,
/// or all of its user's may have been ended. Nobody is served by it, so nobody writes or touches it: it ends by itself, unless who
/// presents its lifeboat has it counted in. No session that lives has a generation that never began.
pub(crate) fn is_unfinished(header: &Header) -> bool {
    header.state == RecordState::Live && header.renewed == Timestamp::default()
}
