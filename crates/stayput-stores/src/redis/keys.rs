//! The names of everything on the server.
//!
//! A record has a name, and a slot of a cluster, of its own. What belongs to a subject shares one slot by its hash tag. No name
//! of the index is as long as a record's, so none can be mistaken for another. They are short: each is in memory once for each key.

use stayput_core::{StorageKey, SubjectKey};

use super::index::Range;
use super::message::Name;

/// Makes names.
pub(super) struct Keys {
    prefix: String,
}

/// The names of what belongs to one subject.
pub(super) struct SubjectKeys {
    /// A sorted set: every session that there may be, of this subject and of others.
    pub(super) bucket: Vec<u8>,
    /// Where in it.
    pub(super) range: Range,
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

    /// The same, not put together.
    pub(super) fn record_name<'a>(&'a self, key: &'a StorageKey) -> Name<'a> {
        Name { prefix: self.prefix.as_bytes(), rest: key.as_bytes() }
    }

    pub(super) fn marker(&self) -> Vec<u8> {
        [self.prefix.as_bytes(), b"marker"].concat()
    }

    /// Of what is written only for replicas to have something to confirm.
    pub(super) fn barrier(&self) -> Vec<u8> {
        [self.prefix.as_bytes(), b"barrier"].concat()
    }

    pub(super) fn subject(&self, subject: &SubjectKey) -> SubjectKeys {
        let range = Range::of(subject);
        // In hex: bytes as they are could end the tag early, or leave it empty.
        let bucket = format!("{}{{{:04x}}}", self.prefix, range.bucket()).into_bytes();
        let epoch = [&bucket, &subject.as_bytes()[..]].concat();
        SubjectKeys { bucket, range, epoch }
    }
}
