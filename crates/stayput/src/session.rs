//! The session of one request: loaded when first asked for, written once before the answer leaves.
//!
//! A request that never asks costs a clone of its `Cookie` header. Nothing here decides how a write wins against
//! parallel ones; that is [`commit`](crate::commit).

mod adrift;
mod ask;
mod board;
mod find;
mod load;
mod revive;
mod spare;
mod values;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use self::adrift::Drift;
use self::load::Lookup;
pub(crate) use self::revive::is_unfinished;
use crate::answer::{Answer, CookieChange};
use crate::client::Client;
use crate::cookies::RequestCookies;
use crate::data::{Changes, Data};
use crate::device::{Moved, moved};
use crate::events::EventKind;
use crate::near::SeenVersion;
use crate::{Error, Sessions};
use http::request::Parts;
use stayput_core::{Activity, Generation, Header, SessionId, StorageKey, Subject, Timestamp};

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
    /// Whose turn it is to write, among the handlers and tasks of this one request: two of them must not both create
    /// its session. Nobody else ever waits for it.
    turn: tokio::sync::Mutex<()>,
    /// Whether no copy will do.
    wants_fresh: AtomicBool,
    /// Whether it is known who is at the other end.
    knows_client: AtomicBool,
    state: Mutex<State>,
}

/// What this request knows and wants.
#[derive(Default)]
pub(crate) struct State {
    /// Who is at the other end; known when the session is taken out of its request.
    pub(crate) client: Option<Client>,
    lookup: Lookup,
    /// The session as last seen in the store.
    pub(crate) current: Option<Arc<Current>>,
    /// Where it was seen.
    pub(crate) source: Source,
    /// When the store last confirmed it; kept only where there are lifeboats.
    pub(crate) confirmed: Timestamp,
    /// What else is known of it while the store is out, where there are lifeboats.
    pub(crate) drift: Option<Box<Drift>>,
    /// Whether a write of this request may have reached the store, or not: it must not be made again in any other way.
    pub(crate) is_in_doubt: bool,
    /// The version of the session that the client said it has seen.
    seen: Option<SeenVersion>,
    upkeep: Upkeep,
    /// When it was looked up, which is when this request was active in it.
    pub(crate) active: Timestamp,
    /// What its cookie said when it was presented, or says that is being handed out.
    pub(crate) cookie: CookieState,
    /// Changes that wait for the commit.
    pub(crate) changes: Changes,
    /// Cookies that wait for the response head.
    pub(crate) answer: Answer,
    /// Whether somebody waits for a turn to write, or had it.
    writes: bool,
    head_left: bool,
}

/// Where a session was seen last.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Source {
    #[default]
    Store,
    /// A copy: in the store it may have changed since.
    Copy,
    /// A copy, while the store is out.
    Adrift,
}

/// What is known of the upkeep that a session needs, as it was found.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Upkeep {
    #[default]
    Unknown,
    /// None, unless its client has moved.
    NotDue,
}

/// What the client has of its session.
#[derive(Clone, Copy, Default)]
pub(crate) struct CookieState {
    pub(crate) generation: Generation,
    pub(crate) under_former_key: bool,
    /// It is a login's spare one, and the session cookie is another one.
    pub(crate) is_spare: bool,
    /// A copy has let it in, which the store might not have done.
    pub(crate) by_copy: bool,
}

/// A session as it was found.
struct Found {
    current: Arc<Current>,
    source: Source,
    cookie: CookieState,
    upkeep: Upkeep,
    seen: Option<SeenVersion>,
    at: Timestamp,
    confirmed: Timestamp,
    drift: Option<Box<Drift>>,
}

/// A session as it is in the store.
pub(crate) struct Current {
    pub(crate) id: SessionId,
    pub(crate) key: StorageKey,
    pub(crate) header: Header,
    pub(crate) data: Data,
}

impl Session {
    #[inline]
    pub(crate) fn new(sessions: Sessions, cookies: RequestCookies) -> Self {
        Self {
            shared: Arc::new(Shared {
                sessions,
                cookies,
                turn: tokio::sync::Mutex::const_new(()),
                wants_fresh: AtomicBool::new(false),
                knows_client: AtomicBool::new(false),
                state: Mutex::new(State::default()),
            }),
        }
    }

    /// The session that the layer gave a request; `None` if the route has no layer. axum's extractor does the same.
    pub fn of(request: &Parts) -> Option<Self> {
        let session = request.extensions.get::<Self>()?;
        let reach = &session.sessions().inner.reach;
        if !session.shared.knows_client.load(Ordering::Acquire) {
            // Not under the lock: the application tells the peer's address.
            let client = reach.client(&request.headers, &request.extensions);
            session.state().client.get_or_insert(client);
            session.shared.knows_client.store(true, Ordering::Release);
        }
        Some(session.clone())
    }

    /// Who is at the other end, as far as it is known.
    pub fn client(&self) -> Client {
        self.state().client.clone().unwrap_or_default()
    }

    /// Who the session is logged in as; `None` if it is anonymous.
    ///
    /// # Errors
    ///
    /// Errors of the store, which do not mean that nobody is logged in.
    pub async fn subject(&self) -> Result<Option<Subject>, Error> {
        Ok(self.loaded().await?.and_then(|current| current.data.subject()))
    }

    /// When the subject proved who they are; `None` if the session is anonymous.
    ///
    /// # Errors
    ///
    /// Errors of the store.
    pub async fn authenticated_at(&self) -> Result<Option<Timestamp>, Error> {
        Ok(self.loaded().await?.and_then(|current| current.header.authenticated))
    }

    /// Whether the store is out, and the session is served as it was when the store last confirmed it: it can be read, and what
    /// is written fails, unless it has a merge in [`Policy::lifeboat`](crate::Policy::lifeboat). For the application to leave out what
    /// needs more than that.
    ///
    /// # Errors
    ///
    /// Errors of the store: it is out, and of this session nothing is known here.
    pub async fn is_adrift(&self) -> Result<bool, Error> {
        self.load().await?;
        Ok(self.state().is_adrift())
    }

    /// What the layer does when the handler has returned: commits, and hands out the cookies. They go out even if the
    /// commit failed: the session of a login before it is in the store, and the one before that is over.
    pub(crate) async fn finish(self) -> (Answer, Result<(), Error>) {
        let _turn = self.turn().await;
        if self.sessions().inner.policy.activity == Activity::Any
            && self.state().was_left_alone()
            && let Err(error) = self.load().await
        {
            // Who didn't ask for the session must not fail for it.
            error.log();
        }
        let mut committed = Ok(());
        let mut is_kept_up = false;
        loop {
            if !is_kept_up && self.state().changes.is_empty() {
                self.keep_up().await;
                is_kept_up = true;
            }
            // Asked again after every wait: a task of the handler's may have buffered something meanwhile.
            // Of what is about to be written over nothing is handed out: it would stay where what comes then is no news.
            if committed.is_err() || self.state().changes.is_empty() {
                self.hand_out_version();
                self.hand_out_lifeboat();
            }
            let answer = self.state().leave_head(committed.is_err());
            if let Some(answer) = answer {
                return (answer, committed);
            }
            committed = self.commit(|_| Ok(())).await;
        }
    }

    /// Lets the head leave as it is if there is nothing to finish first: nobody asked for the session, or it was only
    /// read and needs no upkeep.
    #[inline]
    pub(crate) fn leave_at_once(&self) -> bool {
        let policy = &self.sessions().inner.policy;
        let mut state = self.state();
        if policy.activity == Activity::Any && state.was_left_alone() && self.presents_any() {
            return false;
        }
        state.head_left = !state.writes
            && state.changes.is_empty()
            && (state.is_at_rest() || state.is_kept_up(policy))
            && (self.sessions().inner.near.is_none() || state.has_seen_version())
            && (self.sessions().inner.lifeboat.is_none() || self.has_lifeboat(&state));
        state.head_left
    }

    /// Tells who listens what happened to `session`, or to a request without one.
    pub(crate) fn emit(&self, kind: EventKind, session: Option<&Current>) {
        let subject = session.and_then(|session| session.data.subject());
        self.sessions().emit(
            kind,
            session.map(|session| session.key),
            subject.as_ref(),
            self.client().address(),
        );
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

    pub(crate) fn current(&self) -> Option<Arc<Current>> {
        self.state().current.clone()
    }

    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.state().writes = true;
        self.shared.turn.lock().await
    }
}

impl Current {
    /// The same session with another header.
    pub(crate) fn with(&self, header: Header) -> Self {
        Self { id: self.id.clone(), key: self.key, header, data: self.data.clone() }
    }
}

impl State {
    /// Takes note of the session as the store has it.
    pub(crate) fn see(&mut self, current: Arc<Current>) {
        (self.current, self.source, self.upkeep) = (Some(current), Source::Store, Upkeep::Unknown);
    }

    /// Whether the session surely needs no upkeep, as was seen when it was found.
    fn is_at_rest(&self) -> bool {
        self.upkeep == Upkeep::NotDue
            && self.current.as_ref().is_some_and(|current| {
                let (device, client) = (current.data.device(), self.client.as_ref());
                device.zip(client).is_none_or(|(device, client)| moved(device, client) == Moved::default())
            })
    }

    pub(crate) fn is_adrift(&self) -> bool {
        self.source == Source::Adrift
    }

    /// Whether the client has said that it saw the session as it is now.
    fn has_seen_version(&self) -> bool {
        self.current.as_ref().is_none_or(|current| {
            let version = Some(SeenVersion::of(&current.header));
            // An older state may be served while the store is out; it is no news. A newer one is, wherever its client goes next.
            if self.is_adrift() { self.seen >= version } else { self.seen == version }
        })
    }

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
        f.debug_struct("Session").field("used", &!self.state().was_left_alone()).finish_non_exhaustive()
    }
}
