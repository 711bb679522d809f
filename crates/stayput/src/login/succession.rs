//! How a session takes the place of another: the new one is made with a short life, admitted among its subject's, the old
//! one closed, the new one extended; and only then does anybody know its id.
//!
//! Whatever fails on the way leaves a session that works, and never two.

use std::sync::Arc;
use std::time::Duration;

use stayput_core::{
    Admission, Admitted, Epoch, Header, Operation, SessionId, State as RecordState, StorageKey, Subject,
    SubjectKey,
};

use crate::Error;
use crate::answer::CookieChange;
use crate::commit::{Attempts, Written};
use crate::data::{Changes, Data};
use crate::device::Device;
use crate::events::{EndReason, EventKind};
use crate::session::{CookieState, Current, Session};

/// Who the new session is for, and what of the old one it keeps: everything, or what the policy declares.
pub(super) struct Heir {
    pub(super) subject: Subject,
    pub(super) device: Device,
    pub(super) is_remembered: bool,
    pub(super) keeps_all: bool,
}

impl Session {
    /// Puts a new session in the place of the one there is, if any.
    pub(super) async fn succeed(&self, heir: Heir, kind: EventKind) -> Result<(), Error> {
        let (old, changes) = (self.current(), self.state().changes.clone());
        let first = self.begin(&heir, old.as_deref(), &changes)?;
        let (key, subject) = (first.key, heir.subject.key());
        // Before anything else: whatever ends all of the subject's sessions from here on is meant for this one, too.
        let epoch = self.epoch(subject).await?;
        self.sessions().create(&first).await?;
        let replaced = async {
            self.admit(&first, &heir, epoch, old.as_deref()).await?;
            self.replace(first, &heir, old, &changes).await
        };
        match replaced.await {
            Ok(session) => {
                self.emit(kind, Some(&session));
                self.hand_over(session, &changes);
                Ok(())
            }
            Err(error) => {
                // Nobody knows its id, but it would count for its subject until it expires.
                if let Err(error) = self.sessions().remove(key).await {
                    error.log();
                }
                Err(error)
            }
        }
    }

    async fn epoch(&self, subject: SubjectKey) -> Result<Epoch, Error> {
        self.sessions()
            .call(Operation::SubjectEpoch, self.sessions().inner.store.subject_epoch(subject))
            .await
    }

    /// Counts the session in among its subject's.
    async fn admit(
        &self,
        first: &Current,
        heir: &Heir,
        mut epoch: Epoch,
        old: Option<&Current>,
    ) -> Result<(), Error> {
        let (inner, subject) = (&self.sessions().inner, heir.subject.key());
        let limit = inner.policy.session_limit;
        let replaces = old.filter(|old| old.header.subject == Some(subject)).map(|old| old.key);
        let mut attempts = Attempts::begin();
        loop {
            let admit = || inner.store.admit(subject, first.key, Admission { epoch, limit, replaces });
            match self.sessions().twice(Operation::Admit, admit).await?.0 {
                Admitted::Admitted { ended } => {
                    self.tell_of(&ended, &heir.subject);
                    return Ok(());
                }
                Admitted::Rejected => {
                    self.emit(EventKind::LimitReached, Some(first));
                    return Err(Error::LimitReached);
                }
                // All but one were ended, and an heir to everything may come from that one.
                Admitted::Revoked if heir.keeps_all => {
                    epoch = self.epoch(subject).await?;
                    self.check_alive(replaces).await?;
                    attempts.next(self.sessions()).await?;
                }
                Admitted::Revoked | Admitted::Missing => return Err(Error::Ended),
            }
        }
    }

    async fn check_alive(&self, key: Option<StorageKey>) -> Result<(), Error> {
        let key = key.ok_or(Error::Ended)?;
        let record = self.sessions().call(Operation::Load, self.sessions().inner.store.load(key)).await?;
        record.map(|_| ()).ok_or(Error::Ended)
    }

    fn tell_of(&self, ended: &[StorageKey], subject: &Subject) {
        for key in ended {
            self.sessions().inner.endings.tell(*key);
            let (kind, address) = (EventKind::Ended(EndReason::Limit), self.client().address());
            self.sessions().emit(kind, Some(*key), Some(subject), address);
        }
    }

    /// Closes the old session and extends the new one.
    async fn replace(
        &self,
        first: Current,
        heir: &Heir,
        mut old: Option<Arc<Current>>,
        changes: &Changes,
    ) -> Result<Arc<Current>, Error> {
        let mut attempts = Attempts::begin();
        while let Some(session) = &old {
            match self.leave_remainder(session, heir).await? {
                Some(newer) => old = Some(newer),
                None => break,
            }
            attempts.next(self.sessions()).await?;
        }
        // What a parallel request wrote to the old session just before it was closed comes along.
        self.extend(first, heir, old.as_deref(), changes).await
    }

    /// The new session, which ends by itself unless it is extended.
    fn begin(&self, heir: &Heir, old: Option<&Current>, changes: &Changes) -> Result<Current, Error> {
        let inner = &self.sessions().inner;
        let data = self.carried(heir, old, changes)?;
        let (id, now) = (SessionId::generate(&*inner.random), inner.clock.now());
        let absolute = inner.policy.absolute(now, heir.is_remembered);
        let mut header = Header::new(now, absolute, now.after(UNFINISHED), self.sessions().write_tag());
        header.subject = Some(heir.subject.key());
        header.authenticated = Some(now);
        header.is_remembered = heir.is_remembered;
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
            Ok(Written::Done(_)) => {
                inner.endings.tell(old.key);
                Ok(None)
            }
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
        let mut data = Data::owned(&heir.subject, &heir.device);
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
        state.active = session.header.created;
        drop(state);
        self.settle(Some(session), changes);
    }
}

/// How long the record of a login that was never finished stays; nobody knows its id. Longer than a login's store calls
/// take together.
const UNFINISHED: Duration = Duration::from_mins(2);
