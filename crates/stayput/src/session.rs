//! The session of one request: loaded when first asked for, written once before the answer leaves.
//!
//! A request that never asks costs a clone of its `Cookie` header. Nothing here decides how a write wins against
//! parallel ones; that is [`commit`](crate::commit).

mod find;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stayput_core::{Generation, Header, SessionId, StorageKey, Subject, Timestamp};
use tokio::sync::OnceCell;

use crate::answer::{Answer, CookieChange};
use crate::cookies::RequestCookies;
use crate::data::{self, Changes, Data, Values};
use crate::{Error, Sessions};

/// The session of the request at hand. Cheap to clone; all clones are the same session.
///
/// Anonymous visitors have a session too; it comes into being, with a cookie, when something is first written to it.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    sessions: Sessions,
    cookies: RequestCookies,
    used: AtomicBool,
    loaded: OnceCell<()>,
    /// Whose turn it is to write, among the handlers and tasks of this one request: two of them must not both create
    /// its session. Nobody else ever waits for it.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

/// What this request knows and wants.
#[derive(Default)]
pub(crate) struct State {
    /// The session as last seen in the store.
    pub(crate) current: Option<Current>,
    /// What its cookie said when it was presented, or says that is being handed out.
    pub(crate) cookie: CookieState,
    /// Changes that wait for the commit.
    pub(crate) changes: Changes,
    /// Cookies that wait for the response head.
    pub(crate) answer: Answer,
    head_left: bool,
}

/// What the client has of its session.
#[derive(Clone, Copy, Default)]
pub(crate) struct CookieState {
    pub(crate) generation: Generation,
    pub(crate) under_former_key: bool,
}

/// A session as it is in the store.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) id: SessionId,
    pub(crate) key: StorageKey,
    pub(crate) header: Header,
    pub(crate) data: Arc<Data>,
}

impl Session {
    pub(crate) fn new(sessions: Sessions, cookies: RequestCookies) -> Self {
        let shared = Shared {
            sessions,
            cookies,
            used: AtomicBool::new(false),
            loaded: OnceCell::new(),
            turn: tokio::sync::Mutex::new(()),
            state: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The value under `key`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if the value is of another type; errors of the store.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let buffered = self.state().changes.get(key).cloned();
        let value = if let Some(change) = buffered {
            change
        } else {
            self.load().await?;
            self.state().current.as_ref().and_then(|current| current.data.values.get(key).cloned())
        };
        value.map(|value| data::decode(key, &value)).transpose()
    }

    /// Sets the value under `key`, together with all other buffered changes, when the handler has returned. Of
    /// parallel requests that set the same key the last one wins; other keys are not touched.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`]; [`Error::Committed`] if the response head has left.
    pub fn insert<T: Serialize>(&self, key: &str, value: T) -> Result<(), Error> {
        self.buffer(key, Some(data::encode(key, &value)?))
    }

    /// Removes the value under `key`, on the terms of [`Session::insert`].
    ///
    /// # Errors
    ///
    /// [`Error::Committed`] if the response head has left.
    pub fn remove(&self, key: &str) -> Result<(), Error> {
        self.buffer(key, None)
    }

    /// Removes the value under `key` atomically and gives it back: of parallel requests only one gets it. Commits at once,
    /// buffered changes with it.
    ///
    /// # Errors
    ///
    /// As [`Session::update`].
    pub async fn take<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        self.write(|values| {
            let value = values.get(key).map(|value| data::decode(key, value)).transpose()?;
            values.remove(key);
            Ok(value)
        })
        .await
    }

    /// Changes the value under `key` (at first its default) atomically, and returns it as it is then. Commits at once,
    /// buffered changes with it.
    ///
    /// `change` is run again when a parallel request wrote first, so it must have no effect but on its argument.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`], [`Error::Ended`], [`Error::Superseded`], [`Error::Decode`], [`Error::TooLarge`]; errors of
    /// the store.
    pub async fn update<T>(&self, key: &str, mut change: impl FnMut(&mut T)) -> Result<T, Error>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        self.write(|values| {
            let mut value = stored_or_default(key, values)?;
            change(&mut value);
            values.insert(key.to_owned(), data::encode(key, &value)?);
            Ok(value)
        })
        .await
    }

    /// As [`Session::update`], with a result of the closure's own.
    ///
    /// # Errors
    ///
    /// As [`Session::update`].
    pub async fn update_with<T, R>(&self, key: &str, mut change: impl FnMut(&mut T) -> R) -> Result<R, Error>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        self.try_update(key, |value| Ok(change(value))).await
    }

    /// As [`Session::update_with`]; nothing is written if the closure fails.
    ///
    /// # Errors
    ///
    /// The closure's error, or as [`Session::update`].
    pub async fn try_update<T, R, E>(
        &self,
        key: &str,
        mut change: impl FnMut(&mut T) -> Result<R, E>,
    ) -> Result<R, E>
    where
        T: Serialize + DeserializeOwned + Default,
        E: From<Error>,
    {
        self.write(|values| {
            let mut value = stored_or_default(key, values)?;
            let result = change(&mut value)?;
            values.insert(key.to_owned(), data::encode(key, &value)?);
            Ok(result)
        })
        .await
    }

    /// Who the session is logged in as; `None` if it is anonymous.
    ///
    /// # Errors
    ///
    /// Errors of the store, which do not mean that nobody is logged in.
    pub async fn subject(&self) -> Result<Option<Subject>, Error> {
        self.load().await?;
        Ok(self.state().current.as_ref().and_then(|current| current.data.subject.clone()))
    }

    /// When the subject proved who they are; `None` if the session is anonymous.
    ///
    /// # Errors
    ///
    /// Errors of the store.
    pub async fn authenticated_at(&self) -> Result<Option<Timestamp>, Error> {
        self.load().await?;
        Ok(self.state().current.as_ref().and_then(|current| current.header.authenticated))
    }

    /// Commits buffered changes now instead of when the handler has returned.
    ///
    /// # Errors
    ///
    /// As [`Session::update`].
    pub async fn save(&self) -> Result<(), Error> {
        self.write(|_| Ok(())).await
    }

    /// What the layer does when the handler has returned: commits, and hands out the cookies. They go out even if the
    /// commit failed: the session of a login before it is in the store, and the one before that is over.
    pub(crate) async fn finish(self) -> (Answer, Result<(), Error>) {
        let _turn = self.turn().await;
        let mut committed = Ok(());
        let mut is_kept_up = false;
        loop {
            if !is_kept_up && self.state().changes.is_empty() {
                self.keep_up().await;
                is_kept_up = true;
            }
            // Asked again after every wait: a task of the handler's may have buffered something meanwhile.
            let answer = self.state().leave_head(committed.is_err());
            if let Some(answer) = answer {
                return (answer, committed);
            }
            committed = self.commit(|_| Ok(())).await;
        }
    }

    /// Lets the head leave if nothing was asked of the session; otherwise there is something to finish first.
    pub(crate) fn leave_unused(&self) -> bool {
        // Asked under the lock: who buffers a change marks the session as used before taking it.
        let mut state = self.state();
        !self.is_used() && state.leave_head(false).is_some()
    }

    fn is_used(&self) -> bool {
        self.shared.used.load(Ordering::Relaxed)
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.shared.sessions
    }

    pub(crate) fn cookies(&self) -> &RequestCookies {
        &self.shared.cookies
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.mark_used();
        self.shared.turn.lock().await
    }

    /// Looks the session up, the first time it is called; a failure is not remembered.
    pub(crate) async fn load(&self) -> Result<(), Error> {
        self.mark_used();
        let find = || async {
            let found = self.find().await?;
            let mut state = self.state();
            if let Some((current, cookie)) = found {
                state.current = Some(current);
                state.cookie = cookie;
            }
            Ok::<_, Error>(())
        };
        self.shared.loaded.get_or_try_init(find).await?;
        Ok(())
    }

    fn mark_used(&self) {
        self.shared.used.store(true, Ordering::Relaxed);
    }

    fn buffer(&self, key: &str, change: Option<serde_bytes::ByteBuf>) -> Result<(), Error> {
        self.mark_used();
        let mut state = self.state();
        state.check_head()?;
        state.changes.insert(key.to_owned(), change);
        Ok(())
    }

    async fn write<R, E: From<Error>>(
        &self,
        change: impl FnMut(&mut Values) -> Result<R, E>,
    ) -> Result<R, E> {
        let _turn = self.turn().await;
        self.commit(change).await
    }
}

impl State {
    /// Lets the response head leave with its cookies, unless changes still wait for their commit and are not `given_up`.
    fn leave_head(&mut self, given_up: bool) -> Option<Answer> {
        if !self.changes.is_empty() && !given_up {
            return None;
        }
        self.head_left = true;
        Some(std::mem::take(&mut self.answer))
    }

    /// Fails if the response head has left, so that no cookie can be set any more.
    pub(crate) fn check_head(&self) -> Result<(), Error> {
        if self.head_left { Err(Error::Committed) } else { Ok(()) }
    }

    /// The change to the cookie that carries `session`.
    pub(crate) fn cookie_for(&mut self, session: &Current) -> &mut Option<CookieChange> {
        if session.header.subject.is_some() { &mut self.answer.session } else { &mut self.answer.anonymous }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("used", &self.is_used()).finish_non_exhaustive()
    }
}

fn stored_or_default<T: DeserializeOwned + Default>(key: &str, values: &Values) -> Result<T, Error> {
    values.get(key).map_or_else(|| Ok(T::default()), |value| data::decode(key, value))
}
