//! How a write wins against parallel ones: compare-and-swap, and on a conflict the same change again on what is there
//! by then. A whole session is never written over another request's.

use std::sync::Arc;
use std::time::Duration;

use stayput_core::{
    Created, Header, Operation, Record, Replaced, SessionId, State as RecordState, StorageKey,
    StoreErrorKind, Version,
};
use tokio::time::Instant;

use crate::data::{Changes, Data};
use crate::events::EventKind;
use crate::session::{CookieState, Current, Session, Source};
use crate::{Error, Sessions, meter};

/// What became of a write.
pub(crate) enum Written {
    /// It is in the store; this is the session now.
    Done(Arc<Current>),
    /// Another write was first; this is the session now.
    Conflict(Arc<Current>),
}

impl Session {
    /// Applies the buffered changes and `change` to the session, whatever it is by then, and writes it.
    ///
    /// The caller holds the turn.
    pub(crate) async fn commit<R, E: From<Error>>(
        &self,
        mut change: impl FnMut(&mut Data) -> Result<R, E>,
    ) -> Result<R, E> {
        self.load().await?;
        if self.state().is_adrift() || self.sessions().store_is_out() && self.cast_off() {
            return Box::pin(self.commit_adrift(change)).await;
        }
        let mut attempts = Attempts::begin();
        loop {
            let (base, changes) = self.snapshot();
            let mut data = base.as_ref().map_or_else(Data::new, |base| base.data.clone());
            data.apply(&changes);
            let result = change(&mut data)?;
            if base.as_ref().map_or(data.is_empty(), |base| base.data == data) {
                // In a copy nothing changed. By now something may have to.
                if self.state().source != Source::Store {
                    Box::pin(self.fresh()).await?;
                    continue;
                }
                self.settle(None, &changes);
                return Ok(result);
            }
            self.check_size(&data)?;
            let written = match base {
                None => Box::pin(self.write_new(data)).await,
                Some(base) => match self.write_next(&base, data).await {
                    // Nothing of it happened, so it can happen here.
                    Err(Error::Store(error))
                        if error.kind() == StoreErrorKind::Unavailable && self.cast_off() =>
                    {
                        return Box::pin(self.commit_adrift(change)).await;
                    }
                    written => written,
                },
            };
            if written.as_ref().is_err_and(is_in_doubt) {
                self.state().is_in_doubt = true;
            }
            let written = written?;
            match written {
                Written::Done(current) => {
                    meter::commit();
                    self.settle(Some(current), &changes);
                    return Ok(result);
                }
                Written::Conflict(newer) => {
                    meter::conflict();
                    self.state().see(newer);
                }
            }
            attempts.next(self.sessions()).await?;
        }
    }

    fn snapshot(&self) -> (Option<Arc<Current>>, Changes) {
        let state = self.state();
        (state.current.clone(), state.changes.clone())
    }

    /// Notes that `changes` are in the store.
    pub(crate) fn settle(&self, current: Option<Arc<Current>>, changes: &Changes) {
        let mut state = self.state();
        if let Some(current) = current {
            state.see(current);
        }
        // What was buffered meanwhile stays.
        state.changes.settle(changes);
    }

    pub(crate) fn check_size(&self, data: &Data) -> Result<(), Error> {
        let ((count, bytes), policy) = (data.size(), &self.sessions().inner.policy);
        if bytes > policy.max_data {
            return Err(Error::TooLarge { bytes, limit: policy.max_data });
        }
        if count > policy.max_values {
            return Err(Error::TooMany { values: count, limit: policy.max_values });
        }
        Ok(())
    }

    /// The first write of an anonymous session, which gives it its cookie.
    async fn write_new(&self, data: Data) -> Result<Written, Error> {
        self.state().check_head()?;
        let (sessions, inner) = (self.sessions(), &self.sessions().inner);
        let (id, now) = (SessionId::generate(&*inner.random), inner.clock.now());
        let absolute = inner.policy.absolute(now, false);
        let mut header = Header::new(now, absolute, absolute, sessions.write_tag());
        header.expires = inner.policy.expiry(&header, now);
        let current = Arc::new(Current { key: id.storage_key(), id, header, data });
        sessions.create(&current).await?;
        self.emit(EventKind::Created, Some(&current));

        let cookie = self.newest_cookie(&current);
        let mut state = self.state();
        state.answer.anonymous = Some(cookie);
        (state.cookie, state.confirmed) = (CookieState::default(), now);
        drop(state);
        Ok(Written::Done(current))
    }

    async fn write_next(&self, base: &Current, data: Data) -> Result<Written, Error> {
        let next = self.next(base, data)?;
        self.sessions().replace(next, base.header.version()).await
    }

    /// What `base` becomes when `data` is written to it.
    fn next(&self, base: &Current, data: Data) -> Result<Arc<Current>, Error> {
        let inner = &self.sessions().inner;
        if base.header.state == RecordState::Remainder {
            return Err(Error::Superseded);
        }
        let mut header = base.header.next(self.sessions().write_tag());
        let now = inner.clock.now();
        if self.state().presents_newest(&base.header) {
            header.presented.get_or_insert(now);
        }
        // A deadline that stays where it is costs a store's indexes nothing.
        if inner.policy.touch_is_due(&header, now) {
            header.expires = inner.policy.expiry(&header, now);
        }
        Ok(Arc::new(Current { id: base.id.clone(), key: base.key, header, data }))
    }
}

impl Sessions {
    /// Creates a session under an id that nobody else can have.
    pub(crate) async fn create(&self, session: &Current) -> Result<(), Error> {
        let (key, tag) = (session.key, session.header.version().tag);
        let create = self.twice(Operation::Create, |store| store.create(key, self.seal_session(session)));
        let (created, _) = create.await?;
        if created == Created::Exists {
            // Ours from the first try, or else somebody removed it already.
            let found = self.call(Operation::Load, |store| store.load(key)).await?;
            found.filter(|found| found.header.includes(tag)).ok_or(Error::Ended)?;
        }
        Ok(())
    }

    /// Swaps a session against its version `expected`.
    pub(crate) async fn replace(&self, session: Arc<Current>, expected: Version) -> Result<Written, Error> {
        let (key, tag) = (session.key, session.header.version().tag);
        let sealed = || self.seal_session(&session);
        let swap = self.twice(Operation::Replace, |store| store.replace(key, sealed(), expected));
        let (outcome, doubt) = swap.await?;
        match outcome {
            Replaced::Replaced => {
                if let Some(near) = &self.inner.near {
                    near.keep_opened(&session);
                }
                Ok(Written::Done(session))
            }
            Replaced::Missing => Err(Error::Ended),
            Replaced::Conflict(found) => {
                let ours = found.header.includes(tag);
                // Making the change again could make it twice: others wrote so often since that the record would not
                // remember the first try.
                if let Some(doubt) = doubt.filter(|_| !ours && !found.header.remembers_since(expected)) {
                    return Err(doubt);
                }
                let found = Arc::new(self.reopen(session.id.clone(), key, &found)?);
                Ok(if ours { Written::Done(found) } else { Written::Conflict(found) })
            }
        }
    }

    /// Ends a session for every server.
    pub(crate) async fn remove(&self, key: StorageKey) -> Result<(), Error> {
        self.call(Operation::Remove, |store| store.remove(key)).await?;
        self.inner.endings.tell(key);
        Ok(())
    }

    fn seal_session(&self, session: &Current) -> Record {
        self.seal(&session.key, session.header.clone(), session.data.as_bytes())
    }

    /// The session of a record that a store handed back in a conflict.
    pub(crate) fn reopen(&self, id: SessionId, key: StorageKey, record: &Record) -> Result<Current, Error> {
        let bytes = record.open(&key, &self.inner.keyring.load()).map_err(Error::Keyring)?;
        let data = Data::decode(bytes)
            .map_err(|source| Error::Decode { key: "(session)".to_owned(), source: source.into() })?;
        Ok(Current { id, key, header: record.header.clone(), data })
    }
}

fn is_in_doubt(error: &Error) -> bool {
    matches!(error, Error::Store(error) if error.kind() == StoreErrorKind::OutcomeUnknown)
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
