//! Login, elevation and logout: a session's id changes with who it belongs to and what they may do.
//!
//! Whoever planted or stole the id from before a login gains nothing by it: the logged-in session has a new one, and
//! what is left under the old one can be read for the grace and then is gone.

use std::sync::Arc;
use std::time::Duration;

use stayput_core::{Header, Operation, SessionId, State as RecordState, StorageKey, StoreErrorKind, Subject};

use crate::Error;
use crate::answer::{Answer, CookieChange};
use crate::commit::{Attempts, Written};
use crate::data::{Changes, Data};
use crate::session::{CookieState, Current, Session};

impl Session {
    /// Logs the session in as `subject`, under a new id.
    ///
    /// Of an anonymous session, and of one of the same subject, the values under the policy's `carry` keys come along;
    /// changes buffered by this request do in any case. The old session can be read for the policy's grace, so that
    /// parallel requests still find it, and not written.
    ///
    /// Done when this returns, even if the request is cancelled meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Committed`] if the response head has left; [`Error::TooLarge`]; errors of the store. The old session
    /// is then as it was, or a remainder of it.
    pub async fn login(&self, subject: Subject) -> Result<(), Error> {
        let this = self.clone();
        uncancelled(async move { this.log_in(subject).await }).await
    }

    /// Gives the logged-in session a new id with all of its values, after its subject proved again who they are (a
    /// password, a second factor), or before their privileges change. [`Session::authenticated_at`] is now.
    ///
    /// Otherwise on the terms of [`Session::login`].
    ///
    /// # Errors
    ///
    /// [`Error::NotLoggedIn`] if it is anonymous; [`Error::Superseded`] if a parallel login was first; [`Error::Ended`] if
    /// a parallel logout was;
    /// [`Error::Committed`] if the response head has left; errors of the store.
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
        let authenticated = self.authenticated_at().await?.ok_or(Error::NotLoggedIn)?;
        let age = self.sessions().inner.clock.now().since(authenticated);
        if age <= most { Ok(subject) } else { Err(Error::StepUp) }
    }

    /// Ends the session in the store and in the browser. It is gone for every server when this returns, and no slower
    /// request brings it back. Changes buffered by this request are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Committed`] if the response head has left; errors of the store: then the session may go on.
    pub async fn logout(&self) -> Result<(), Error> {
        let _turn = self.turn().await;
        self.state().check_head()?;
        let unreadable = self.load_if_readable().await?;
        let current = self.current().map(|current| current.key);
        for key in current.into_iter().chain(unreadable) {
            self.sessions().call(Operation::Remove, self.sessions().inner.store.remove(key)).await?;
            tracing::info!("session ended by logout");
        }
        let mut state = self.state();
        state.current = None;
        state.changes.clear();
        state.answer = Answer {
            session: Some(CookieChange::Delete),
            anonymous: Some(CookieChange::Delete),
            logged_out: true,
        };
        Ok(())
    }

    async fn log_in(&self, subject: Subject) -> Result<(), Error> {
        let _turn = self.turn().await;
        self.state().check_head()?;
        self.load_if_readable().await?;
        self.succeed(Heir { subject, keeps_all: false }).await?;
        tracing::info!("session logged in");
        Ok(())
    }

    async fn log_in_again(&self) -> Result<(), Error> {
        let _turn = self.turn().await;
        self.state().check_head()?;
        self.load().await?;
        let current = self.current().ok_or(Error::NotLoggedIn)?;
        let subject = current.data.subject().ok_or(Error::NotLoggedIn)?;
        self.succeed(Heir { subject, keeps_all: true }).await?;
        tracing::info!("session elevated");
        Ok(())
    }

    /// Puts a new session in the place of the one there is, if any.
    async fn succeed(&self, heir: Heir) -> Result<(), Error> {
        let mut old = self.current();
        let changes = self.state().changes.clone();

        let first = self.begin(&heir, old.as_deref(), &changes)?;
        self.sessions().create(&first).await?;
        let mut attempts = Attempts::begin();
        while let Some(session) = &old {
            match self.leave_remainder(session, &heir).await? {
                Some(newer) => old = Some(newer),
                None => break,
            }
            attempts.next(self.sessions()).await?;
        }
        // What a parallel request wrote to the old session just before it was closed comes along.
        let session = self.extend(first, &heir, old.as_deref(), &changes).await?;
        self.hand_over(session, &changes);
        Ok(())
    }

    /// Looks the session up. Where its record can't be read, gives the keys that it may be under instead: who can't get
    /// on with a session must still be able to end it and to begin anew.
    async fn load_if_readable(&self) -> Result<Vec<StorageKey>, Error> {
        match self.load().await {
            Err(Error::Store(error)) if error.kind() == StoreErrorKind::Unreadable => {
                Ok(self.presented_keys().collect())
            }
            outcome => outcome.map(|()| Vec::new()),
        }
    }

    /// The new session, which ends by itself unless it is extended.
    fn begin(&self, heir: &Heir, old: Option<&Current>, changes: &Changes) -> Result<Current, Error> {
        let inner = &self.sessions().inner;
        let data = self.carried(heir, old, changes)?;
        let (id, now) = (SessionId::generate(&*inner.random), inner.clock.now());
        let absolute = now.after(inner.policy.absolute_timeout);
        let mut header = Header::new(now, absolute, now.after(UNFINISHED), self.sessions().write_tag());
        header.subject = Some(heir.subject.key());
        header.authenticated = Some(now);
        Ok(Current { key: id.storage_key(), id, header, data })
    }

    /// Closes the old session. Gives it back as it is by now if another write came first; `None` when it is closed.
    ///
    /// An heir to everything needs a live session to succeed: who has an id that a login left behind, or whose session
    /// was ended meanwhile, must not get at a live one by it.
    async fn leave_remainder(&self, old: &Current, heir: &Heir) -> Result<Option<Arc<Current>>, Error> {
        if old.header.state == RecordState::Remainder {
            return if heir.keeps_all { Err(Error::Superseded) } else { Ok(None) };
        }
        let inner = &self.sessions().inner;
        let mut header = old.header.next(self.sessions().write_tag());
        header.state = RecordState::Remainder;
        // The absolute deadline too: a request that found the session live may yet touch it.
        header.absolute = header.absolute.min(inner.clock.now().after(inner.policy.grace));
        header.expires = header.expires.min(header.absolute);
        match self.sessions().replace(old.with(header), old.header.version()).await {
            Ok(Written::Conflict(newer)) => Ok(Some(newer)),
            Ok(Written::Done(_)) => Ok(None),
            // For a login so much the better.
            Err(Error::Ended) if !heir.keeps_all => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn extend(
        &self,
        first: Current,
        heir: &Heir,
        old: Option<&Current>,
        changes: &Changes,
    ) -> Result<Arc<Current>, Error> {
        let policy = &self.sessions().inner.policy;
        let mut header = first.header.next(self.sessions().write_tag());
        header.expires = policy.expiry(&header, header.created);
        let data = self.carried(heir, old, changes)?;
        let expected = first.header.version();
        match self.sessions().replace(Current { header, data, ..first }, expected).await? {
            Written::Done(session) => Ok(session),
            // Nobody else knows its id yet.
            Written::Conflict(_) => Err(Error::Conflict),
        }
    }

    /// What the new session begins with.
    fn carried(&self, heir: &Heir, old: Option<&Current>, changes: &Changes) -> Result<Data, Error> {
        let mut data = Data::new(Some(&heir.subject));
        if let Some(old) = old
            && old.data.subject().is_none_or(|owner| owner == heir.subject)
        {
            let carry = &self.sessions().inner.policy.carry;
            let is_carried = |key: &[u8]| heir.keeps_all || carry.iter().any(|carry| carry.as_bytes() == key);
            for (key, value) in old.data.iter().filter(|(key, _)| is_carried(key)) {
                data.set(key, value);
            }
        }
        data.apply(changes);
        self.check_size(&data)?;
        Ok(data)
    }

    fn hand_over(&self, session: Arc<Current>, changes: &Changes) {
        let cookie = self.newest_cookie(&session);
        let mut state = self.state();
        state.answer.session = Some(cookie);
        state.answer.anonymous = Some(CookieChange::Delete);
        state.cookie = CookieState::default();
        drop(state);
        self.settle(Some(session), changes);
    }
}

/// Who the new session is for, and what of the old one it keeps: everything, or what the policy declares.
struct Heir {
    subject: Subject,
    keeps_all: bool,
}

/// Runs `work` to its end, even if the caller is dropped: between the steps of a login, a cancelled request would leave
/// neither the old session nor the new.
async fn uncancelled<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(outcome) => outcome,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// How long the record of a login that was never finished stays; nobody knows its id. Longer than a login's store calls
/// take together.
const UNFINISHED: Duration = Duration::from_mins(2);
