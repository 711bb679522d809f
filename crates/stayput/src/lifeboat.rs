//! The lifeboat: what carries sessions over an outage of the store, and back into it.
//!
//! Each browser has a sealed copy of what its session declares ([`boat`]). While the store is out, sessions are served from that
//! or from the near cache, whichever is newer; writes with a declared merge and logouts are kept here ([`pending`], [`journal`])
//! and replayed when the store is back. Nothing that happens adrift makes a session live longer.

pub(crate) mod boat;
mod entry;
mod journal;
mod merge;
mod pending;
mod replay;
mod wire;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use stayput_core::{Keyring, Policy, Random, StorageKey, Subject, Timestamp};

pub(crate) use self::boat::{Boat, Carried, Label, ServerId};
use self::entry::Entry;
pub(crate) use self::entry::{Value, Write};
pub use self::journal::Journal;
pub(crate) use self::merge::Merges;
pub use self::merge::Written;
pub(crate) use self::pending::{NotTaken, Pending, View};
use crate::sessions::Inner;
use crate::{Error, Sessions};

/// Asks the application whether a session that a wiped store has lost may be put back: whose it is, and when they proved it.
pub(crate) type Readmit =
    Arc<dyn Fn(Subject, Timestamp) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// What a server needs for its clients' lifeboats.
pub(crate) struct Lifeboat {
    /// This one.
    pub(crate) server: ServerId,
    pub(crate) merges: Merges,
    pub(crate) pending: Pending,
    journal: Option<journal::Writer>,
    readmit: Option<Readmit>,
    /// Whose turn it is to replay a session.
    turns: [tokio::sync::Mutex<()>; 16],
    is_replaying: AtomicBool,
}

/// What the application gives for its lifeboats, beside the policy.
#[derive(Default)]
pub(crate) struct Equipment {
    pub(crate) merges: Merges,
    pub(crate) journal: Option<Journal>,
    pub(crate) readmit: Option<Readmit>,
}

impl Lifeboat {
    /// Puts together what `policy` asks for, or says what is missing.
    pub(crate) fn new(
        equipment: Equipment,
        policy: &Policy,
        keyring: &Keyring,
        random: &dyn Random,
    ) -> Result<Self, Vec<String>> {
        let Equipment { mut merges, journal, readmit } = equipment;
        let mut mistakes = merges.declare(policy);
        if policy.on_wiped == stayput_core::OnWiped::Restore && readmit.is_none() {
            mistakes.push(
                "on_wiped = restore asks the application about each session, by Builder::readmit".into(),
            );
        }
        let pending = Pending::default();
        let journal = journal.map(|journal| journal.start(keyring)).transpose();
        let journal = match journal {
            Ok(None) => {
                tracing::warn!("no journal given: nobody can log out while the store is out");
                None
            }
            Ok(Some((entries, writer))) => {
                pending.restore(entries);
                Some(writer)
            }
            Err(error) => {
                mistakes.push(format!("journal can't be read: {error}"));
                None
            }
        };
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let (turns, is_replaying) = (Default::default(), AtomicBool::default());
        let server = ServerId::generate(random);
        Ok(Self { server, merges, pending, journal, readmit, turns, is_replaying })
    }

    pub(crate) fn has_journal(&self) -> bool {
        self.journal.is_some()
    }

    /// Writes something down; done when it is with the operating system, or on the disk. Without a journal there is nothing to
    /// be done.
    pub(crate) fn note(
        &self,
        entry: &Entry,
        is_synced: bool,
        inner: &Inner,
    ) -> impl Future<Output = std::io::Result<()>> + use<> {
        let keyring = inner.keyring.load();
        let noted =
            self.journal.as_ref().map(|journal| journal.append(entry, is_synced, &keyring, &*inner.random));
        async move {
            match noted {
                Some(noted) => noted.await,
                None => Ok(()),
            }
        }
    }

    /// Writes down what became of something that waited, or that nothing waits any more. Nobody waits for that to be done.
    fn note_settled(&self, entry: &Entry, is_empty: bool, inner: &Inner) {
        match &self.journal {
            Some(journal) if is_empty => journal.clear(),
            _ => drop(self.note(entry, false, inner)),
        }
    }

    /// Writes down what was written of a session.
    pub(crate) fn note_writes(
        &self,
        key: StorageKey,
        writes: &[Write],
        inner: &Inner,
    ) -> impl Future<Output = ()> + use<> {
        let note = |write: &Write| self.note(&Entry::Written { key, write: write.clone() }, false, inner);
        let noted: Vec<_> = writes.iter().map(note).collect();
        async move {
            for noted in noted {
                if let Err(error) = noted.await {
                    tracing::error!(%error, "journal can't be written: the end of this process would lose a write");
                }
            }
        }
    }

    /// Ends a session here and, when the store is back, there. Done when that is on the disk, if there is a journal.
    pub(crate) async fn end(&self, key: StorageKey, sessions: &Sessions) -> Result<(), Error> {
        let inner = &sessions.inner;
        let noted = self.pending.end(key, || self.note(&Entry::Ended { key }, true, inner));
        let noted = noted.map_err(|_| Error::Adrift)?;
        // Before anything is waited for: who asked for it may go away.
        sessions.start_replay();
        if let Some(near) = &inner.near {
            near.end(key);
        }
        inner.endings.tell(key);
        noted.await.map_err(|error| {
            tracing::error!(%error, "journal can't be written: a logout is not acknowledged");
            Error::Adrift
        })
    }

    /// Whether the application wants a session back that the store has lost.
    pub(crate) async fn readmits(&self, subject: Subject, authenticated: Timestamp) -> bool {
        match &self.readmit {
            Some(readmit) => readmit(subject, authenticated).await,
            None => false,
        }
    }

    fn turn(&self, key: &StorageKey) -> &tokio::sync::Mutex<()> {
        &self.turns[usize::from(key.as_bytes()[0]) % self.turns.len()]
    }
}
