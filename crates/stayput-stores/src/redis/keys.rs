//! The names of everything on the server.
//!
//! A record has a name, and a slot of a cluster, of its own. What belongs to a subject shares one slot by its hash tag. No name
//! of a subject's is as long as a record's, so none can be mistaken for another. They are short: each is in memory once for each key.

use stayput_core::{StorageKey, SubjectKey, Timestamp};

/// Makes names.
pub(super) struct Keys {
    prefix: String,
}

/// The names of what belongs to one subject.
pub(super) struct SubjectKeys {
    /// A sorted set: every member that there may be, by its absolute deadline.
    pub(super) index: Vec<u8>,
    /// A sorted set: members by the order of their admission, or below zero while they are ending.
    pub(super) admitted: Vec<u8>,
    /// A number, while it is remembered.
    pub(super) epoch: Vec<u8>,
}

impl Keys {
    pub(super) fn new(prefix: String) -> Self {
        Self { prefix }
    }

    /// The prefix and the 32 bytes as they are: in hex they would take a tenth of a small session's memory.
    pub(super) fn record(&self, key: &StorageKey) -> Vec<u8> {
        [self.prefix.as_bytes(), key.as_bytes()].concat()
    }

    pub(super) fn marker(&self) -> Vec<u8> {
        [self.prefix.as_bytes(), b"marker"].concat()
    }

    /// Of what is written only for replicas to have something to confirm.
    pub(super) fn barrier(&self) -> Vec<u8> {
        [self.prefix.as_bytes(), b"barrier"].concat()
    }

    pub(super) fn subject(&self, subject: &SubjectKey) -> SubjectKeys {
        // All 32 bytes as they are could end the tag early, or leave it empty; two in hex are enough for every slot.
        let [first, second, ..] = subject.as_bytes();
        let tag = format!("{}{{{first:02x}{second:02x}}}", self.prefix);
        let name = |last: &str| [tag.as_bytes(), subject.as_bytes(), last.as_bytes()].concat();
        SubjectKeys { index: name("index"), admitted: name("admit"), epoch: name("epoch") }
    }
}

/// A session in its subject's index: its key, and when it began, by which it differs from one that had its key before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Member([u8; Self::LEN]);

impl Member {
    pub(super) const LEN: usize = StorageKey::LEN + 8;

    pub(super) fn new(key: &StorageKey, created: Timestamp) -> Self {
        let mut bytes = [0; Self::LEN];
        bytes[..StorageKey::LEN].copy_from_slice(key.as_bytes());
        bytes[StorageKey::LEN..].copy_from_slice(&created.as_millis().to_be_bytes());
        Self(bytes)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn key(&self) -> StorageKey {
        StorageKey::from_bytes(*self.0.first_chunk().expect("a member begins with its key"))
    }

    pub(super) fn created_bytes(&self) -> &[u8] {
        &self.0[StorageKey::LEN..]
    }

    pub(super) fn created(&self) -> Timestamp {
        Timestamp::from_millis(u64::from_be_bytes(*self.0.last_chunk().expect("a member ends with a time")))
    }
}
