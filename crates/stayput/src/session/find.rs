//! From a request's cookies to its session, or to none: whatever doesn't fit in every respect is no session.

use std::error::Error as StdError;
use std::sync::Arc;

use stayput_core::{CookieValue, DecodedCookie, OpenError, Operation, StorageKey};

use super::{CookieState, Current, Session};
use crate::Error;
use crate::answer::CookieChange;
use crate::cookies::Presented;
use crate::data::Data;

impl Session {
    /// The session of the session cookie or, if that has none, of the anonymous cookie; with what the cookie says.
    pub(super) async fn find(&self) -> Result<Option<(Current, CookieState)>, Error> {
        let names = &self.sessions().inner.names;
        for (name, with_subject) in [(&names.session, true), (&names.anonymous, false)] {
            let Some(cookie) = self.decode(name) else { continue };
            if let Some(current) = self.fetch(&cookie.value, with_subject).await? {
                let generation = cookie.value.generation;
                return Ok(Some((
                    current,
                    CookieState { generation, under_former_key: !cookie.under_primary },
                )));
            }
        }
        Ok(None)
    }

    /// The newest cookie of `session`. Any server can compute it.
    pub(crate) fn newest_cookie(&self, session: &Current) -> CookieChange {
        let inner = &self.sessions().inner;
        let is_logged_in = session.header.subject.is_some();
        let name = if is_logged_in { &inner.names.session } else { &inner.names.anonymous };
        let value = CookieValue { id: session.id.clone(), generation: session.header.generation };
        CookieChange::Set(value.encode(name, &inner.keyring.load()))
    }

    /// The storage keys of all cookies that are ours, whatever is under them.
    pub(crate) fn presented_keys(&self) -> impl Iterator<Item = StorageKey> {
        let names = &self.sessions().inner.names;
        let cookies = [&names.session, &names.anonymous].into_iter().filter_map(|name| self.decode(name));
        cookies.map(|cookie| cookie.value.id.storage_key())
    }

    fn decode(&self, name: &str) -> Option<DecodedCookie> {
        match self.cookies().single(name) {
            Presented::Absent => None,
            Presented::Several => refuse("the cookie was sent more than once"),
            Presented::Once(value) => {
                CookieValue::decode(name, value, &self.sessions().inner.keyring.load()).or_else_refuse()
            }
        }
    }

    async fn fetch(&self, cookie: &CookieValue, with_subject: bool) -> Result<Option<Current>, Error> {
        let inner = &self.sessions().inner;
        let key = cookie.id.storage_key();
        let Some(record) = self.sessions().call(Operation::Load, inner.store.load(key)).await? else {
            return Ok(refuse("no such session: it ended or expired"));
        };
        let header = record.header.clone();
        // The idle deadline is not sealed: whoever can write to the store could put it anywhere.
        if header.absolute <= inner.clock.now() {
            return Ok(refuse("the session is past its absolute deadline"));
        }
        if !header.accepts(cookie.generation, inner.clock.now(), inner.policy.grace) {
            return Ok(refuse("the cookie is of an older generation"));
        }
        if header.subject.is_some() != with_subject {
            return Ok(refuse("the cookie is of another kind than its session"));
        }
        let data = match record.open(&key, &inner.keyring.load()) {
            Ok(bytes) => Data::decode(&bytes).or_else_refuse(),
            // The cookie is ours and so is the session: this server lacks a key. Nobody is logged out by that.
            Err(error @ OpenError::UnknownKey(_)) => return Err(Error::Keyring(error)),
            Err(error) => Err::<Data, _>(error).or_else_refuse(),
        };
        Ok(data.map(|data| Current { id: cookie.id.clone(), key, header, data: Arc::new(data) }))
    }
}

fn refuse<T>(reason: &str) -> Option<T> {
    tracing::info!(reason, "refused a session cookie");
    None
}

trait OrRefuse<T> {
    /// The value or, after the refusal was logged, none.
    fn or_else_refuse(self) -> Option<T>;
}

impl<T, E: StdError> OrRefuse<T> for Result<T, E> {
    fn or_else_refuse(self) -> Option<T> {
        self.map_or_else(|error| refuse(&error.to_string()), Some)
    }
}
