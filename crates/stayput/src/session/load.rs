//! Looking a session up once for its request.
//!
//! Nobody waits for anybody else's lookup: handlers and tasks that ask at the same time may each look, and what the first one
//! found stands. Somebody who began and isn't polled any more, such as an event stream whose head has to leave first, would
//! hold up the answer. A failure is not remembered: who asks next looks again.

use std::sync::Arc;

use super::{Current, Session, State};
use crate::Error;

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
        if let Some(found) = &mut found {
            self.keep_alive(&mut found.current, found.at).await;
        }
        let mut state = self.state();
        if state.lookup != Lookup::Done {
            state.lookup = Lookup::Done;
            if let Some(found) = found {
                (state.current, state.cookie, state.active) = (Some(found.current), found.cookie, found.at);
            }
        }
        Ok(state.current.clone())
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
}
