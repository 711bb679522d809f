//! From a request's cookies to its session, or to none: whatever doesn't fit in every respect is no session.

use std::sync::Arc;
use std::time::Duration;

use stayput_core::{
    CookieRefused, CookieValue, DecodedCookie, Header, Keyring, OpenError, Policy, Record,
    State as RecordState, StorageKey, Timestamp,
};

use super::{CookieState, Current, Found, Session, Source, Upkeep};
use crate::Error;
use crate::answer::CookieChange;
use crate::cookies::{Ours, Presented};
use crate::data::Data;
use crate::events::{EventKind, Refusal};
use crate::guesses::Guess;
use crate::near::{Copy, Seen, SeenVersion};

impl Session {
    /// The newest cookie of `session`. Any server can compute it.
    pub(crate) fn newest_cookie(&self, session: &Current) -> CookieChange {
        let is_logged_in = session.header.subject.is_some();
        let value = self.value_under(self.sessions().inner.names.of(is_logged_in), session);
        CookieChange::Set { value, left: self.lifetime(session) }
    }

    /// The value of such a cookie under `name`.
    pub(super) fn value_under(&self, name: &str, session: &Current) -> String {
        let value = CookieValue { id: session.id.clone(), generation: session.header.generation };
        value.encode(name, &self.sessions().inner.keyring.load())
    }

    /// How long the session's cookies outlive the browser; `None` if they don't.
    pub(super) fn lifetime(&self, session: &Current) -> Option<Duration> {
        let inner = &self.sessions().inner;
        let outlives_browser = session.header.is_remembered || inner.policy.cookie.is_persistent();
        outlives_browser.then(|| session.header.absolute.since(inner.clock.now()))
    }

    /// The storage keys of all cookies that are ours, whatever is under them.
    pub(crate) fn presented_keys(&self) -> impl Iterator<Item = StorageKey> {
        let (names, keyring) = (&self.sessions().inner.names, self.sessions().inner.keyring.load());
        let key_in = |name: &str| {
            self.decode(name, &keyring).ok().flatten().map(|cookie| cookie.value.id.storage_key())
        };
        let (session, anonymous) = (key_in(&names.session), key_in(&names.anonymous));
        let spare = session.as_ref().and_then(|before| self.spare_beside(before, &keyring));
        let spare = spare.map(|spare| spare.value.id.storage_key());
        [session, spare, anonymous].into_iter().flatten()
    }

    /// Whether the client presents any cookie of ours.
    pub(crate) fn presents_any(&self) -> bool {
        let names = &self.sessions().inner.names;
        [&names.session, &names.anonymous].iter().any(|name| self.cookies().single(name) != Presented::Absent)
    }

    pub(super) fn decode(&self, name: &str, keyring: &Keyring) -> Result<Option<DecodedCookie>, Refusal> {
        decode(name, self.cookies().single(name), keyring)
    }

    /// What the cookie of sessions with a subject, or that of anonymous ones, leads to, if it is there and ours.
    #[inline]
    pub(super) fn claim(
        &self,
        ours: &Ours<'_>,
        with_subject: bool,
        keyring: &Arc<Keyring>,
    ) -> Result<Option<Claim>, Error> {
        let verified = match ours.of(with_subject) {
            Presented::Absent => return Ok(None),
            Presented::Several => Err(Refusal::Duplicate),
            Presented::Once(value) => self.verify(value, with_subject, keyring),
        };
        let (cookie, key) = match verified {
            Ok(verified) => verified,
            Err(refusal) => {
                let name = self.sessions().inner.names.of(with_subject);
                return self.refuse(refusal, name).map(|()| None);
            }
        };
        let has_spare = with_subject && ours.spare != Presented::Absent;
        let seen = self.seen(ours, &key);
        Ok(Some(Claim { cookie, key, with_subject, seen, has_spare, is_second: false }))
    }

    /// What a cookie says, and the storage key of its session: as it was found lately, if that is kept.
    fn verify(
        &self,
        value: &[u8],
        with_subject: bool,
        keyring: &Arc<Keyring>,
    ) -> Result<(DecodedCookie, StorageKey), Refusal> {
        let inner = &self.sessions().inner;
        if let Some(found) = inner.verified.find(value, with_subject, keyring) {
            return Ok(found);
        }
        let cookie = CookieValue::decode(inner.names.of(with_subject), value, keyring)?;
        let key = cookie.value.id.storage_key();
        inner.verified.keep(value, with_subject, keyring, &cookie, key);
        Ok((cookie, key))
    }

    /// The version of the session under `key` that the client says it has seen, where there are copies that may be older.
    pub(super) fn seen(&self, ours: &Ours<'_>, key: &StorageKey) -> Option<SeenVersion> {
        self.sessions().inner.near.as_ref().and_then(|_| seen(ours.version, key))
    }

    pub(super) fn unless_refused(
        &self,
        found: Result<Found, Refusal>,
        name: &str,
    ) -> Result<Option<Found>, Error> {
        found.map(Some).or_else(|refusal| self.refuse(refusal, name).map(|()| None))
    }

    pub(super) fn fit_if_any(
        &self,
        claim: &Claim,
        record: Option<Arc<Record>>,
        keyring: &Keyring,
    ) -> Result<Result<Found, Refusal>, Error> {
        match record {
            Some(record) => self.fit(claim, &record, None, keyring, self.sessions().inner.clock.now()),
            None => Ok(Err(Refusal::NoSession)),
        }
    }

    /// The version of the session under `key` that the client says it has seen.
    pub(super) fn seen_version(&self, key: &StorageKey) -> Option<SeenVersion> {
        seen(self.cookies().single(&self.sessions().inner.names.version), key)
    }

    pub(crate) fn presents_version(&self) -> bool {
        self.cookies().single(&self.sessions().inner.names.version) != Presented::Absent
    }

    pub(crate) fn presents_lifeboat(&self) -> bool {
        self.cookies().single(&self.sessions().inner.names.lifeboat) != Presented::Absent
    }

    /// Has the client say from now on which version of its session it has seen, if there are copies that may be older.
    pub(super) fn hand_out_version(&self) {
        let inner = &self.sessions().inner;
        let mut state = self.state();
        if inner.near.is_none() || state.has_seen_version() || state.answer.logged_out {
            return;
        }
        let Some(current) = &state.current else { return };
        // What is read while the store is out is no news. What the client says of another session of its own may be: it has
        // one cookie for both.
        if state.is_adrift() && state.seen.is_none() && self.presents_version() {
            return;
        }
        let value = SeenVersion::of(&current.header).encode(&current.key);
        let left = self.lifetime(current);
        state.answer.version = Some(CookieChange::Set { value, left });
    }

    /// The session of a cookie and the record under its key, if they fit together.
    #[inline]
    pub(super) fn fit(
        &self,
        claim: &Claim,
        record: &Record,
        copy: Option<&Copy>,
        keyring: &Keyring,
        now: Timestamp,
    ) -> Result<Result<Found, Refusal>, Error> {
        let Claim { ref cookie, key, with_subject, seen, .. } = *claim;
        let (inner, header, generation) = (&self.sessions().inner, &record.header, cookie.value.generation);
        // The idle deadline is not sealed: whoever can write to the store could put it anywhere.
        if !inner.answers(header, now) {
            return Ok(Err(Refusal::NoSession));
        }
        if !header.accepts(generation, now, inner.policy.grace) {
            return Ok(Err(Refusal::OldGeneration));
        }
        if header.subject.is_some() != with_subject {
            return Ok(Err(Refusal::OtherKind));
        }
        let current = if let Some(current) = copy.and_then(|copy| copy.opened.get()) {
            Arc::clone(current)
        } else {
            let data = match record.open(&key, keyring) {
                Ok(bytes) => Data::decode(bytes),
                // The cookie is ours and so is the session: this server lacks a key. Nobody is logged out by that.
                Err(error @ OpenError::UnknownKey(_)) => return Err(Error::Keyring(error)),
                Err(_) => return Ok(Err(Refusal::Broken)),
            };
            let Ok(data) = data else { return Ok(Err(Refusal::Broken)) };
            let id = cookie.value.id.clone();
            Arc::new(Current { id, key, header: header.clone(), data })
        };
        // What is kept is counted by its record, which may be compressed.
        let is_counted = current.data.as_bytes().len() <= record.size();
        if let Some(copy) = copy.filter(|copy| is_counted && copy.opened.get().is_none()) {
            // If it was opened before, that is as good.
            let _ = copy.opened.set(Arc::clone(&current));
        }
        // A server that still has an older keyring may have sealed it under a key that is on its way out.
        let under_former_key = !cookie.under_primary || !record.is_under_primary(keyring);
        let cookie = CookieState { generation, under_former_key, ..CookieState::default() };
        let (source, confirmed) = (Source::Store, Timestamp::default());
        let is_settled = header.state == RecordState::Live
            && header.presented.is_some()
            && generation >= header.generation
            && !under_former_key;
        let rests = is_settled && now < rests_until(header, copy, &inner.policy);
        let upkeep = if rests { Upkeep::NotDue } else { Upkeep::Unknown };
        Ok(Ok(Found { current, source, cookie, upkeep, seen, at: now, confirmed, drift: None }))
    }

    /// Notes that a cookie is none of a session's. An error for who keeps making them up.
    fn refuse(&self, refusal: Refusal, name: &str) -> Result<(), Error> {
        self.emit(EventKind::Refused(refusal), None);
        let Presented::Once(value) = self.cookies().single(name) else { return Ok(()) };
        if !refusal.is_made_up() {
            return Ok(());
        }
        let (inner, address) = (&self.sessions().inner, self.client().address());
        let guess = inner.guesses.count(address, value, inner.clock.now());
        if guess == Guess::Begins {
            self.emit(EventKind::Guessing, None);
        }
        // Without an address there is nobody in particular to slow.
        if guess != Guess::Few && address.is_some() { Err(Error::Guessing) } else { Ok(()) }
    }
}

/// [`Policy::rests_until`], which copies remember.
#[inline]
fn rests_until(header: &Header, copy: Option<&Copy>, policy: &Policy) -> Timestamp {
    copy.map_or_else(|| policy.rests_until(header), |copy| copy.rests_until(policy))
}

/// A cookie of ours, and what its client says of the session that it leads to.
pub(super) struct Claim {
    pub(super) cookie: DecodedCookie,
    pub(super) key: StorageKey,
    pub(super) with_subject: bool,
    /// The version that it has seen, where there are copies that may be older.
    pub(super) seen: Option<SeenVersion>,
    /// Whether there is a spare cookie beside it.
    pub(super) has_spare: bool,
    /// Whether another cookie came first and led nowhere.
    pub(super) is_second: bool,
}

impl Claim {
    pub(super) fn has_seen(&self) -> Seen {
        Seen { version: self.seen, generation: self.cookie.value.generation }
    }

    /// Whether the client may have seen a version that it can't tell of: the one version cookie that it has is of the session
    /// that came first.
    pub(super) fn lacks_version(&self) -> bool {
        self.is_second && self.seen.is_none()
    }
}

fn decode(name: &str, presented: Presented<'_>, keyring: &Keyring) -> Result<Option<DecodedCookie>, Refusal> {
    match presented {
        Presented::Absent => Ok(None),
        Presented::Several => Err(Refusal::Duplicate),
        Presented::Once(value) => CookieValue::decode(name, value, keyring).map(Some).map_err(Refusal::from),
    }
}

/// The version of the session under `key` that a version cookie says its client has seen.
#[inline]
fn seen(version: Presented<'_>, key: &StorageKey) -> Option<SeenVersion> {
    match version {
        Presented::Once(value) => SeenVersion::decode(value, key),
        Presented::Absent | Presented::Several => None,
    }
}

impl From<CookieRefused> for Refusal {
    fn from(refused: CookieRefused) -> Self {
        match refused {
            CookieRefused::UnknownKey(_) => Self::UnknownKey,
            CookieRefused::Forged => Self::Forged,
            _ => Self::Malformed,
        }
    }
}
