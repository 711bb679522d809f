//! Sessions that the store doesn't have, and their lifeboat does: those that were born while it was out, and those that it lost.
//!
//! A session that was ended never comes back this way: its tombstone outlives every lifeboat of it.

use std::sync::Arc;

use stayput_core::{
    DecodedCookie, Epoch, Keyring, OnWiped, Operation, State as RecordState, Timestamp, Touched,
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
    /// The session of a cookie under whose key the store has nothing, if it may be put there from its lifeboat. One that `is_there`
    /// was put there by somebody who may have failed before it was admitted.
    pub(super) async fn revive(
        &self,
        lifeboat: &Lifeboat,
        claim: &Claim,
        keyring: &Keyring,
        is_there: bool,
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
        if is_lost && !is_there && !self.may_restore(lifeboat, &boat).await? {
            return Ok(Err(Refusal::NoSession));
        }
        let data = boat.data_before(&Device::of(&self.client())).known_whole();
        let mut header = boat.header.clone();
        // A call that comes late, when the session has been left behind and the store has forgotten that, is not to bring it back.
        header.expires = header.expires.min(boat.confirmed.after(inner.policy.max_age));
        let current = Current { id: cookie.value.id.clone(), key, header, data };
        let current = Arc::new(current);
        let (this, put) = (self.clone(), Arc::clone(&current));
        // A client that goes away in the middle would leave a session that nobody admitted.
        match uncancelled(async move { this.put_back(&put, &boat, is_there).await }).await {
            Ok(()) if is_lost && !is_there => self.emit(EventKind::Restored, Some(&current)),
            // Somebody was first, or it was ended.
            Ok(()) | Err(Error::Ended) => {}
            Err(error) => return Err(error),
        }
        sessions.replay_session(key).await?;
        let record = sessions.call(Operation::Load, |store| store.load(key)).await?;
        let found = self.fit_if_any(claim, record, keyring)?;
        Ok(found.map(|found| Found { confirmed: now, ..found }))
    }

    /// Whether a session was put into the store just now, perhaps by somebody who failed before it was admitted: it has the
    /// version of a lifeboat of its birth, or of another store, or what was replayed since. One whose lifeboat is worth nothing any
    /// more was so long ago, and lives by what the store says.
    pub(super) fn is_barely_put_back(
        &self,
        found: &Found,
        cookie: &DecodedCookie,
        keyring: &Keyring,
    ) -> bool {
        let header = &found.current.header;
        if header.subject.is_none() || header.state != RecordState::Live {
            return false;
        }
        let (inner, now) = (&self.sessions().inner, self.sessions().inner.clock.now());
        // Most are good by their labels, and not opened for this: births are counted as written, and those of another store are
        // worth nothing by the time that this one has been known for long.
        let has_writes = || self.lifeboat_label(&found.current.key).is_some_and(|label| label.writes > 0);
        if !inner.marker.is_new(now, inner.policy.max_age) && !has_writes() {
            return false;
        }
        let known = inner.marker.get();
        let is_of_other_store =
            |boat: &Boat| boat.marker.is_some() && known.is_some() && boat.marker != known;
        self.boat(&found.current.key, keyring).is_some_and(|boat| {
            (boat.is_born || is_of_other_store(&boat))
                && header.includes(boat.header.version().tag)
                && self.may_use(&boat, cookie, true, now)
        })
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

    /// Puts a session into the store, unless all of its subject's were ended since, or there is no room for it.
    async fn put_back(&self, current: &Current, boat: &Boat, is_there: bool) -> Result<(), Error> {
        let sessions = self.sessions();
        let Some(subject) = &boat.subject else {
            sessions.create(current).await?;
            return self.let_live(current, boat).await;
        };
        let epoch = self.epoch(subject.key()).await?;
        // An epoch is at least the time at which it was raised, by another clock than that of the server that confirmed: of two
        // that are close nobody knows which was first.
        let raised = Timestamp::from_millis(epoch.count());
        if epoch != Epoch::default() && raised.after(sessions.inner.policy.max_age) >= boat.confirmed {
            if is_there {
                self.remove_if_unfinished(current).await?;
            }
            return Err(Error::Ended);
        }
        if !is_there {
            sessions.create(current).await?;
        }
        let device = Device::of(&self.client());
        let is_remembered = current.header.is_remembered;
        let heir = Heir { subject: subject.clone(), device, is_remembered, keeps_all: false };
        match self.admit(current, &heir, epoch, None).await {
            Err(Error::LimitReached | Error::Ended) => {
                sessions.remove(current.key).await?;
                Err(Error::Ended)
            }
            admitted => admitted,
        }?;
        self.let_live(current, boat).await
    }

    /// Has a session live on in the store for as long as it would have. From then on it has another version than its lifeboat:
    /// nobody has to ask again whether it was admitted, and nobody was served before.
    async fn let_live(&self, current: &Current, boat: &Boat) -> Result<(), Error> {
        let (sessions, key) = (self.sessions(), current.key);
        let mut header = current.header.next(sessions.write_tag());
        header.expires = boat.header.expires;
        match sessions.replace(Arc::new(current.with(header)), current.header.version()).await? {
            Written::Done(_) => {}
            // What waited for it was replayed, or somebody else has come as far.
            Written::Conflict(_) => {
                let touch = sessions.call(Operation::Touch, |store| store.touch(key, boat.header.expires));
                let (Touched::Touched | Touched::Missing) = touch.await?;
            }
        }
        Ok(())
    }

    /// Removes a session that somebody put into the store and failed to have admitted, when all of its subject's were ended: who
    /// ended them may have done so before it was there.
    async fn remove_if_unfinished(&self, current: &Current) -> Result<(), Error> {
        let (sessions, key) = (self.sessions(), current.key);
        let record = sessions.call(Operation::Load, |store| store.load(key)).await?;
        match record {
            Some(record) if record.header.version() == current.header.version() => sessions.remove(key).await,
            _ => Ok(()),
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
