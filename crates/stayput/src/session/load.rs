//! Looking a session up once, however many handlers and tasks of its request ask at the same time.
//!
//! A failure is not remembered: who asks next looks again.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{Current, Found, Session};
use crate::Error;

/// How far looking the session up is.
#[derive(Default)]
pub(super) enum Lookup {
    #[default]
    NotBegun,
    /// With those who wait for it.
    UnderWay(Vec<Waker>),
    Done,
}

impl Session {
    /// Looks the session up, the first time it is called.
    pub(crate) async fn load(&self) -> Result<(), Error> {
        let Some(turn) = poll_fn(|context| self.poll_turn(context)).await else { return Ok(()) };
        let mut found = self.find().await?;
        if let Some(found) = &mut found {
            self.keep_alive(&mut found.current, found.at).await;
        }
        turn.end(found);
        Ok(())
    }

    /// The session, looked up if need be.
    pub(super) async fn loaded(&self) -> Result<Option<Arc<Current>>, Error> {
        self.load().await?;
        Ok(self.current())
    }

    /// The turn to look the session up; `None` when somebody did.
    fn poll_turn(&self, context: &Context<'_>) -> Poll<Option<Turn<'_>>> {
        match &mut self.state().lookup {
            Lookup::Done => return Poll::Ready(None),
            Lookup::UnderWay(waiting) => {
                waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            lookup @ Lookup::NotBegun => *lookup = Lookup::UnderWay(Vec::new()),
        }
        Poll::Ready(Some(Turn { session: Some(self) }))
    }

    fn end_lookup(&self, found: Option<Found>, lookup: Lookup) {
        let mut state = self.state();
        let was = std::mem::replace(&mut state.lookup, lookup);
        if let Some(found) = found {
            (state.current, state.cookie, state.active) = (Some(found.current), found.cookie, found.at);
        }
        drop(state);
        if let Lookup::UnderWay(waiting) = was {
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

/// The turn to look the session up. Dropped before its end, by an error or with its task, it goes to the next.
struct Turn<'s> {
    session: Option<&'s Session>,
}

impl Turn<'_> {
    fn end(mut self, found: Option<Found>) {
        if let Some(session) = self.session.take() {
            session.end_lookup(found, Lookup::Done);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session {
            session.end_lookup(None, Lookup::NotBegun);
        }
    }
}
