//! What a store keeps under a storage key: a header that it may read, and sealed data that it can't.
//!
//! The encoding is versioned; a record of an unknown version is an error, never a missing session.

mod format;
pub mod layout;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::id::{Generation, StorageKey};
use crate::keyring::{Keyring, first_chunk};
use crate::random::{self, Random};
use crate::seal::OpenError;
use crate::subject::SubjectKey;

pub use format::RecordFormat;

/// Names one write: random, so that a writer in doubt can tell its own from anybody else's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WriteTag(pub u64);

impl WriteTag {
    /// A new tag.
    pub fn generate(random: &dyn Random) -> Self {
        Self(u64::from_be_bytes(random::public_bytes(random)))
    }
}

/// What compare-and-swap compares: how many writes there were, and which was the last.
///
/// The counter alone would take two histories for one after a store lost its newest writes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Version {
    /// Number of writes so far; the first is 1.
    pub count: u64,
    /// The last write.
    pub tag: WriteTag,
}

/// Whether a record is a session that may be used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// A session.
    Live,
    /// What a rotation left under the old id for the grace: it can be read, never written.
    Remainder,
}

/// The part of a record that a store may read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// As it is encoded, with its record.
    format: RecordFormat,
    /// Whether the record's data is compressed.
    is_compressed: bool,
    /// The last four writes, the newest first.
    tags: [WriteTag; 4],
    count: u64,
    /// Live, or a remainder.
    pub state: State,
    /// Whether its user asked to be remembered, so that its timeouts are longer and its cookies outlive the browser.
    pub is_remembered: bool,
    /// The session's renewals so far.
    pub generation: Generation,
    /// When this generation began.
    pub renewed: Timestamp,
    /// When a client first presented this generation; `None` while its cookie may still be under way, or lost.
    pub presented: Option<Timestamp>,
    /// When the session began.
    pub created: Timestamp,
    /// When its subject proved who they are; `None` while anonymous.
    pub authenticated: Option<Timestamp>,
    /// It ends then, no matter what.
    pub absolute: Timestamp,
    /// It ends then unless touched; never after `absolute`.
    pub expires: Timestamp,
    /// Who it is logged in as; `None` while anonymous.
    pub subject: Option<SubjectKey>,
}

impl Header {
    /// The header of a session that begins now: anonymous, live, at its first version.
    pub fn new(now: Timestamp, absolute: Timestamp, expires: Timestamp, tag: WriteTag) -> Self {
        Self {
            format: RecordFormat::V1,
            is_compressed: false,
            tags: [tag; 4],
            count: 1,
            state: State::Live,
            is_remembered: false,
            generation: Generation::default(),
            renewed: now,
            // There is no earlier cookie that one would have to go on accepting.
            presented: Some(now),
            created: now,
            authenticated: None,
            absolute,
            expires: expires.min(absolute),
            subject: None,
        }
    }

    /// The version that a compare-and-swap against this record expects.
    pub fn version(&self) -> Version {
        Version { count: self.count, tag: self.tags[0] }
    }

    /// The header of the next write to this record.
    pub fn next(&self, tag: WriteTag) -> Self {
        let [a, b, c, _] = self.tags;
        Self { tags: [tag, a, b, c], count: self.count + 1, ..self.clone() }
    }

    /// Whether the write `tag` is among the last four.
    pub fn includes(&self, tag: WriteTag) -> bool {
        self.tags.contains(&tag)
    }

    /// Whether every write since `version` is among the last four, so that one that is not didn't happen.
    pub fn remembers_since(&self, version: Version) -> bool {
        self.count.saturating_sub(version.count) <= self.tags.len() as u64
    }

    /// The header of the session's renewal at `now`, as the next write.
    pub fn renew(&self, now: Timestamp, tag: WriteTag) -> Self {
        let generation = Generation(self.generation.0.wrapping_add(1));
        Self { generation, renewed: now, presented: None, ..self.next(tag) }
    }

    /// Whether a cookie of `generation` is answered at `now`: the newest always; the one before it until `grace` after
    /// the newest was first presented, so that neither a lost answer nor a request under way logs anybody out.
    pub fn accepts(&self, generation: Generation, now: Timestamp, grace: Duration) -> bool {
        // A cookie is signed: one of a later generation was handed out, and its renewal forgotten by a store that failed over.
        if generation >= self.generation {
            return true;
        }
        let previous = generation.0.wrapping_add(1) == self.generation.0;
        previous && self.presented.is_none_or(|presented| now < presented.after(grace))
    }

    /// Has the idle deadline be no earlier than `stored`, which a touch may have moved since this header was made; and
    /// never after the absolute one.
    pub fn keep_deadline(&mut self, stored: Timestamp) {
        self.expires = self.expires.max(stored).min(self.absolute);
    }

    /// Whether the session has ended by `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires <= now
    }

    /// The bytes of the header, all of it, for who seals it into something else; in the format that every Stayput reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Encoded::default();
        self.plain().encode(self.expires, &mut bytes);
        bytes.as_slice().to_vec()
    }

    /// A header from the bytes that [`Header::to_bytes`] gave, and what follows them.
    ///
    /// # Errors
    ///
    /// As [`Record::decode`].
    pub fn from_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), RecordError> {
        let mut reader = Reader(bytes);
        let header = Self::decode(&mut reader)?;
        Ok((header, reader.0))
    }

    /// The same without a record.
    fn plain(&self) -> Self {
        Self { format: RecordFormat::V1, is_compressed: false, ..self.clone() }
    }

    /// Appends the bytes of the header, with `expires` as given.
    fn encode(&self, expires: Timestamp, out: &mut Encoded) {
        let remainder = if self.state == State::Remainder { REMAINDER } else { 0 };
        let remembered = if self.is_remembered { REMEMBERED } else { 0 };
        let compressed = if self.is_compressed { COMPRESSED } else { 0 };
        let [first, second, third, fourth] = self.tags.map(|tag| tag.0);
        let times = [
            Some(self.renewed),
            self.presented,
            Some(self.created),
            self.authenticated,
            Some(self.absolute),
            Some(expires),
        ];
        // The epoch stands for "never": no session lived in 1970.
        let [renewed, presented, created, authenticated, absolute, expires] =
            times.map(|time| time.unwrap_or_default().as_millis());
        // Of known length, since it is done for every record that is opened: places are not looked up one by one.
        let mut header = [0; HEADER_LEN];
        header[..2].copy_from_slice(&[self.format.number(), remainder | remembered | compressed]);
        let (numbers, rest) = header[2..].split_at_mut(5 * 8);
        for (eight, number) in
            numbers.as_chunks_mut().0.iter_mut().zip([self.count, first, second, third, fourth])
        {
            *eight = number.to_be_bytes();
        }
        let (generation, rest) = rest.split_at_mut(4);
        generation.copy_from_slice(&self.generation.0.to_be_bytes());
        let all = [renewed, presented, created, authenticated, absolute, expires];
        for (eight, time) in rest.as_chunks_mut().0.iter_mut().zip(all) {
            *eight = time.to_be_bytes();
        }
        header[HEADER_LEN - 1] = u8::from(self.subject.is_some());
        out.push(&header);
        if let Some(subject) = &self.subject {
            out.push(subject.as_bytes());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let format = RecordFormat::from_number(*reader.0.first().ok_or(RecordError::Malformed)?)?;
        // Of known length, since it is done for every record that is read.
        let header: [u8; HEADER_LEN] = reader.take()?;
        let eight = |at: usize| u64::from_be_bytes(first_chunk(&header[at..at + 8]));
        let flags = header[1];
        let known = if format == RecordFormat::V1 {
            REMAINDER | REMEMBERED
        } else {
            REMAINDER | REMEMBERED | COMPRESSED
        };
        if flags & !known != 0 {
            return Err(RecordError::Malformed);
        }
        let state = if flags & REMAINDER == 0 { State::Live } else { State::Remainder };
        let (count, tags) = (eight(2), [10, 18, 26, 34].map(|at| WriteTag(eight(at))));
        let generation = Generation(u32::from_be_bytes(first_chunk(&header[42..46])));
        let [renewed, presented, created, authenticated, absolute, expires] =
            [46, 54, 62, 70, 78, 86].map(|at| Timestamp::from_millis(eight(at)));
        let known = |time| Some(time).filter(|time| *time != Timestamp::default());
        let (presented, authenticated) = (known(presented), known(authenticated));
        let subject = match header[HEADER_LEN - 1] {
            0 => None,
            1 => Some(SubjectKey::from_bytes(reader.take()?)),
            _ => return Err(RecordError::Malformed),
        };
        Ok(Self {
            format,
            is_compressed: flags & COMPRESSED != 0,
            tags,
            count,
            state,
            is_remembered: flags & REMEMBERED != 0,
            generation,
            renewed,
            presented,
            created,
            authenticated,
            absolute,
            expires,
            subject,
        })
    }
}

/// A header and its sealed data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The part that a store may read.
    pub header: Header,
    /// Shared by all copies of the record.
    sealed: Bytes,
}

impl Record {
    /// Seals `data` under `header` for the storage key `key`, in the format that every Stayput reads.
    pub fn seal(
        key: &StorageKey,
        header: Header,
        data: &[u8],
        keyring: &Keyring,
        random: &dyn Random,
    ) -> Self {
        Self::seal_as(RecordFormat::V1, key, header, data, keyring, random)
    }

    /// Seals `data` under `header` for the storage key `key`, in a format.
    ///
    /// The seal binds the key and all of the header but `expires`, which a touch moves without resealing: data
    /// can't be swapped between records, nor a header between versions.
    pub fn seal_as(
        format: RecordFormat,
        key: &StorageKey,
        mut header: Header,
        data: &[u8],
        keyring: &Keyring,
        random: &dyn Random,
    ) -> Self {
        let (data, is_compressed) = format.pack(data);
        (header.format, header.is_compressed) = (format, is_compressed);
        let sealed = keyring.seal(context(key, &header).as_slice(), &data, random);
        Self { header, sealed: sealed.into() }
    }

    /// The data.
    ///
    /// # Errors
    ///
    /// The keyring lacks the key, or the record was changed or moved.
    pub fn open(&self, key: &StorageKey, keyring: &Keyring) -> Result<Vec<u8>, OpenError> {
        let data = keyring.open(context(key, &self.header).as_slice(), &self.sealed)?;
        if self.header.is_compressed { format::unpack(&data) } else { Ok(data) }
    }

    /// How it is encoded.
    pub fn format(&self) -> RecordFormat {
        self.header.format
    }

    /// Whether the data is sealed under the keyring's primary key.
    pub fn is_under_primary(&self, keyring: &Keyring) -> bool {
        keyring.sealed_under_primary(&self.sealed)
    }

    /// The record as bytes for a store.
    pub fn encode(&self) -> Vec<u8> {
        let mut header = Encoded::default();
        self.header.encode(self.header.expires, &mut header);
        [header.as_slice(), &self.sealed].concat()
    }

    /// A record from the bytes that a store kept.
    ///
    /// # Errors
    ///
    /// The format is of a newer Stayput, or the bytes are no record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader(bytes);
        let header = Header::decode(&mut reader)?;
        Ok(Self { header, sealed: Bytes::copy_from_slice(reader.0) })
    }

    /// Bytes that the record takes, as encoded.
    pub fn size(&self) -> usize {
        let subject = self.header.subject.map_or(0, |_| SubjectKey::LEN);
        HEADER_LEN + subject + self.sealed.len()
    }
}

/// What a record's seal is bound to.
fn context(key: &StorageKey, header: &Header) -> Encoded {
    let mut context = Encoded::default();
    context.push(b"stayput record\0");
    context.push(key.as_bytes());
    header.encode(Timestamp::default(), &mut context);
    context
}

/// Up to 192 bytes, which a header and its context fit into: built for every read, so without an allocation.
struct Encoded {
    bytes: [u8; 192],
    len: usize,
}

impl Default for Encoded {
    fn default() -> Self {
        Self { bytes: [0; 192], len: 0 }
    }
}

impl Encoded {
    fn push(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        self.bytes[self.len..end].copy_from_slice(part);
        self.len = end;
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Flags of an encoded header.
const REMAINDER: u8 = 1;
const REMEMBERED: u8 = 2;
const COMPRESSED: u8 = 4;

/// Length of an encoded header without a subject.
const HEADER_LEN: usize = 2 + 8 + 4 * 8 + 4 + 6 * 8 + 1;

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (head, rest) = self.0.split_at_checked(N).ok_or(RecordError::Malformed)?;
        self.0 = rest;
        Ok(first_chunk(head))
    }
}

/// Why bytes from a store are no record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RecordError {
    /// The format is not one that this Stayput reads.
    UnknownFormat(u8),
    /// The bytes end early or make no sense.
    Malformed,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFormat(format) => {
                let newest = RecordFormat::NEWEST.number();
                write!(f, "record format {format} is newer than this Stayput, which reads up to {newest}")
            }
            Self::Malformed => f.write_str("bytes are not a record"),
        }
    }
}

impl std::error::Error for RecordError {}

#[cfg(test)]
mod tests;
