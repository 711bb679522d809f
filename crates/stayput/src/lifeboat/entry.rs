//! What is to be replayed when the store is back, as the journal has it.

use std::fmt;

use stayput_core::{StorageKey, Timestamp, Version, WriteTag};

use super::wire::{Reader, Writer};

/// An encoded value, or that there is none.
pub(crate) type Value = Option<Vec<u8>>;

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A value was written.
    Written { key: StorageKey, write: Write },
    /// The session was ended.
    Ended { key: StorageKey },
    /// The first so many writes of a session are about to be made in the store.
    Tried { key: StorageKey, attempt: Attempt },
    /// The first so many writes of a session have reached the store, or never will.
    Done { key: StorageKey, count: usize },
    /// The session has been ended in the store.
    Gone { key: StorageKey },
}

/// A value that was written while the store was out.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// The session's key.
    pub(crate) name: String,
    pub(crate) before: Value,
    pub(crate) after: Value,
    /// What the store had when it went out, where other servers wrote in between and the merge goes by that.
    pub(crate) origin: Option<Value>,
    /// Until when its session may still come into being, if it was born in an outage.
    pub(crate) born_until: Option<Timestamp>,
}

/// A swap by which writes are brought into the store: whether it happened is told by its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) tag: WriteTag,
    pub(crate) expected: Version,
    /// How many writes.
    pub(crate) count: usize,
}

/// Without the values: they are the users'.
impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Write {
    /// What the store had when it went out, as far as is known.
    pub(super) fn base(&self) -> &Value {
        self.origin.as_ref().unwrap_or(&self.before)
    }

    /// Bytes that it takes in memory, about.
    pub(crate) fn size(&self) -> usize {
        let len = |value: &Value| value.as_ref().map_or(0, Vec::len);
        let origin = self.origin.as_ref().map_or(0, len);
        size_of::<Self>() + self.name.len() + len(&self.before) + len(&self.after) + origin
    }
}

impl Entry {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        let (kind, key) = match self {
            Self::Written { key, .. } => (WRITTEN, key),
            Self::Ended { key } => (ENDED, key),
            Self::Tried { key, .. } => (TRIED, key),
            Self::Done { key, .. } => (DONE, key),
            Self::Gone { key } => (GONE, key),
        };
        out.number(kind);
        out.bytes(key.as_bytes());
        match self {
            Self::Written { write, .. } => {
                out.bytes(write.name.as_bytes());
                out.optional(write.before.as_deref());
                out.optional(write.after.as_deref());
                out.flag(write.origin.is_some());
                if let Some(origin) = &write.origin {
                    out.optional(origin.as_deref());
                }
                out.number(write.born_until.unwrap_or_default().as_millis());
            }
            Self::Ended { .. } | Self::Gone { .. } => {}
            Self::Tried { attempt, .. } => {
                out.number(attempt.tag.0);
                out.number(attempt.expected.count);
                out.number(attempt.expected.tag.0);
                out.number(attempt.count as u64);
            }
            Self::Done { count, .. } => out.number(*count as u64),
        }
        out.into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let kind = reader.number()?;
        let key = StorageKey::from_bytes(reader.bytes()?.try_into().ok()?);
        let entry = match kind {
            WRITTEN => {
                let name = str::from_utf8(reader.bytes()?).ok()?.to_owned();
                let mut value = || reader.optional().map(|value| value.map(<[u8]>::to_vec));
                let (before, after) = (value()?, value()?);
                let origin = if reader.flag()? { Some(reader.optional()?.map(<[u8]>::to_vec)) } else { None };
                let born_until = Timestamp::from_millis(reader.number()?);
                let born_until = Some(born_until).filter(|until| *until != Timestamp::default());
                Self::Written { key, write: Write { name, before, after, origin, born_until } }
            }
            ENDED => Self::Ended { key },
            TRIED => {
                let tag = WriteTag(reader.number()?);
                let expected = Version { count: reader.number()?, tag: WriteTag(reader.number()?) };
                let count = usize::try_from(reader.number()?).ok()?;
                Self::Tried { key, attempt: Attempt { tag, expected, count } }
            }
            DONE => Self::Done { key, count: usize::try_from(reader.number()?).ok()? },
            GONE => Self::Gone { key },
            _ => return None,
        };
        reader.is_at_end().then_some(entry)
    }
}

const WRITTEN: u64 = 1;
const ENDED: u64 = 2;
const TRIED: u64 = 3;
const DONE: u64 = 4;
const GONE: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_read_as_it_was_written() {
        let key = StorageKey::from_bytes([7; StorageKey::LEN]);
        let write = Write {
            name: "cart".to_owned(),
            before: None,
            after: Some(b"new".to_vec()),
            origin: Some(None),
            born_until: Some(Timestamp::from_millis(5)),
        };
        let plain = Write { origin: None, born_until: None, ..write.clone() };
        let expected = Version { count: 3, tag: WriteTag(4) };
        let entries = [
            Entry::Written { key, write },
            Entry::Written { key, write: plain },
            Entry::Ended { key },
            Entry::Tried { key, attempt: Attempt { tag: WriteTag(1), expected, count: 2 } },
            Entry::Done { key, count: 2 },
            Entry::Gone { key },
        ];
        for entry in entries {
            let bytes = entry.encode();
            assert_eq!(Entry::decode(&bytes), Some(entry));
            for len in 0..bytes.len() {
                assert_eq!(Entry::decode(&bytes[..len]), None, "cut to {len}");
            }
        }
    }
}
