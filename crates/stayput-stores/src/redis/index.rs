//! The index of subjects' sessions: which bucket a subject is in, and what stands there for each of its sessions.
//!
//! No key is a subject's own, since that would take more memory than a session. A bucket is a sorted set of so few and so
//! short members that Redis keeps it as one piece of memory, or as a skip list where somebody filled it. It doesn't
//! know for certain whose a member is: that stands in the record. docs/format.md has the bytes.

use redis::{Cmd, Value};
use stayput_core::{StorageKey, SubjectKey, Timestamp};

/// Where a subject's members are in its bucket: their scores, each of which is a place in the subject's range.
///
/// Two subjects of one range are rare (one pair in 2^27), and can be had on purpose by who may choose a name; so whoever
/// takes a member for a subject's looks at its record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    bucket: u16,
    first: u64,
}

impl Range {
    pub(super) fn of(subject: &SubjectKey) -> Self {
        let bytes = subject.as_bytes().first_chunk().expect("a subject's key has 32 bytes");
        let bits = u64::from(u32::from_be_bytes(*bytes));
        let bucket = u16::try_from(bits >> (u32::BITS - BUCKET_BITS)).expect("it has as many bits as said");
        let number = bits >> (u32::BITS - BUCKET_BITS - RANGE_BITS) & ((1 << RANGE_BITS) - 1);
        Self { bucket, first: number << PLACE_BITS }
    }

    pub(super) fn bucket(self) -> u16 {
        self.bucket
    }

    /// The score of sessions that are yet to be admitted; others' follow, in the order of their admission.
    pub(super) fn first(self) -> u64 {
        self.first
    }

    /// Reads all members.
    pub(super) fn read(self, bucket: &[u8]) -> Cmd {
        read(bucket, self.first, self.ending())
    }

    /// Reads those that were ever admitted, from the one admitted longest ago on.
    pub(super) fn read_admitted(self, bucket: &[u8]) -> Cmd {
        read(bucket, self.first + 1, self.ending())
    }

    /// Reads those that are being ended.
    pub(super) fn read_ending(self, bucket: &[u8]) -> Cmd {
        read(bucket, self.ending(), self.ending())
    }

    fn ending(self) -> u64 {
        self.first + ENDING
    }
}

fn read(bucket: &[u8], from: u64, to: u64) -> Cmd {
    let mut range = redis::cmd("ZRANGEBYSCORE");
    range.arg(bucket).arg(from).arg(to);
    range
}

/// A session in its subject's range: its key, what tells it from one that had its key before, and the hour by which it is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Member([u8; Self::LEN]);

impl Member {
    pub(super) const LEN: usize = Self::SESSION + 2;

    /// What names the session. The rest was its deadline when it was listed, and may be an earlier one by now.
    pub(super) const SESSION: usize = StorageKey::LEN + 2;

    pub(super) fn new(key: &StorageKey, created: Timestamp, absolute: Timestamp) -> Self {
        let mut bytes = [0; Self::LEN];
        bytes[..StorageKey::LEN].copy_from_slice(key.as_bytes());
        bytes[StorageKey::LEN..Self::SESSION].copy_from_slice(&beginning(created));
        bytes[Self::SESSION..].copy_from_slice(&last_hour(created, absolute).to_be_bytes());
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

    pub(super) fn session(&self) -> &[u8] {
        &self.0[..Self::SESSION]
    }

    pub(super) fn beginning(&self) -> &[u8] {
        &self.0[StorageKey::LEN..Self::SESSION]
    }

    /// Whether a record under its key that began then is its session.
    pub(super) fn began(&self, created: Timestamp) -> bool {
        self.beginning() == beginning(created)
    }
}

/// The members in an answer. What is none was put there by somebody else.
pub(super) fn members(value: &Value) -> Vec<Member> {
    let Value::Array(values) = value else { return Vec::new() };
    let member = |value: &Value| match value {
        Value::BulkString(bytes) => Member::from_bytes(bytes),
        _ => None,
    };
    values.iter().filter_map(member).collect()
}

/// Hardly any two sessions have a key in common, so two bytes are enough; the rest of a division by a prime, since times that
/// are apart by a round number of seconds or hours have other rests. end.lua does the same.
fn beginning(created: Timestamp) -> [u8; 2] {
    let rest = created.as_millis() % BEGINNINGS;
    u16::try_from(rest).expect("the prime is below 2^16").to_be_bytes()
}

/// The first full hour at which the session is over. They are counted in a circle: which round it is, its reader knows,
/// since none is listed that is farther away than half of it. index.lua does that.
fn last_hour(created: Timestamp, absolute: Timestamp) -> u16 {
    if absolute.since(created).as_millis() > u128::from(LONGEST_HOURS * HOUR) {
        return NEVER;
    }
    let hour = absolute.as_millis().div_ceil(HOUR) % u64::from(NEVER);
    u16::try_from(hour).expect("the circle has fewer than 2^16 hours")
}

/// A million sessions are 61 a bucket, and up to 128 a sorted set is one piece of memory unless Redis is configured otherwise.
const BUCKET_BITS: u32 = 14;
const RANGE_BITS: u32 = 13;
/// With the range's bits it is 31: a score of 32 bits, which Redis has signed, takes less memory than a larger one.
const PLACE_BITS: u32 = 18;

/// The place of sessions that are being ended. The first is that of those that are yet to be admitted.
pub(super) const ENDING: u64 = (1 << PLACE_BITS) - 1;

pub(super) const BEGINNINGS: u64 = 65_521;

/// The hour of a session whose end is too far away for the circle: it is forgotten when its record is gone, or its bucket.
pub(super) const NEVER: u16 = u16::MAX;

/// Not quite half a circle, for clocks that differ.
const LONGEST_HOURS: u64 = 32_000;

const HOUR: u64 = 3_600_000;
