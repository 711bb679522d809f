//! A subject's sessions as a page of devices shows them: listed, ended one by one, or all at once.
//!
//! No session's id or storage key leaves the library: a handle names a session to its own subject, and opens nothing.

use std::net::IpAddr;

use stayput_core::{
    Operation, SessionHandle, State as RecordState, StorageKey, StoreErrorKind, Subject, Timestamp,
};

use crate::data::Data;
use crate::device::Device;
use crate::events::{EndReason, EventKind};
use crate::{Error, Session, Sessions};

/// One of a subject's sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Names the session to [`Session::end`]; may stand in a page.
    pub handle: SessionHandle,
    /// Whether it is the one that asks.
    pub is_this: bool,
    /// Whether its user asked to be remembered.
    pub is_remembered: bool,
    /// The browser it is used with (`User-Agent`, at most 256 bytes of it); empty if unknown.
    pub agent: String,
    /// The address it was last used from, where known; see [`Builder::peer_address`](crate::Builder::peer_address).
    pub address: Option<IpAddr>,
    /// When it began.
    pub created: Timestamp,
    /// When its subject proved who they are.
    pub authenticated: Option<Timestamp>,
    /// When it was last used, to within [`Policy::touch_interval`](crate::Policy::touch_interval). Within one idle timeout
    /// of the absolute deadline it can't be told any more, and this stays one idle timeout before that.
    pub last_seen: Timestamp,
    /// When it ends unless it is used.
    pub expires: Timestamp,
}

impl SessionInfo {
    /// What can be said of a session whose record can't be read.
    fn unknown(key: StorageKey) -> Self {
        Self {
            handle: key.handle(),
            is_this: false,
            is_remembered: false,
            agent: String::new(),
            address: None,
            created: Timestamp::default(),
            authenticated: None,
            last_seen: Timestamp::default(),
            expires: Timestamp::default(),
        }
    }
}

impl Session {
    /// The sessions of the subject that this one is logged in as, the one last used first (OWASP ASVS 5.0, 7.5.2).
    ///
    /// # Errors
    ///
    /// [`Error::NotLoggedIn`]; errors of the store.
    pub async fn list(&self) -> Result<Vec<SessionInfo>, Error> {
        let (subject, this) = self.owner().await?;
        let found = self.sessions().of_subject(&subject).await?;
        Ok(found.into_iter().map(|(key, info)| SessionInfo { is_this: key == this, ..info }).collect())
    }

    /// Ends one of the subject's sessions, this one too; says whether there was one of that handle.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoggedIn`]; [`Error::Superseded`] if a parallel login was first; [`Error::Committed`] if it is this one
    /// and the response head has left; errors of the store.
    pub async fn end(&self, handle: &SessionHandle) -> Result<bool, Error> {
        let (subject, this) = self.live_owner().await?;
        if this.handle() == *handle {
            return self.logout().await.map(|()| true);
        }
        self.sessions().end(&subject, handle).await
    }

    /// Ends all of the subject's sessions but this one, and says how many: what to offer after a password was changed
    /// (OWASP ASVS 5.0, 7.4.3). A call of [`Session::login`] under way elsewhere does not go through.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoggedIn`]; [`Error::Superseded`] if a parallel login was first; errors of the store: then some of them
    /// may go on.
    pub async fn end_others(&self) -> Result<usize, Error> {
        let (subject, this) = self.live_owner().await?;
        self.sessions().end_but(&subject, Some(this)).await?.ok_or(Error::Superseded)
    }

    /// Ends all of the subject's sessions with this one, and says how many.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoggedIn`]; [`Error::Superseded`] if a parallel login was first; [`Error::Committed`] if the response
    /// head has left; errors of the store: then some of them may go on.
    pub async fn end_all(&self) -> Result<usize, Error> {
        let _turn = self.turn().await;
        self.state().check_head()?;
        let (subject, this) = self.live_owner().await?;
        let ended = self.sessions().end_all(&subject).await?;
        self.sessions().inner.endings.tell(this);
        self.forget();
        Ok(ended)
    }

    /// The same, if the session lives at this moment, whatever it did when the request began: who has an old id, perhaps
    /// stolen, or was ended meanwhile ends nothing with it.
    async fn live_owner(&self) -> Result<(Subject, StorageKey), Error> {
        let owner = self.owner().await?;
        let record = self.sessions().call(Operation::Load, |store| store.load(owner.1)).await?;
        match record.ok_or(Error::Ended)?.header.state {
            RecordState::Live => Ok(owner),
            RecordState::Remainder => Err(Error::Superseded),
        }
    }

    /// Who the session is logged in as, and its key.
    async fn owner(&self) -> Result<(Subject, StorageKey), Error> {
        self.load().await?;
        let current = self.current().ok_or(Error::NotLoggedIn)?;
        Ok((current.data.subject().ok_or(Error::NotLoggedIn)?, current.key))
    }
}

impl Sessions {
    /// A subject's sessions, the one last used first: for administration. None of them [`is_this`](SessionInfo::is_this).
    ///
    /// # Errors
    ///
    /// Errors of the store.
    pub async fn list(&self, subject: &Subject) -> Result<Vec<SessionInfo>, Error> {
        Ok(self.of_subject(subject).await?.into_iter().map(|(_, info)| info).collect())
    }

    /// Ends one of a subject's sessions; says whether there was one of that handle.
    ///
    /// # Errors
    ///
    /// Errors of the store.
    pub async fn end(&self, subject: &Subject, handle: &SessionHandle) -> Result<bool, Error> {
        let found = self.of_subject(subject).await?;
        let Some((key, _)) = found.into_iter().find(|(_, info)| info.handle == *handle) else {
            return Ok(false);
        };
        self.remove(key).await?;
        self.emit(EventKind::Ended(EndReason::EndedElsewhere), Some(key), Some(subject), None);
        Ok(true)
    }

    /// Ends all of a subject's sessions on every server, and says how many: for when a user is disabled (OWASP ASVS 5.0,
    /// 7.4.2). A call of [`Session::login`] under way does not go through; one that begins later does, even if the password
    /// was checked before: so disable the user, or change the password, first.
    ///
    /// # Errors
    ///
    /// Errors of the store: then some of them may go on.
    pub async fn end_all(&self, subject: &Subject) -> Result<usize, Error> {
        // Nobody is to be spared, so there is nobody who could be gone.
        self.end_but(subject, None).await.map(Option::unwrap_or_default)
    }

    async fn end_but(&self, subject: &Subject, except: Option<StorageKey>) -> Result<Option<usize>, Error> {
        let keys = self.keys_of(subject).await?;
        let end = self.twice(Operation::EndSubject, |store| store.end_subject(subject.key(), except));
        let (ended, _) = end.await?;
        let Some(ended) = ended else { return Ok(None) };
        // Those that began in between are found by asking the store.
        for key in keys.into_iter().filter(|key| Some(*key) != except) {
            self.inner.endings.tell(key);
        }
        self.emit(EventKind::AllEnded(ended), None, Some(subject), None);
        Ok(Some(ended))
    }

    async fn of_subject(&self, subject: &Subject) -> Result<Vec<(StorageKey, SessionInfo)>, Error> {
        let mut found = Vec::new();
        for key in self.keys_of(subject).await? {
            let record = match self.call(Operation::Load, |store| store.load(key)).await {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                // A session that can't be read can still be seen and ended.
                Err(Error::Store(error)) if error.kind() == StoreErrorKind::Unreadable => {
                    found.push((key, SessionInfo::unknown(key)));
                    continue;
                }
                Err(error) => return Err(error),
            };
            if record.header.state == RecordState::Remainder {
                continue;
            }
            let data =
                record.open(&key, &self.inner.keyring.load()).ok().and_then(|bytes| Data::decode(bytes).ok());
            let device = data.as_ref().and_then(Data::device).map(Device::decode).unwrap_or_default();
            let header = &record.header;
            let info = SessionInfo {
                handle: key.handle(),
                is_this: false,
                is_remembered: header.is_remembered,
                agent: device.agent,
                address: device.addresses.first().copied(),
                created: header.created,
                authenticated: header.authenticated,
                last_seen: self.inner.policy.last_active(header),
                expires: header.expires,
            };
            found.push((key, info));
        }
        found.sort_by_key(|(_, info)| std::cmp::Reverse(info.last_seen));
        Ok(found)
    }

    async fn keys_of(&self, subject: &Subject) -> Result<Vec<StorageKey>, Error> {
        self.call(Operation::SubjectSessions, |store| store.subject_sessions(subject.key())).await
    }
}
