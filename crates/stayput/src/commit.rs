//! How a write wins against parallel ones: compare-and-swap, and on a conflict the same change again on what is there
//! by then. A whole session is never written over another request's.

use std::sync::Arc;
use std::time::Duration;

use stayput_core::{
    Created, Header, Operation, Record, Replaced, SessionId, State as RecordState, StorageKey, StoreError,
    StoreErrorKind, StoreFuture, Version,
};
use tokio::time::Instant;

use crate::data::{Changes, Data, Values};
use crate::session::{CookieState, Current, Session};
use crate::{Error, Sessions};

/// What became of a write.
pub(crate) enum Written {
    /// It is in the store; this is the session now.
    Done(Current),
    /// Another write was first; this is the session now.
    Conflict(Current),
}

impl Session {
    /// Applies the buffered changes and `change` to the session, whatever it is by then, and writes it.
    ///
    /// The caller holds the turn.
    pub(crate) async fn commit<R, E: From<Error>>(
        &self,
        mut change: impl FnMut(&mut Values) -> Result<R, E>,
    ) -> Result<R, E> {
        self.load().await?;
        let mut attempts = Attempts::begin();
        loop {
            let (base, changes) = self.snapshot();
            let mut data = base.as_ref().map(|base| (*base.data).clone()).unwrap_or_default();
            data.apply(&changes);
            let result = change(&mut data.values)?;
            if base.as_ref().map_or(data.values.is_empty(), |base| *base.data == data) {
                self.settle(None, &changes);
                return Ok(result);
            }
            self.check_size(&data)?;
            let written = match base {
                None => self.write_new(data).await?,
                Some(base) => self.write_next(base, data).await?,
            };
            match written {
                Written::Done(current) => {
                    self.settle(Some(current), &changes);
                    return Ok(result);
                }
                Written::Conflict(newer) => self.state().current = Some(newer),
            }
            attempts.next(self.sessions()).await?;
        }
    }

    fn snapshot(&self) -> (Option<Current>, Changes) {
        let state = self.state();
        (state.current.clone(), state.changes.clone())
    }

    /// Notes that `changes` are in the store.
    pub(crate) fn settle(&self, current: Option<Current>, changes: &Changes) {
        let mut state = self.state();
        if current.is_some() {
            state.current = current;
        }
        // What was buffered meanwhile stays.
        state.changes.retain(|key, change| changes.get(key) != Some(change));
    }

    pub(crate) fn check_size(&self, data: &Data) -> Result<(), Error> {
        let (bytes, limit) = (data.size(), self.sessions().inner.policy.max_data);
        if bytes > limit { Err(Error::TooLarge { bytes, limit }) } else { Ok(()) }
    }

    /// The first write of an anonymous session, which gives it its cookie.
    async fn write_new(&self, data: Data) -> Result<Written, Error> {
        self.state().check_head()?;
        let (sessions, inner) = (self.sessions(), &self.sessions().inner);
        let (id, now) = (SessionId::generate(&*inner.random), inner.clock.now());
        let absolute = now.after(inner.policy.absolute_timeout);
        let expires = inner.policy.expiry(absolute, now, true);
        let header = Header::new(now, absolute, expires, sessions.write_tag());
        let current = Current { key: id.storage_key(), id, header, data: Arc::new(data) };
        sessions.create(&current).await?;
        tracing::debug!("anonymous session created");

        let cookie = self.newest_cookie(&current);
        let mut state = self.state();
        state.answer.anonymous = Some(cookie);
        state.cookie = CookieState::default();
        drop(state);
        Ok(Written::Done(current))
    }

    async fn write_next(&self, base: Current, data: Data) -> Result<Written, Error> {
        let inner = &self.sessions().inner;
        if base.header.state == RecordState::Remainder {
            return Err(Error::Superseded);
        }
        let mut header = base.header.next(self.sessions().write_tag());
        if self.presents_newest(&base.header) {
            header.presented.get_or_insert(inner.clock.now());
        }
        let (now, anonymous) = (inner.clock.now(), header.subject.is_none());
        // A deadline that stays where it is costs a store's indexes nothing.
        if inner.policy.touch_is_due(header.expires, header.absolute, now, anonymous) {
            header.expires = inner.policy.expiry(header.absolute, now, anonymous);
        }
        let next = Current { header, data: Arc::new(data), ..base.clone() };
        self.sessions().replace(next, base.header.version()).await
    }
}

impl Sessions {
    /// Creates a session under an id that nobody else can have.
    pub(crate) async fn create(&self, session: &Current) -> Result<(), Error> {
        let (key, store) = (session.key, &self.inner.store);
        let record = self.seal(&key, session.header.clone(), &session.data.encode());
        let tag = session.header.version().tag;
        let (created, _) = self.twice(Operation::Create, || store.create(key, record.clone())).await?;
        if created == Created::Exists {
            // Ours from the first try, or else somebody removed it already.
            let found = self.call(Operation::Load, store.load(key)).await?;
            found.filter(|found| found.header.includes(tag)).ok_or(Error::Ended)?;
        }
        Ok(())
    }

    /// Swaps a session against its version `expected`.
    pub(crate) async fn replace(&self, session: Current, expected: Version) -> Result<Written, Error> {
        let (key, store) = (session.key, &self.inner.store);
        let record = self.seal(&key, session.header.clone(), &session.data.encode());
        let tag = session.header.version().tag;
        let swap = || store.replace(key, record.clone(), expected);
        let (outcome, doubt) = self.twice(Operation::Replace, swap).await?;
        match outcome {
            Replaced::Replaced => Ok(Written::Done(session)),
            Replaced::Missing => Err(Error::Ended),
            Replaced::Conflict(found) => {
                let ours = found.header.includes(tag);
                // Making the change again could make it twice: others wrote so often since that the record would not
                // remember the first try.
                if let Some(doubt) = doubt.filter(|_| !ours && !found.header.remembers_since(expected)) {
                    return Err(doubt);
                }
                let found = self.reopen(session.id, key, &found)?;
                Ok(if ours { Written::Done(found) } else { Written::Conflict(found) })
            }
        }
    }

    /// A store call with a time limit.
    pub(crate) async fn call<T>(&self, operation: Operation, call: StoreFuture<'_, T>) -> Result<T, Error> {
        let limit = self.inner.policy.store_timeout;
        let late = |_| {
            let error = StoreError::new(StoreErrorKind::OutcomeUnknown, self.inner.store.name(), operation);
            Err(error.with_source(format!("no answer within {limit:?}")))
        };
        tokio::time::timeout(limit, call).await.unwrap_or_else(late).map_err(Error::Store)
    }

    /// Makes a write, and once more if its outcome is unknown, which is then given back too: it is the same record with
    /// the same write tag, by which the second try tells whether the first one happened.
    async fn twice<'a, T: 'a>(
        &self,
        operation: Operation,
        call: impl Fn() -> StoreFuture<'a, T>,
    ) -> Result<(T, Option<Error>), Error> {
        match self.call(operation, call()).await {
            Err(Error::Store(error)) if error.kind() == StoreErrorKind::OutcomeUnknown => {
                tracing::warn!(%operation, "outcome of a write unknown; looking again");
                Ok((self.call(operation, call()).await?, Some(Error::Store(error))))
            }
            outcome => Ok((outcome?, None)),
        }
    }

    /// The session of a record that a store handed back in a conflict.
    fn reopen(&self, id: SessionId, key: StorageKey, record: &Record) -> Result<Current, Error> {
        let bytes = record.open(&key, &self.inner.keyring.load()).map_err(Error::Keyring)?;
        let data = Data::decode(&bytes)
            .map_err(|source| Error::Decode { key: "(session)".to_owned(), source: source.into() })?;
        Ok(Current { id, key, header: record.header.clone(), data: Arc::new(data) })
    }
}

/// Bounds the attempts of one commit: by time, since under load many may fail while all make progress.
pub(crate) struct Attempts {
    until: Instant,
    made: u32,
}

impl Attempts {
    pub(crate) fn begin() -> Self {
        Self { until: Instant::now() + CONFLICT_LIMIT, made: 0 }
    }

    /// Waits a little before the next attempt, longer and more randomly after each; at once before the second.
    pub(crate) async fn next(&mut self, sessions: &Sessions) -> Result<(), Error> {
        if Instant::now() >= self.until {
            return Err(Error::Conflict);
        }
        let most = (1u64 << self.made.min(4)) - 1;
        self.made += 1;
        let mut random = [0];
        sessions.inner.random.fill(&mut random);
        let pause = most * u64::from(random[0]) / 255;
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        Ok(())
    }
}

/// How long a commit may go on losing against others.
const CONFLICT_LIMIT: Duration = Duration::from_secs(10);
