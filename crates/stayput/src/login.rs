//! Login, elevation and logout: a session's id changes with who it belongs to and what they may do.
//!
//! Whoever planted or stole the id from before a login gains nothing by it: the logged-in session has a new one, and
//! what is left under the old one can be read for the grace and then is gone.

mod succession;

use std::sync::Arc;
use std::time::Duration;

use stayput_core::{Header, State as RecordState, StorageKey, StoreErrorKind, Subject, Timestamp};

pub(crate) use self::succession::Heir;
use crate::Error;
use crate::answer::{Contents, CookieChange};
use crate::commit::{Attempts, Written};
use crate::device::Device;
use crate::events::{EndReason, EventKind};
use crate::outage::is_outage;
use crate::session::{Current, Session};

/// Who logs in, and how long for. A [`Subject`] by itself is a login that ends with the browser.
#[derive(Clone, Debug)]
#[must_use]
pub struct Login {
    subject: Subject,
    is_remembered: bool,
}

impl Login {
    /// A login of `subject` that ends with the browser.
    pub fn new(subject: Subject) -> Self {
        Self { subject, is_remembered: false }
    }

    /// "Remember me": the session outlives the browser, and has the timeouts of
    /// [`Policy::remember`](crate::Policy::remember). A policy without them ignores it.
    pub fn remembered(mut self, is_remembered: bool) -> Self {
        self.is_remembered = is_remembered;
        self
    }
}

impl From<Subject> for Login {
    fn from(subject: Subject) -> Self {
        Self::new(subject)
    }
}

impl Session {
    /// Logs the session in, under a new id: a [`Subject`], or a [`Login`] of one.
    ///
    /// Of an anonymous session, and of one of the same subject, the values under the policy's `carry` keys come along;
    /// changes buffered by this request do in any case. The old session can be read for the policy's grace, so that
    /// parallel requests still find it, and not written.
    ///
    /// Done when this returns, even if the request is cancelled meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::LimitReached`] if the subject has as many sessions as it may have; [`Error::Ended`] if all of the
    /// subject's sessions were ended meanwhile; [`Error::Committed`] if the response head has left;
    /// [`Error::TooLarge`], [`Error::TooMany`]; errors of the store. The old session is then as it was, or a remainder
    /// of it.
    pub async fn login(&self, login: impl Into<Login>) -> Result<(), Error> {
        let (this, login) = (self.clone(), login.into());
        uncancelled(async move { this.log_in(login).await }).await
    }

    /// Gives the logged-in session a new id with all of its values, after its subject proved again who they are (a
    /// password, a second factor), or before their privileges change. [`Session::authenticated_at`] is now.
    ///
    /// Otherwise on the terms of [`Session::login`].
    ///
    /// # Errors
    ///
    /// [`Error::NotLoggedIn`] if it is anonymous; [`Error::Superseded`] if a parallel login was first; [`Error::Ended`] if
    /// a parallel logout was; [`Error::Committed`] if the response head has left; errors of the store.
    pub async fn elevate(&self) -> Result<(), Error> {
        let this = self.clone();
        uncancelled(async move { this.log_in_again().await }).await
    }

    /// Who the session is logged in as, if they proved it no longer than `most` ago: for what asks for more than a
    /// session that is still open (OWASP ASVS 5.0, 7.5.1 and 7.5.3). After a new proof call [`Session::elevate`].
    ///
    /// # Errors
    ///
    /// [`Error::NotLoggedIn`]; [`Error::StepUp`] if it is too long ago; errors of the store.
    pub async fn recently_authenticated(&self, most: Duration) -> Result<Subject, Error> {
        let subject = self.subject().await?.ok_or(Error::NotLoggedIn)?;
        if self.state().is_adrift() {
            return Err(Error::Adrift);
        }
        let authenticated = self.authenticated_at().await?.ok_or(Error::NotLoggedIn)?;
        let age = self.sessions().inner.clock.now().since(authenticated);
        if age <= most { Ok(subject) } else { Err(Error::StepUp) }
    }

    /// Ends the session in the store and in the browser. It is gone for every server when this returns, and no slower
    /// request brings it back. Changes buffered by this request are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Superseded`] if a parallel login gave the session a new id: the cookie of that is not taken away while it
    /// lives, and the request can be made again with it. [`Error::Committed`] if the response head has left; errors of
    /// the store: then the session may go on.
    pub async fn logout(&self) -> Result<(), Error> {
        let this = self.clone();
        // Once begun it is done, though its client goes away: half of it would leave what is over and not gone.
        uncancelled(async move { this.log_out().await }).await
    }

    async fn log_out(&self) -> Result<(), Error> {
        let _turn = self.turn().await;
        self.state().check_head()?;
        let unreadable = self.load_if_readable().await;
        if self.sessions().store_is_out() {
            self.cast_off();
        }
        if let Some(lifeboat) = &self.sessions().inner.lifeboat
            && (self.state().is_adrift() || unreadable.as_ref().is_err_and(is_outage))
        {
            return Box::pin(self.log_out_adrift(lifeboat)).await;
        }
        let unreadable = unreadable?;
        let current = self.current();
        let is_over = match &current {
            Some(current) => self.close_for_good(Arc::clone(current)).await?,
            None => false,
        };
        for key in current.iter().map(|current| current.key).chain(unreadable) {
            match (self.sessions().remove(key).await, &self.sessions().inner.lifeboat) {
                // It can be done twice, so it doesn't matter whether it was.
                (Err(error), Some(lifeboat)) if is_outage(&error) => {
                    return Box::pin(self.log_out_adrift(lifeboat)).await;
                }
                (Err(error), _) if is_over => error.log(),
                (removed, _) => removed?,
            }
            self.emit(EventKind::Ended(EndReason::Logout), current.as_deref());
        }
        self.forget();
        if current.is_some_and(|current| current.header.subject.is_none()) {
            // A parallel login may have set it since.
            self.state().answer.session = None;
        }
        Ok(())
    }

    /// Swaps the session to one that is over, so that from here on no parallel login takes its place; says whether it is.
    async fn close_for_good(&self, mut session: Arc<Current>) -> Result<bool, Error> {
        let mut attempts = Attempts::begin();
        loop {
            if session.header.state == RecordState::Remainder {
                return Err(Error::Superseded);
            }
            let header = self.closed(&session.header);
            match self.sessions().replace(Arc::new(session.with(header)), session.header.version()).await {
                Ok(Written::Done(_)) | Err(Error::Ended) => return Ok(true),
                Ok(Written::Conflict(newer)) => session = newer,
                // Where there is no room to write there still is to remove.
                Err(error) => {
                    error.log();
                    return Ok(false);
                }
            }
            attempts.next(self.sessions()).await?;
        }
    }

    /// The header of a session that is over from now on. Should its removal never come, what is left stays for as long as a lifeboat
    /// could put the session back, and is answered to nobody.
    fn closed(&self, header: &Header) -> Header {
        let (inner, mut closed) = (&self.sessions().inner, header.next(self.sessions().write_tag()));
        let now = inner.clock.now();
        let kept = if inner.lifeboat.is_some() { self.remainder_kept(header, now) } else { now };
        (closed.state, closed.renewed) = (RecordState::Remainder, Timestamp::default());
        closed.absolute = header.absolute.min(kept);
        closed.expires = closed.absolute;
        closed
    }

    /// Has nothing of the session left in this request, and in the browser when its answer arrives.
    pub(crate) fn forget(&self) {
        let mut state = self.state();
        state.current = None;
        state.end_lookup();
        state.changes.clear();
        *state.answer = Contents {
            session: Some(CookieChange::Delete),
            anonymous: Some(CookieChange::Delete),
            spare: self.may_have_spare().then_some(CookieChange::Delete),
            version: self.presents_version().then_some(CookieChange::Delete),
            lifeboat: self.presents_lifeboat().then_some(CookieChange::Delete),
            logged_out: true,
        };
    }

    async fn log_in(&self, login: Login) -> Result<(), Error> {
        let _turn = self.turn().await;
        self.state().check_head()?;
        self.load_if_readable().await?;
        let Login { subject, is_remembered } = login;
        let is_remembered = is_remembered && self.sessions().inner.policy.remember.is_some();
        let heir = Heir { subject, device: Device::of(&self.client()), is_remembered, keeps_all: false };
        self.succeed(heir, EventKind::LoggedIn).await
    }

    async fn log_in_again(&self) -> Result<(), Error> {
        let _turn = self.turn().await;
        self.state().check_head()?;
        self.load().await?;
        let heir = self.current().as_deref().and_then(|current| self.heir_to_all(current));
        self.succeed(heir.ok_or(Error::NotLoggedIn)?, EventKind::Elevated).await
    }

    fn heir_to_all(&self, current: &Current) -> Option<Heir> {
        let device = Device::decode(current.data.device()?).seen(&self.client());
        let is_remembered = current.header.is_remembered;
        Some(Heir { subject: current.data.subject()?, device, is_remembered, keeps_all: true })
    }

    /// Looks the session up. Where its record can't be read, gives the keys that it may be under instead: who can't get
    /// on with a session must still be able to end it and to begin anew.
    async fn load_if_readable(&self) -> Result<Vec<StorageKey>, Error> {
        match self.load().await {
            Err(Error::Store(error)) if error.kind() == StoreErrorKind::Unreadable => {
                Ok(self.presented_keys().collect())
            }
            Err(Error::Keyring(_)) => Ok(self.presented_keys().collect()),
            outcome => outcome.map(|()| Vec::new()),
        }
    }
}

/// Runs `work` to its end, even if the caller is dropped: between the steps of a login, a cancelled request would leave
/// neither the old session nor the new.
pub(crate) async fn uncancelled<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(outcome) => outcome,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}
