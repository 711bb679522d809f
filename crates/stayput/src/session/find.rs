//! From a request's cookies to its session, or to none: whatever doesn't fit in every respect is no session.

use std::sync::Arc;

use stayput_core::{
    CookieRefused, CookieValue, DecodedCookie, OpenError, Operation, Record, State as RecordState, StorageKey,
};

use super::{CookieState, Current, Found, Session};
use crate::Error;
use crate::answer::CookieChange;
use crate::cookies::Presented;
use crate::data::Data;
use crate::events::{EventKind, Refusal};
use crate::guesses::Guess;
use crate::meter;

impl Session {
    /// The session of the session cookie or, if that has none, of the anonymous cookie.
    pub(super) async fn find(&self) -> Result<Option<Found>, Error> {
        let names = &self.sessions().inner.names;
        let mut found = self.find_under(&names.session).await?;
        let is_live = |found: &Found| found.current.header.state == RecordState::Live;
        if !found.as_ref().is_some_and(is_live) {
            let other = self.find_under(&names.anonymous).await?;
            // Beside what a login left behind only the session of that login counts.
            if found.is_none() || other.as_ref().is_some_and(|other| other.cookie.is_spare) {
                found = other;
            }
        }
        meter::load(found.is_some());
        Ok(found)
    }

    async fn find_under(&self, name: &str) -> Result<Option<Found>, Error> {
        let found = match self.decode(name) {
            Ok(None) => return Ok(None),
            Ok(Some(cookie)) => {
                let key = cookie.value.id.storage_key();
                let load = self.sessions().inner.store.load(key);
                match self.sessions().call(Operation::Load, load).await? {
                    Some(record) => self.fit(cookie, key, &record, name)?,
                    None => Err(Refusal::NoSession),
                }
            }
            Err(refusal) => Err(refusal),
        };
        match found {
            Ok(found) => Ok(Some(found)),
            Err(refusal) => self.refuse(refusal, name).map(|()| None),
        }
    }

    /// The newest cookie of `session`. Any server can compute it.
    pub(crate) fn newest_cookie(&self, session: &Current) -> CookieChange {
        let names = &self.sessions().inner.names;
        let is_logged_in = session.header.subject.is_some();
        self.cookie_under(if is_logged_in { &names.session } else { &names.anonymous }, session)
    }

    /// A logged-in session's cookie under the other name. An answer that was under way during the login may put the
    /// cookie of the session before it in the place of the login's; this one it leaves alone.
    pub(crate) fn spare_cookie(&self, session: &Current) -> CookieChange {
        self.cookie_under(&self.sessions().inner.names.anonymous, session)
    }

    fn cookie_under(&self, name: &str, session: &Current) -> CookieChange {
        let inner = &self.sessions().inner;
        let value = CookieValue { id: session.id.clone(), generation: session.header.generation };
        let outlives_browser = session.header.is_remembered || inner.policy.cookie.is_persistent();
        let left = outlives_browser.then(|| session.header.absolute.since(inner.clock.now()));
        CookieChange::Set { value: value.encode(name, &inner.keyring.load()), left }
    }

    /// The storage keys of all cookies that are ours, whatever is under them.
    pub(crate) fn presented_keys(&self) -> impl Iterator<Item = StorageKey> {
        let names = &self.sessions().inner.names;
        let cookies = [&names.session, &names.anonymous].into_iter();
        cookies
            .filter_map(|name| self.decode(name).ok().flatten())
            .map(|cookie| cookie.value.id.storage_key())
    }

    /// Whether the client presents any cookie of ours.
    pub(crate) fn presents_any(&self) -> bool {
        let names = &self.sessions().inner.names;
        [&names.session, &names.anonymous].iter().any(|name| self.cookies().single(name) != Presented::Absent)
    }

    fn decode(&self, name: &str) -> Result<Option<DecodedCookie>, Refusal> {
        match self.cookies().single(name) {
            Presented::Absent => Ok(None),
            Presented::Several => Err(Refusal::Duplicate),
            Presented::Once(value) => CookieValue::decode(name, value, &self.sessions().inner.keyring.load())
                .map(Some)
                .map_err(Refusal::from),
        }
    }

    /// The session of a cookie and the record under its key, if they fit together.
    fn fit(
        &self,
        cookie: DecodedCookie,
        key: StorageKey,
        record: &Record,
        name: &str,
    ) -> Result<Result<Found, Refusal>, Error> {
        let inner = &self.sessions().inner;
        let CookieValue { id, generation } = cookie.value;
        let (header, now) = (&record.header, inner.clock.now());
        // The idle deadline is not sealed: whoever can write to the store could put it anywhere.
        if header.absolute <= now {
            return Ok(Err(Refusal::NoSession));
        }
        if !header.accepts(generation, now, inner.policy.grace) {
            return Ok(Err(Refusal::OldGeneration));
        }
        let is_main = name == inner.names.session;
        if is_main && header.subject.is_none() {
            return Ok(Err(Refusal::OtherKind));
        }
        let is_spare = !is_main && header.subject.is_some();
        let keyring = inner.keyring.load();
        let data = match record.open(&key, &keyring) {
            Ok(bytes) => Data::decode(bytes),
            // The cookie is ours and so is the session: this server lacks a key. Nobody is logged out by that.
            Err(error @ OpenError::UnknownKey(_)) => return Err(Error::Keyring(error)),
            Err(_) => return Ok(Err(Refusal::Broken)),
        };
        let Ok(data) = data else { return Ok(Err(Refusal::Broken)) };
        // A server that still has an older keyring may have sealed it under a key that is on its way out.
        let under_former_key = !cookie.under_primary || !record.is_under_primary(&keyring);
        Ok(Ok(Found {
            current: Arc::new(Current { id, key, header: header.clone(), data }),
            cookie: CookieState { generation, under_former_key, is_spare },
            at: now,
        }))
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

impl From<CookieRefused> for Refusal {
    fn from(refused: CookieRefused) -> Self {
        match refused {
            CookieRefused::UnknownKey(_) => Self::UnknownKey,
            CookieRefused::Forged => Self::Forged,
            _ => Self::Malformed,
        }
    }
}
