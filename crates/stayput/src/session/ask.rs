//! Asking for the session of a cookie: the near cache, and the store behind it or alone.
//!
//! Most are there at once, in a copy or in a store in this process, and no handler carries the room that it would take to wait
//! for the others. Nothing here decides whether a session fits its cookie.

use std::sync::Arc;

use stayput_core::{Keyring, Operation, Record, State as RecordState, StorageKey, Timestamp};

use super::find::Claim;
use super::{Found, Session, Source};
use crate::Error;
use crate::call::StoreCall;
use crate::events::Refusal;
use crate::lifeboat::Lifeboat;
use crate::meter;
use crate::near::{Copy, Known, Near};

/// How far the search for a request's session is.
pub(super) enum Search<'a> {
    Over(Option<Found>),
    /// It has to be waited for: first for this, if anybody was asked yet.
    Waits(Option<Asked<'a>>),
}

/// A claim, and what is known of its session.
pub(super) struct Asked<'a> {
    pub(super) claim: Claim,
    /// `None` where lifeboats are looked into first.
    pub(super) answer: Option<Answer<'a>>,
}

/// What there is of an answer.
pub(super) enum Answer<'a> {
    Here(Fetched),
    /// There is no copy that will do.
    FromNear(&'a Arc<Near>),
    FromStore {
        call: StoreCall<'a, Option<Arc<Record>>>,
        confirmed: Timestamp,
    },
}

/// The session that a cookie leads to, or why it leads to none.
type Fetched = Result<Result<Found, Refusal>, Error>;

impl Session {
    /// The session of the session cookie or, if that has none, of the anonymous cookie, as far as that is known without
    /// waiting.
    pub(super) fn find(&self) -> Result<Search<'_>, Error> {
        let inner = &self.sessions().inner;
        if inner.lifeboat.is_some() {
            return Ok(Search::Waits(None));
        }
        let keyring = inner.keyring.load();
        let Some(claim) = self.first_claim(&KINDS, &keyring)? else {
            meter::load(false);
            return Ok(Search::Over(None));
        };
        match self.ask(&claim, &keyring) {
            Answer::Here(Ok(Ok(found))) if is_enough(&claim, &found) => {
                meter::load(true);
                Ok(Search::Over(Some(found)))
            }
            answer => Ok(Search::Waits(Some(Asked { claim, answer: Some(answer) }))),
        }
    }

    /// What the store has for a claim, if that is all there is to know. If not, the answer it gave.
    pub(super) fn if_enough(
        &self,
        claim: &Claim,
        record: Result<Option<Arc<Record>>, Error>,
        confirmed: Timestamp,
    ) -> Result<Found, Answer<'_>> {
        let keyring = self.sessions().inner.keyring.load();
        match self.fit_loaded(claim, record, confirmed, &keyring) {
            Ok(Ok(found)) if is_enough(claim, &found) => {
                meter::load(true);
                Ok(found)
            }
            fetched => Err(Answer::Here(fetched)),
        }
    }

    /// The same, wherever it takes to know it, from what was asked first.
    pub(super) async fn find_on(&self, first: Option<Asked<'_>>) -> Result<Option<Found>, Error> {
        let inner = &self.sessions().inner;
        let keyring = inner.keyring.load();
        if inner.lifeboat.is_some() {
            Box::pin(self.end_if_ended(&keyring)).await;
        }
        let unasked = |claim| Asked { claim, answer: None };
        let mut next = match first {
            None => self.first_claim(&KINDS, &keyring)?.map(unasked),
            first => first,
        };
        while let Some(Asked { claim, answer }) = next {
            let fetched = self.fetch(&claim, answer, &keyring).await;
            let is_sure = fetched.as_ref().is_ok_and(|fetched| fetched.as_ref().is_ok_and(is_surely_live));
            let spare = if claim.has_spare && !is_sure {
                // Whatever is the matter with the session that was left, the one that took its place may be well.
                Box::pin(self.find_spare(claim.key, &keyring)).await
            } else {
                Ok(None)
            };
            let name = inner.names.of(claim.with_subject);
            let found = match (spare, fetched) {
                (Ok(Some(spare)), _) => Some(spare),
                (_, Err(error)) | (Err(error), _) => return Err(error),
                (Ok(None), Ok(fetched)) => self.unless_refused(fetched, name)?,
            };
            if found.is_some() {
                meter::load(true);
                return Ok(found);
            }
            let others = if claim.with_subject { &KINDS[1..] } else { &[] };
            let second = self.first_claim(others, &keyring)?;
            next = second.map(|claim| unasked(Claim { is_second: true, ..claim }));
        }
        meter::load(false);
        Ok(None)
    }

    /// What the first cookie leads to that is there and ours, of sessions with a subject or without.
    #[inline]
    fn first_claim(&self, kinds: &[bool], keyring: &Arc<Keyring>) -> Result<Option<Claim>, Error> {
        let ours = self.cookies().ours(&self.sessions().inner.names.stem);
        for with_subject in kinds {
            let claim = self.claim(&ours, *with_subject, keyring)?;
            if claim.is_some() {
                return Ok(claim);
            }
        }
        Ok(None)
    }

    /// What a claim leads to, from what there is of an `answer`.
    pub(super) async fn fetch(
        &self,
        claim: &Claim,
        answer: Option<Answer<'_>>,
        keyring: &Keyring,
    ) -> Fetched {
        if let Some(lifeboat) = &self.sessions().inner.lifeboat {
            // Whoever has none doesn't carry the room for it.
            return Box::pin(self.fetch_or_revive(lifeboat, claim, keyring)).await;
        }
        let answer = answer.unwrap_or_else(|| self.ask(claim, keyring));
        match self.wait_for(answer, claim, keyring).await {
            Err(error) => self.bridge(claim, keyring, error),
            found => found,
        }
    }

    async fn fetch_or_revive(&self, lifeboat: &Lifeboat, claim: &Claim, keyring: &Keyring) -> Fetched {
        let key = claim.key;
        // What a journal had may wait since before there was a runtime.
        self.sessions().start_replay();
        if lifeboat.pending.is_ended(&key) {
            return Ok(Err(Refusal::NoSession));
        }
        if let Err(error) = self.bring_in(lifeboat, key).await {
            return self.bridge(claim, keyring, error);
        }
        match self.wait_for(self.ask(claim, keyring), claim, keyring).await {
            Ok(Ok(found)) => Ok(Ok(self.as_written_elsewhere(lifeboat, found, claim, keyring))),
            Ok(Err(Refusal::NoSession)) => {
                let revived = self.revive(lifeboat, claim, keyring).await?;
                Ok(revived.map(|found| self.as_written_elsewhere(lifeboat, found, claim, keyring)))
            }
            Err(error) => self.bridge(claim, keyring, error),
            refused => refused,
        }
    }

    /// What was written here while the store was out comes before what the store has. An error if it is out still.
    async fn bring_in(&self, lifeboat: &Lifeboat, key: StorageKey) -> Result<(), Error> {
        let sessions = self.sessions();
        if sessions.store_is_out() {
            return Err(Error::Store(sessions.out(Operation::Load)));
        }
        if !lifeboat.pending.is_waiting(&key) {
            return Ok(());
        }
        sessions.replay_session(key).await
    }

    /// Asks for the session in the store, or in the near cache in front of it.
    #[expect(clippy::inline_always, reason = "done for every request, and what it gives is large")]
    #[inline(always)]
    fn ask(&self, claim: &Claim, keyring: &Keyring) -> Answer<'_> {
        match &self.sessions().inner.near {
            Some(near) if !self.wants_fresh() && !claim.lacks_version() => {
                let now = self.sessions().inner.clock.now();
                let known = near.known(&claim.key, claim.has_seen(), now);
                meter::near(if known.is_some() { "hit" } else { "miss" });
                match known {
                    Some(Known::Copy(copy)) => {
                        Answer::Here(self.fit_copy(claim, near, (copy, Source::Copy), keyring, now))
                    }
                    Some(Known::Gone) => Answer::Here(Ok(Err(Refusal::NoSession))),
                    None => Answer::FromNear(near),
                }
            }
            // Where no copy will do, what was ended here is still over.
            Some(near) if near.is_gone(&claim.key) => Answer::Here(Ok(Err(Refusal::NoSession))),
            _ => self.ask_store(claim, keyring),
        }
    }

    fn ask_store(&self, claim: &Claim, keyring: &Keyring) -> Answer<'_> {
        let inner = &self.sessions().inner;
        let confirmed = inner.lifeboat.as_ref().map(|_| inner.clock.now()).unwrap_or_default();
        let mut call = self.sessions().call(Operation::Load, |store| store.load(claim.key));
        match call.take_ready() {
            Some(record) => Answer::Here(self.fit_loaded(claim, record, confirmed, keyring)),
            None => Answer::FromStore { call, confirmed },
        }
    }

    async fn wait_for(&self, answer: Answer<'_>, claim: &Claim, keyring: &Keyring) -> Fetched {
        match answer {
            Answer::Here(fetched) => fetched,
            Answer::FromNear(near) => {
                let read = |_| near.read(claim.key, claim.has_seen());
                match self.sessions().call(Operation::Load, read).await? {
                    Some(found) => {
                        self.fit_copy(claim, near, found, keyring, self.sessions().inner.clock.now())
                    }
                    None => Ok(Err(Refusal::NoSession)),
                }
            }
            Answer::FromStore { call, confirmed } => self.fit_loaded(claim, call.await, confirmed, keyring),
        }
    }

    fn fit_loaded(
        &self,
        claim: &Claim,
        record: Result<Option<Arc<Record>>, Error>,
        confirmed: Timestamp,
        keyring: &Keyring,
    ) -> Fetched {
        let mut found = self.fit_if_any(claim, record?, keyring)?;
        if let Ok(found) = &mut found {
            found.confirmed = confirmed;
        }
        Ok(found)
    }

    #[expect(clippy::inline_always, reason = "done for every request, and what it gives is large")]
    #[inline(always)]
    fn fit_copy(
        &self,
        claim: &Claim,
        near: &Near,
        (copy, source): (Arc<Copy>, Source),
        keyring: &Keyring,
        now: Timestamp,
    ) -> Fetched {
        let mut found = self.fit(claim, &copy.record, Some(&copy), keyring, now)?;
        if let Ok(found) = &mut found {
            found.source = source;
            found.cookie.by_copy = source == Source::Copy;
            if self.sessions().inner.lifeboat.is_some() {
                found.confirmed = near.confirmed(&copy, now);
            }
        }
        Ok(found)
    }
}

/// Whether nobody has to look any further.
fn is_enough(claim: &Claim, found: &Found) -> bool {
    !claim.has_spare || is_surely_live(found)
}

/// Whether no login can have taken the session's place. Whoever has a spare cookie beside it has logged in since: a copy in
/// which it lives is an old one.
fn is_surely_live(found: &Found) -> bool {
    found.current.header.state == RecordState::Live && found.source == Source::Store
}

/// Sessions with a subject come first, so that a late anonymous answer can't take a login's place.
const KINDS: [bool; 2] = [true, false];
