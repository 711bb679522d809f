//! Flash messages: said once, on the next page that asks for them, whichever server makes it.
//!
//! They end with an anonymous session at login: what somebody planted there must not greet the user.

use serde::{Deserialize, Serialize};

use crate::{Error, Session};

/// A message for the next page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flash {
    /// How to show it.
    pub level: FlashLevel,
    /// What it says. Not escaped: that is the page's to do.
    pub text: String,
}

/// How a message is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlashLevel {
    /// Good news.
    Success,
    /// Just so that the user knows.
    Info,
    /// Something to look after.
    Warning,
    /// Something failed.
    Error,
}

impl Session {
    /// Leaves a message for the next page. Atomic: parallel requests lose none. Of more than 16 that nobody asked for
    /// the oldest go.
    ///
    /// # Errors
    ///
    /// As [`Session::update`].
    pub async fn flash(&self, level: FlashLevel, text: impl Into<String>) -> Result<(), Error> {
        let flash = Flash { level, text: text.into() };
        self.update_with(KEY, |flashes: &mut Vec<Flash>| {
            flashes.push(flash.clone());
            flashes.drain(..flashes.len().saturating_sub(MOST));
        })
        .await
    }

    /// Takes the messages, the oldest first. Each goes to one request only. Costs no write when there are none. While the store is
    /// out they wait: there are none then.
    ///
    /// # Errors
    ///
    /// As [`Session::take`].
    pub async fn flashes(&self) -> Result<Vec<Flash>, Error> {
        if self.is_adrift().await? {
            return Ok(Vec::new());
        }
        self.take(KEY).await.map(Option::unwrap_or_default)
    }
}

/// Messages that are kept.
const MOST: usize = 16;

const KEY: &str = "stayput.flash";
