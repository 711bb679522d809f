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
        self.loaded().await.map(|_| ())
    }

    /// The session, looked up if need be.
    pub(super) async fn loaded(&self) -> Result<Option<Arc<Current>>, Error> {
        let turn = match poll_fn(|context| self.poll_turn(context)).await {
            Begun::Done(current) => return Ok(current),
            Begun::Turn(turn) => turn,
        };
        let mut found = self.find().await?;
        if let Some(found) = &mut found {
            self.keep_alive(&mut found.current, found.at).await;
        }
        let current = found.as_ref().map(|found| Arc::clone(&found.current));
        turn.end(found);
        Ok(current)
    }

    fn poll_turn(&self, context: &Context<'_>) -> Poll<Begun<'_>> {
        let state = &mut *self.state();
        match &mut state.lookup {
            Lookup::Done => return Poll::Ready(Begun::Done(state.current.clone())),
            Lookup::UnderWay(waiting) => {
                waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            lookup @ Lookup::NotBegun => *lookup = Lookup::UnderWay(Vec::new()),
        }
        Poll::Ready(Begun::Turn(Turn { session: Some(self) }))
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

/// What somebody finds who asks for the session.
enum Begun<'s> {
    /// Somebody looked it up.
    Done(Option<Arc<Current>>),
    Turn(Turn<'s>),
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
