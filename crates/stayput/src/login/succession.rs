//! How a session takes the place of another: the new one is made with a short life, admitted among its subject's, the old
//! one closed, the new one extended; and only then does anybody know its id.
//!
//! Whatever fails on the way leaves a session that works, and never two.

use std::sync::Arc;
use std::time::Duration;

use stayput_core::{
    Admission, Admitted, Epoch, Header, OnWiped, Operation, Overflow, SessionId, State as RecordState,
    StorageKey, Subject, SubjectKey, Timestamp, WriteTag,
};

use crate::Error;
use crate::answer::CookieChange;
use crate::commit::{Attempts, Written};
use crate::data::{Changes, Data};
use crate::device::Device;
use crate::events::{EndReason, EventKind};
use crate::outage::is_outage;
use crate::session::{CookieState, Current, Session, Source};

/// Who the new session is for, and what of the old one it keeps: everything, or what the policy declares.
pub(crate) struct Heir {
    pub(crate) subject: Subject,
    pub(crate) device: Device,
    pub(crate) is_remembered: bool,
    pub(crate) keeps_all: bool,
}

impl Session {
    /// Puts a new session in the place of the one there is, if any.
    pub(super) async fn succeed(&self, heir: Heir, kind: EventKind) -> Result<(), Error> {
        self.look_again_if_over().await?;
        let (old, changes) = (self.current(), self.state().changes.clone());
        let first = self.begin(&heir, old.as_deref(), &changes)?;
        let mut made = first.key;
        // Before anything else: whatever ends all of the subject's sessions from here on is meant for this one, too.
        let epoch = match (self.epoch(heir.subject.key()).await, &self.sessions().inner.lifeboat) {
            (Err(error), Some(lifeboat)) if is_outage(&error) && !heir.keeps_all => {
                Box::pin(self.begin_adrift(lifeboat, first, old)).await?;
                self.state().changes.settle(&changes);
                return Ok(());
            }
            (epoch, _) => epoch?,
        };
        self.sessions().create(&first).await?;
        match self.take_place(first, &mut made, &heir, epoch, old, &changes).await {
            Ok(session) => {
                self.emit(kind, Some(&session));
                self.hand_over(session, &changes);
                Ok(())
            }
            Err(error) => {
                // Nobody knows its id, but it would count for its subject until it expires.
                if let Err(error) = self.sessions().remove(made).await {
                    error.log();
                }
                Err(error)
            }
        }
    }

    /// A copy in which the old session is closed says nothing if the store has failed over since: there it may be alive again, and
    /// would stay so.
    async fn look_again_if_over(&self) -> Result<(), Error> {
        let is_over_in_copy = {
            let state = self.state();
            let is_over = |current: &Arc<Current>| current.header.state == RecordState::Remainder;
            state.source == Source::Copy && state.current.as_ref().is_some_and(is_over)
        };
        if !is_over_in_copy {
            return Ok(());
        }
        match self.fresh().await {
            Err(error) if !matches!(error, Error::Ended) && !is_outage(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Who logs in is counted first, so that a login that is rejected leaves the visitor as they were. An heir to everything
    /// closes the old session first: of several only one can, and only that one may cost anybody anything.
    async fn take_place(
        &self,
        mut first: Current,
        made: &mut StorageKey,
        heir: &Heir,
        mut epoch: Epoch,
        mut old: Option<Arc<Current>>,
        changes: &Changes,
    ) -> Result<Arc<Current>, Error> {
        if heir.keeps_all {
            self.close(&mut old, heir).await?;
            let mut attempts = Attempts::begin();
            while let Err(error) = self.admit(&first, heir, epoch, old.as_deref()).await {
                match error {
                    // All but one were ended. If the session that was closed for this one was spared, so is this one.
                    Error::Ended => {
                        epoch = self.epoch(heir.subject.key()).await?;
                        self.check_alive(old.as_deref()).await?;
                        first = self.begin(heir, old.as_deref(), changes)?;
                        *made = first.key;
                        self.sessions().create(&first).await?;
                    }
                    // The old session is closed: giving up would log the user out.
                    error if may_pass(&error) => error.log(),
                    error => return Err(error),
                }
                attempts.next(self.sessions()).await?;
            }
        } else {
            self.admit(&first, heir, epoch, old.as_deref()).await?;
            self.close(&mut old, heir).await?;
        }
        // What a parallel request wrote to the old session just before it was closed comes along.
        self.extend(&first, heir, old.as_deref(), changes).await
    }

    pub(crate) async fn epoch(&self, subject: SubjectKey) -> Result<Epoch, Error> {
        self.sessions().call(Operation::SubjectEpoch, |store| store.subject_epoch(subject)).await
    }

    /// Counts the session in among its subject's.
    pub(crate) async fn admit(
        &self,
        first: &Current,
        heir: &Heir,
        epoch: Epoch,
        old: Option<&Current>,
    ) -> Result<(), Error> {
        let (inner, subject) = (&self.sessions().inner, heir.subject.key());
        // An heir to everything has closed the session whose place it takes, and isn't turned away for want of one.
        let limit = inner
            .policy
            .session_limit
            .filter(|limit| !heir.keeps_all || limit.overflow == Overflow::EndOldest);
        let replaces = old.filter(|old| old.header.subject == Some(subject)).map(|old| old.key);
        let admission = Admission { epoch, limit, replaces };
        let admit =
            self.sessions().twice(Operation::Admit, |store| store.admit(subject, first.key, admission));
        match admit.await?.0 {
            Admitted::Admitted { ended } => {
                self.tell_of(&ended, &heir.subject);
                Ok(())
            }
            Admitted::Rejected => {
                self.emit(EventKind::LimitReached, Some(first));
                Err(Error::LimitReached)
            }
            Admitted::Revoked | Admitted::Missing => Err(Error::Ended),
        }
    }

    async fn check_alive(&self, session: Option<&Current>) -> Result<(), Error> {
        let key = session.ok_or(Error::Ended)?.key;
        let record = self.sessions().call(Operation::Load, |store| store.load(key)).await?;
        record.map(|_| ()).ok_or(Error::Ended)
    }

    fn tell_of(&self, ended: &[StorageKey], subject: &Subject) {
        for key in ended {
            self.sessions().inner.endings.tell(*key);
            let (kind, address) = (EventKind::Ended(EndReason::Limit), self.client().address());
            self.sessions().emit(kind, Some(*key), Some(subject), address);
        }
    }

    /// Closes the old session, if there is one, which then is as it was when it was closed.
    async fn close(&self, old: &mut Option<Arc<Current>>, heir: &Heir) -> Result<(), Error> {
        let (mut attempts, mut tag) = (Attempts::begin(), self.sessions().write_tag());
        while let Some(session) = old.as_deref() {
            // While the session is the same so is the tag: an earlier try that went through is known by it.
            match self.leave_remainder(session, heir, tag).await {
                Ok(Some(newer)) => (*old, tag) = (Some(newer), self.sessions().write_tag()),
                Ok(None) => break,
                // It hands nothing on.
                Err(Error::Ended) if !heir.keeps_all => *old = None,
                // The limit may have ended another session for this one already.
                Err(error) if may_pass(&error) => error.log(),
                Err(error) => return Err(error),
            }
            attempts.next(self.sessions()).await?;
        }
        Ok(())
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
    async fn leave_remainder(
        &self,
        old: &Current,
        heir: &Heir,
        tag: WriteTag,
    ) -> Result<Option<Arc<Current>>, Error> {
        if old.header.state == RecordState::Remainder {
            return if heir.keeps_all { Err(Error::Superseded) } else { Ok(None) };
        }
        let inner = &self.sessions().inner;
        let mut header = old.header.next(tag);
        let now = inner.clock.now();
        (header.state, header.renewed) = (RecordState::Remainder, now);
        // The absolute deadline too: a request that found the session live may yet touch it.
        header.absolute = header.absolute.min(self.remainder_kept(&old.header, now));
        header.expires = header.expires.min(header.absolute);
        match self.sessions().replace(Arc::new(old.with(header)), old.header.version()).await {
            Ok(Written::Conflict(newer)) => Ok(Some(newer)),
            Ok(Written::Done(_)) => {
                inner.endings.tell(old.key);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Until when a session that is closed now stays in the store. Read it is for the grace only; but where lifeboats of it could
    /// put it back if it were gone, it is not to be gone before they are worth nothing.
    pub(super) fn remainder_kept(&self, header: &Header, now: Timestamp) -> Timestamp {
        let (inner, policy) = (&self.sessions().inner, &self.sessions().inner.policy);
        let until = now.after(policy.grace);
        match policy.on_wiped {
            _ if inner.lifeboat.is_none() => until,
            // It may have been born in an outage.
            OnWiped::LogOut => until.max(header.created.after(policy.max_age)),
            OnWiped::Restore => until.max(now.after(policy.max_age)),
        }
    }

    async fn extend(
        &self,
        first: &Current,
        heir: &Heir,
        old: Option<&Current>,
        changes: &Changes,
    ) -> Result<Arc<Current>, Error> {
        let policy = &self.sessions().inner.policy;
        let mut attempts = Attempts::begin();
        loop {
            let mut header = first.header.next(self.sessions().write_tag());
            header.expires = policy.expiry(&header, header.created);
            let data = self.carried(heir, old, changes)?;
            let next = Current { data, ..first.with(header) };
            match self.sessions().replace(Arc::new(next), first.header.version()).await {
                // A conflict can only be with an earlier try: nobody else knows its id yet.
                Ok(Written::Done(session) | Written::Conflict(session)) => return Ok(session),
                // The old session is closed: giving up would log the user out.
                Err(error) if may_pass(&error) => error.log(),
                Err(error) => return Err(error),
            }
            attempts.next(self.sessions()).await?;
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
        let (cookie, spare) = (self.newest_cookie(&session), self.spare_for(&session));
        let mut state = self.state();
        state.answer.session = Some(cookie);
        state.answer.anonymous = Some(CookieChange::Delete);
        state.answer.spare = spare;
        state.cookie = CookieState::default();
        (state.active, state.confirmed) = (session.header.created, session.header.created);
        // Whatever its cookies say, and whoever still looks it up: from now on this is the request's session.
        state.end_lookup();
        drop(state);
        self.settle(Some(session), changes);
    }
}

fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Store(error) if error.is_retryable())
}

/// How long the record of a login that was never finished stays; nobody knows its id. Longer than a login's store calls
/// take together.
const UNFINISHED: Duration = Duration::from_mins(2);
