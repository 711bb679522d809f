//! A session while the store is out: read from the newest copy that is to be had, written into the journal, ended for good.
//!
//! Nothing here moves the time at which the store last confirmed the session, nor any deadline of it.

mod newest;

use std::sync::Arc;

use stayput_core::{
    DecodedCookie, Keyring, Marker, OnWiped, Outage, State as RecordState, StorageKey, Timestamp,
};

use self::newest::newest;
use super::find::Claim;
use super::{CookieState, Current, Found, Session, Source, Upkeep};
use crate::Error;
use crate::answer::CookieChange;
use crate::commit::Attempts;
use crate::cookies::Presented;
use crate::data::{Changes, Data};
use crate::device::Device;
use crate::events::{EndReason, EventKind, Refusal};
use crate::lifeboat::{Boat, Carried, Lifeboat, NotTaken, ServerId, Value, View, Write, Written, boat};
use crate::meter;
use crate::outage::is_outage;

/// What is known of a session that is adrift, beside what it holds.
#[derive(Clone)]
pub(crate) struct Drift {
    /// When the store last confirmed it; of one that was born in the outage, when that was.
    pub(crate) confirmed: Timestamp,
    pub(crate) marker: Option<Marker>,
    pub(crate) is_born: bool,
    /// How often it was written since.
    pub(crate) writes: u32,
    /// The server that made all of these writes; `None` if several did.
    pub(crate) writer: Option<ServerId>,
    /// What the store has under the keys that were written since.
    pub(crate) before: Vec<(String, Value)>,
}

impl Drift {
    /// Of a session that was as the store had it at `confirmed`.
    pub(crate) fn since(confirmed: Timestamp, marker: Option<Marker>) -> Self {
        Self { confirmed, marker, is_born: false, writes: 0, writer: None, before: Vec::new() }
    }

    fn of(boat: &Boat) -> Self {
        let written = |carried: &Carried| carried.before.clone().map(|before| (carried.key.clone(), before));
        Self {
            confirmed: boat.confirmed,
            marker: boat.marker,
            is_born: boat.is_born,
            writes: boat.writes,
            writer: boat.writer,
            before: boat.values.iter().filter_map(written).collect(),
        }
    }

    pub(super) fn before(&self, key: &str) -> Option<&Value> {
        self.before.iter().find(|(name, _)| name == key).map(|(_, before)| before)
    }
}

impl Session {
    /// The session as it is served while the store is out, if `error` says that it is, and policy and handler will have that; or else
    /// that error.
    pub(super) fn bridge(
        &self,
        claim: &Claim,
        keyring: &Keyring,
        error: Error,
    ) -> Result<Result<Found, Refusal>, Error> {
        let inner = &self.sessions().inner;
        if inner.policy.outage == Outage::Refuse || self.wants_fresh() || !is_outage(&error) {
            return Err(error);
        }
        let copy = self.copied(claim, keyring)?;
        let found = match &inner.lifeboat {
            None => copy,
            // A lifeboat is of before that, or for a generation that doesn't come back.
            Some(_) if copy.is_none() && self.is_over_here(&claim.cookie, &claim.key) => {
                Some(Err(Refusal::NoSession))
            }
            Some(lifeboat) => {
                let found = newest(copy, self.in_lifeboat(lifeboat, claim, keyring), &lifeboat.merges);
                self.as_written_here(lifeboat, claim, found)
            }
        };
        let found = found.ok_or(error)?;
        meter::adrift();
        Ok(found)
    }

    fn is_over_here(&self, cookie: &DecodedCookie, key: &StorageKey) -> bool {
        let inner = &self.sessions().inner;
        let (generation, grace) = (cookie.value.generation, inner.policy.grace);
        inner.near.as_ref().is_some_and(|near| near.is_over(key, generation, grace))
    }

    /// The session in the near cache.
    fn copied(&self, claim: &Claim, keyring: &Keyring) -> Result<Option<Result<Found, Refusal>>, Error> {
        let inner = &self.sessions().inner;
        let Some(near) = &inner.near else { return Ok(None) };
        let now = inner.clock.now();
        let Some(copy) = near.adrift(&claim.key, claim.has_seen(), inner.policy.max_age) else {
            return Ok(None);
        };
        let found = self.fit(claim, &copy.record, Some(&copy), keyring, now)?;
        let marker = inner.marker.get();
        Ok(Some(found.map(|found| {
            let drift = Drift::since(near.confirmed(&copy, found.at), marker);
            Found { source: Source::Adrift, drift: Some(Box::new(drift)), ..found }
        })))
    }

    /// The session in its lifeboat.
    fn in_lifeboat(&self, lifeboat: &Lifeboat, claim: &Claim, keyring: &Keyring) -> Option<Found> {
        let Claim { ref cookie, key, with_subject, .. } = *claim;
        let boat = self.boat(&key, keyring)?;
        let now = self.sessions().inner.clock.now();
        let is_good = self.may_use(&boat, cookie, with_subject, now) && !lifeboat.pending.is_ended(&key);
        is_good.then(|| {
            let (id, data) = (cookie.value.id.clone(), boat.data(&Device::of(&self.client())));
            let drift = Some(Box::new(Drift::of(&boat)));
            let current = Arc::new(Current { id, key, header: boat.header, data });
            let cookie = CookieState { generation: cookie.value.generation, ..CookieState::default() };
            let (source, seen) = (Source::Adrift, self.seen_version(&key));
            Found {
                current,
                source,
                cookie,
                upkeep: Upkeep::Unknown,
                seen,
                at: now,
                confirmed: boat.confirmed,
                drift,
            }
        })
    }

    /// The lifeboat that the client presents for the session under `key`.
    pub(super) fn boat(&self, key: &StorageKey, keyring: &Keyring) -> Option<Boat> {
        match self.cookies().single(&self.sessions().inner.names.lifeboat) {
            Presented::Once(value) => Boat::open(value, key, keyring),
            Presented::Absent | Presented::Several => None,
        }
    }

    /// Whether a session that a lifeboat carries is one for this cookie, is alive, and was confirmed not too long ago.
    pub(super) fn may_use(
        &self,
        boat: &Boat,
        cookie: &DecodedCookie,
        with_subject: bool,
        now: Timestamp,
    ) -> bool {
        let (policy, header) = (&self.sessions().inner.policy, &boat.header);
        now < boat.confirmed.after(policy.max_age)
            && !header.is_expired(now)
            && header.absolute > now
            && header.subject.is_some() == with_subject
            && header.accepts(cookie.value.generation, now, policy.grace)
    }

    /// The session as it was last written on this server, if that is newer than what was found.
    fn as_written_here(
        &self,
        lifeboat: &Lifeboat,
        claim: &Claim,
        found: Option<Result<Found, Refusal>>,
    ) -> Option<Result<Found, Refusal>> {
        let Some(view) = lifeboat.pending.view(&claim.key) else { return found };
        let view = match &found {
            Some(Ok(found)) => view.confirmed_by(found),
            _ => view,
        };
        let (policy, now) = (&self.sessions().inner.policy, self.sessions().inner.clock.now());
        let (header, generation) = (&view.current.header, claim.cookie.value.generation);
        let is_newer = match &found {
            Some(Ok(found)) => view.is_ahead_of(found.version(), found.writes()),
            Some(Err(_)) => false,
            None => true,
        };
        let is_good = now < view.drift.confirmed.after(policy.max_age)
            && !header.is_expired(now)
            && header.accepts(generation, now, policy.grace);
        if !is_newer || !is_good {
            return found;
        }
        let (confirmed, seen) = (view.drift.confirmed, self.seen_version(&claim.key));
        let cookie = CookieState { generation, ..CookieState::default() };
        let drift = Some(Box::new(view.drift));
        let (current, source) = (view.current, Source::Adrift);
        Some(Ok(Found { current, source, cookie, upkeep: Upkeep::Unknown, seen, at: now, confirmed, drift }))
    }

    /// The session with what another server took while the store was out and may not have replayed yet, if that was a moment ago:
    /// its client would see its own writes gone, and then there again.
    pub(super) fn as_written_elsewhere(
        &self,
        lifeboat: &Lifeboat,
        found: Found,
        claim: &Claim,
        keyring: &Keyring,
    ) -> Found {
        let inner = &self.sessions().inner;
        if !inner.breaker.was_out_lately(inner.clock.uptime()) || self.wants_fresh() {
            return found;
        }
        // What this server took itself it has replayed by now; and a birth by itself, which counts as a write, says nothing.
        let is_elsewhere = |drift: &Drift| !drift.before.is_empty() && drift.writer != Some(lifeboat.server);
        match self.in_lifeboat(lifeboat, claim, keyring) {
            Some(mut carried) if carried.drift.as_deref().is_some_and(is_elsewhere) && found.is_live() => {
                if let Some(drift) = &mut carried.drift {
                    // The store has it.
                    drift.is_born = false;
                }
                if found.is_written_over_by(&carried) || found.version() < carried.version() {
                    return Found { source: Source::Adrift, ..found.written_as(&carried) };
                }
                let since = Drift::since(found.confirmed, inner.marker.get());
                found.brought_together_with(&carried, &since, &lifeboat.merges)
            }
            _ => found,
        }
    }

    /// From here on the session is adrift, if it may be. For when the store is out, or turned out to be; says whether it is. Not if a
    /// write of this request may have reached the store before, nor where no copy will do.
    pub(crate) fn cast_off(&self) -> bool {
        let inner = &self.sessions().inner;
        let mut state = self.state();
        let is_confirmed = inner.clock.now() < state.confirmed.after(inner.policy.max_age);
        let may_be = !state.is_in_doubt && !self.wants_fresh() && is_confirmed;
        let may_cast_off = inner.lifeboat.is_some() && state.current.is_some() && may_be;
        if may_cast_off && !state.is_adrift() {
            state.drift = Some(Box::new(Drift::since(state.confirmed, inner.marker.get())));
            state.source = Source::Adrift;
        }
        may_cast_off
    }

    /// Writes the session here, for the store when it is back: if all that changes has a merge.
    pub(crate) async fn commit_adrift<R, E: From<Error>>(
        &self,
        mut change: impl FnMut(&mut Data) -> Result<R, E>,
    ) -> Result<R, E> {
        let (sessions, mut attempts) = (self.sessions(), Attempts::begin());
        let lifeboat = sessions.inner.lifeboat.as_ref().ok_or(Error::Adrift)?;
        loop {
            let (base, changes, drift) = self.afloat()?;
            let mut data = base.data.clone();
            data.apply(&changes);
            let result = change(&mut data)?;
            if data == base.data {
                self.state().changes.settle(&changes);
                return Ok(result);
            }
            self.check_size(&data)?;
            let (writes, drift) = self.writes(lifeboat, &base, &data, drift)?;
            let count = writes.len();
            let current = Arc::new(Current { data, ..base.with(base.header.clone()) });
            let view = View { current, drift };
            if !self.has_room(&view) {
                return Err(Error::Adrift.into());
            }
            let noted = lifeboat.pending.write(base.key, view.clone(), writes, |writes| {
                lifeboat.note_writes(base.key, writes, &sessions.inner)
            });
            match noted {
                Ok(noted) => {
                    // Before anything is waited for: who asked for it may go away.
                    sessions.start_replay();
                    noted.await;
                    meter::adrift_writes(count);
                    self.board(view);
                    self.state().changes.settle(&changes);
                    self.hand_out_boat();
                    return Ok(result);
                }
                Err(NotTaken::Behind(newer)) => self.board(*newer),
                Err(NotTaken::Ended) => return Err(Error::Ended.into()),
                Err(NotTaken::Full) => return Err(Error::Adrift.into()),
            }
            attempts.next(sessions).await?;
        }
    }

    fn afloat(&self) -> Result<(Arc<Current>, Changes, Drift), Error> {
        let state = self.state();
        let (Some(current), Some(drift)) = (&state.current, &state.drift) else { return Err(Error::Adrift) };
        if current.header.state == RecordState::Remainder {
            return Err(Error::Superseded);
        }
        Ok((Arc::clone(current), state.changes.clone(), Drift::clone(drift)))
    }

    /// What is written when the session `base` becomes `data`, and what is known of it then.
    fn writes(
        &self,
        lifeboat: &Lifeboat,
        base: &Current,
        data: &Data,
        mut drift: Drift,
    ) -> Result<(Vec<Write>, Drift), Error> {
        let policy = &self.sessions().inner.policy;
        let comes_later = drift.is_born || policy.on_wiped == OnWiped::Restore;
        let born_until = comes_later.then(|| drift.confirmed.after(policy.max_age));
        let is_first = drift.writes == 0 && drift.before.is_empty();
        let mut writes = Vec::new();
        for name in base.data.differing(data) {
            let (before, after) = (base.data.known(&name)?, data.get(&name));
            // What can't be brought together with itself never can.
            let itself = Written { before, after, stored: before };
            lifeboat.merges.merge(&name, itself).map_err(|_| Error::Adrift)?;
            let (before, after) = (before.map(<[u8]>::to_vec), after.map(<[u8]>::to_vec));
            let goes_by_origin = lifeboat.merges.goes_by_origin(&name);
            let origin = drift.before(&name).filter(|origin| goes_by_origin && **origin != before).cloned();
            if drift.before(&name).is_none() {
                drift.before.push((name.clone(), before.clone()));
            }
            writes.push(Write { name, before, after, origin, born_until });
        }
        drift.writer = Some(lifeboat.server).filter(|server| is_first || drift.writer == Some(*server));
        drift.writes += 1;
        Ok((writes, drift))
    }

    /// From here on the session is as it was written on this server.
    fn board(&self, view: View) {
        let mut state = self.state();
        (state.current, state.source) = (Some(view.current), Source::Adrift);
        state.drift = Some(Box::new(view.drift));
    }

    /// Ends the session here and now, and in the store when it is back.
    pub(crate) async fn log_out_adrift(&self, lifeboat: &Lifeboat) -> Result<(), Error> {
        let inner = &self.sessions().inner;
        let current = self.current();
        let keys: Vec<_> = match &current {
            Some(current) => vec![current.key],
            None => self.presented_keys().collect(),
        };
        if current.as_ref().is_some_and(|current| current.header.state == RecordState::Remainder) {
            return Err(Error::Superseded);
        }
        if !lifeboat.has_journal() {
            return Err(Error::Adrift);
        }
        for key in &keys {
            lifeboat.end(*key, self.sessions()).await?;
            self.emit(EventKind::Ended(EndReason::Logout), current.as_deref());
        }
        let left = current.as_deref().and_then(|current| self.lifetime(current));
        let ended = (!keys.is_empty()).then(|| {
            let value = boat::seal_ended(&keys, &inner.keyring.load(), &*inner.random);
            CookieChange::Set { value, left }
        });
        self.forget();
        self.state().answer.lifeboat = ended;
        Ok(())
    }

    /// Ends in the store what its user ended on another server while the store was out, as the browser says.
    pub(super) async fn end_if_ended(&self, keyring: &Keyring) {
        let inner = &self.sessions().inner;
        let (Some(lifeboat), Presented::Once(value)) =
            (&inner.lifeboat, self.cookies().single(&inner.names.lifeboat))
        else {
            return;
        };
        let Some(keys) = boat::open_ended(value, keyring) else { return };
        let mut are_ended = true;
        for key in keys {
            are_ended &= self.end_there_or_here(lifeboat, key).await;
        }
        // Else the browser keeps saying it.
        if are_ended {
            let mut state = self.state();
            state.answer.lifeboat = Some(CookieChange::Delete);
            state.writes = true;
        }
    }

    /// Ends a session in the store or, while that is out, here; says whether it is ended there.
    async fn end_there_or_here(&self, lifeboat: &Lifeboat, key: StorageKey) -> bool {
        let Err(error) = self.sessions().remove(key).await else { return true };
        if !is_outage(&error) {
            error.log();
        } else if !lifeboat.pending.is_ended(&key)
            && let Err(error) = lifeboat.end(key, self.sessions()).await
        {
            error.log();
        }
        false
    }
}
