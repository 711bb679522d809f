//! Looking a session up once for its request.
//!
//! Nobody waits for anybody else's lookup: handlers and tasks that ask at the same time may each look, and what the first one
//! found stands. Somebody who began and isn't polled any more, such as an event stream whose head has to leave first, would
//! hold up the answer. A failure is not remembered: who asks next looks again.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use stayput_core::{Operation, Record};

use super::ask::{Answer, Asked, Search};
use super::{Current, Found, Session, Source, State, Upkeep};
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
        self.loaded().await.map(drop)
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
            self.want_fresh();
            let state = self.state();
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
        self.shared.wants_fresh.store(true, Ordering::Release);
    }

    pub(crate) fn wants_fresh(&self) -> bool {
        self.shared.wants_fresh.load(Ordering::Acquire)
    }

    /// The session, looked up if need be.
    pub(super) async fn loaded(&self) -> Loaded {
        let begun = self.state().begin_lookup();
        self.loaded_since(begun).await
    }

    /// The same for who has [begun](State::begin_lookup).
    pub(super) async fn loaded_since(&self, begun: Begun) -> Loaded {
        match self.look(begun) {
            Look::Over(outcome) => outcome,
            Look::Waits(outcome) => outcome.await,
        }
    }

    #[inline]
    fn look(&self, begun: Begun) -> Look<'_> {
        if let Begun::Before(current) = begun {
            return Look::Over(Ok(current));
        }
        match self.find() {
            Err(error) => Look::Over(Err(error)),
            Ok(Search::Over(found)) if !found.as_ref().is_some_and(|found| self.is_urgent(found)) => {
                Look::Over(Ok(self.note(found)))
            }
            Ok(search) => Look::Waits(Box::pin(self.look_on(search))),
        }
    }

    async fn look_on(&self, search: Search<'_>) -> Loaded {
        // What the store's first answer does not settle is boxed, or every lookup had room for it.
        let mut found = match search {
            Search::Over(found) => found,
            Search::Waits(Some(Asked { claim, answer: Some(Answer::FromStore { call, confirmed }) })) => {
                match self.if_enough(&claim, call.await, confirmed) {
                    Ok(found) => Some(found),
                    Err(answer) => {
                        let asked = Asked { claim, answer: Some(answer) };
                        Box::pin(self.find_on(Some(asked))).await?
                    }
                }
            }
            Search::Waits(first) => Box::pin(self.find_on(first)).await?,
        };
        if let Some(found) = found.as_mut().filter(|found| self.is_urgent(found)) {
            Box::pin(self.keep_alive(&mut found.current, found.at)).await;
        }
        Ok(self.note(found))
    }

    /// Whether it might end while its handler is at work, unless it is touched now.
    fn is_urgent(&self, found: &Found) -> bool {
        found.upkeep == Upkeep::Unknown
            && found.source != Source::Adrift
            && self.ends_soon(&found.current.header, found.at)
    }

    /// Takes note of what was found, unless somebody else was faster.
    #[expect(clippy::inline_always, reason = "done for every request, and what it takes is large")]
    #[inline(always)]
    fn note(&self, found: Option<Found>) -> Option<Arc<Current>> {
        let mut state = self.state();
        if state.lookup != Lookup::Done {
            state.lookup = Lookup::Done;
            if let Some(found) = found {
                (state.current, state.cookie, state.active) = (Some(found.current), found.cookie, found.at);
                (state.source, state.upkeep, state.seen) = (found.source, found.upkeep, found.seen);
                (state.confirmed, state.drift) = (found.confirmed, found.drift);
            }
        }
        state.current.clone()
    }
}

/// How a lookup begins.
pub(super) enum Begun {
    /// It was over before.
    Before(Option<Arc<Current>>),
    Now,
}

/// A lookup that is over at once, as most are, or else one to be waited for.
enum Look<'a> {
    Over(Loaded),
    Waits(Pin<Box<dyn Future<Output = Loaded> + Send + 'a>>),
}

/// The session of a request, or none.
type Loaded = Result<Option<Arc<Current>>, Error>;

impl Sessions {
    /// The session as it is in the store by now.
    async fn reread(&self, session: &Current) -> Result<Current, Error> {
        let key = session.key;
        let record = self.call(Operation::Load, |store| store.load(key)).await?;
        let is_alive = |record: &Arc<Record>| self.inner.answers(&record.header, self.inner.clock.now());
        let record = record.filter(is_alive).ok_or(Error::Ended)?;
        self.reopen(session.id.clone(), key, &record)
    }
}

impl State {
    /// Begins to look the session up, unless that is done.
    pub(super) fn begin_lookup(&mut self) -> Begun {
        if self.lookup == Lookup::Done {
            return Begun::Before(self.current.clone());
        }
        self.lookup = Lookup::Begun;
        Begun::Now
    }

    /// Has lookups that are still under way change nothing.
    pub(crate) fn end_lookup(&mut self) {
        self.lookup = Lookup::Done;
    }

    /// Whether nobody asked for the session yet.
    pub(super) fn was_left_alone(&self) -> bool {
        self.lookup == Lookup::NotBegun
    }
}
