//! A whole session as one type of the application's, taken as an argument by its handlers.
//!
//! It is one value under one key: an application may use it beside others, and change it field by field over time.

use std::ops::Deref;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Session};

/// A type that a session holds one of.
///
/// New fields need `#[serde(default)]`, so that sessions from before can be read.
pub trait TypedSession: Serialize + DeserializeOwned + Default + Send + 'static {
    /// Where it stands among the session's values.
    const KEY: &'static str;
}

/// The session's `T`, as it was when the request came in; its default if there is none yet.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use stayput::{Typed, TypedSession};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Visit {
///     pages: u32,
/// }
///
/// impl TypedSession for Visit {
///     const KEY: &'static str = "visit";
/// }
///
/// async fn page(mut visit: Typed<Visit>) -> Result<String, stayput::Error> {
///     visit.update(|visit| visit.pages += 1).await?;
///     Ok(format!("page {} of your visit", visit.pages))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Typed<T> {
    session: Session,
    value: T,
}

impl<T: TypedSession> Typed<T> {
    /// Reads the value out of a session.
    ///
    /// # Errors
    ///
    /// As [`Session::get`].
    pub async fn read(session: Session) -> Result<Self, Error> {
        let value = session.get(T::KEY).await?.unwrap_or_default();
        Ok(Self { session, value })
    }

    /// Changes the value atomically, on the terms of [`Session::update`]: `change` may see what a parallel request wrote
    /// meanwhile, and so does who reads this afterwards.
    ///
    /// # Errors
    ///
    /// As [`Session::update`].
    pub async fn update(&mut self, change: impl FnMut(&mut T)) -> Result<(), Error> {
        self.value = self.session.update(T::KEY, change).await?;
        Ok(())
    }

    /// The session it is in.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

impl<T> Deref for Typed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
