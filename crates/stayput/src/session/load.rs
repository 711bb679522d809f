//! Looking a session up once for its request.
//!
//! Nobody waits for anybody else's lookup: handlers and tasks that ask at the same time may each look, and what the first one
//! found stands. Somebody who began and isn't polled any more, such as an event stream whose head has to leave first, would
//! hold up the answer. A failure is not remembered: who asks next looks again.

use std::sync::Arc;

use stayput_core::{Operation, Record};

use super::{Current, Session, Source, State};
use crate::{Error, Sessions};

/// How far looking the session up is.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Lookup {
    #[default]
    NotBegun,
    Begun,
    Done,
}

impl Session {
    /// Looks the session up, unless somebody has.
    pub(crate) async fn load(&self) -> Result<(), Error> {
        self.loaded().await.map(|_| ())
    }

    /// Reads the session from the store now, for where a copy won't do, such as before money moves: whatever was changed or
    /// ended before the call, on any server, counts from here on.
    ///
    /// For all requests of a route there is [`FreshLayer`](crate::FreshLayer).
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] if it was ended since this request looked it up; errors of the store.
    pub async fn fresh(&self) -> Result<(), Error> {
        let current = {
            let mut state = self.state();
            state.wants_fresh = true;
            (state.lookup == Lookup::Done).then(|| state.current.clone())
        };
        match current {
            None => self.load().await,
            Some(None) => Ok(()),
            Some(Some(current)) => {
                let fresh = self.sessions().reread(&current).await?;
                let mut state = self.state();
                // A login of this request's may have come in between.
                if state.current.as_ref().is_some_and(|now| now.key == fresh.key) {
                    state.see(Arc::new(fresh));
                }
                Ok(())
            }
        }
    }

    /// From here on no copy will do.
    pub(crate) fn want_fresh(&self) {
        self.state().wants_fresh = true;
    }

    /// The session, looked up if need be.
    pub(super) async fn loaded(&self) -> Result<Option<Arc<Current>>, Error> {
        {
            let mut state = self.state();
            if state.lookup == Lookup::Done {
                return Ok(state.current.clone());
            }
            state.lookup = Lookup::Begun;
        }
        let mut found = self.find().await?;
        if let Some(found) = found.as_mut().filter(|found| found.source != Source::Adrift)
            && self.ends_soon(&found.current.header, found.at)
        {
            Box::pin(self.keep_alive(&mut found.current, found.at)).await;
        }
        let mut state = self.state();
        if state.lookup != Lookup::Done {
            state.lookup = Lookup::Done;
            if let Some(found) = found {
                (state.current, state.cookie, state.active) = (Some(found.current), found.cookie, found.at);
                (state.source, state.seen) = (found.source, found.seen);
                (state.confirmed, state.drift) = (found.confirmed, found.drift);
            }
        }
        Ok(state.current.clone())
    }
}

impl Sessions {
    /// The session as it is in the store by now.
    async fn reread(&self, session: &Current) -> Result<Current, Error> {
        let key = session.key;
        let record = self.call(Operation::Load, |store| store.load(key)).await?;
        let is_alive = |record: &Arc<Record>| record.header.absolute > self.inner.clock.now();
        let record = record.filter(is_alive).ok_or(Error::Ended)?;
        self.reopen(session.id.clone(), key, &record)
    }
}

impl State {
    /// Has lookups that are still under way change nothing.
    pub(crate) fn end_lookup(&mut self) {
        self.lookup = Lookup::Done;
    }

    /// Whether nobody asked for the session yet.
    pub(super) fn was_left_alone(&self) -> bool {
        self.lookup == Lookup::NotBegun
    }

    pub(crate) fn wants_fresh(&self) -> bool {
        self.wants_fresh
    }
}
