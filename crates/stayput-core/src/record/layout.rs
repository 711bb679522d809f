//! Where in an encoded record a store finds what it has to compare or to change without opening it, such as in a script that
//! runs on its server.
//!
//! These places are the same in all formats up to [`NEWEST_FORMAT`], and [`CREATED`], [`HAS_SUBJECT`] and [`SUBJECT`] in those to come,
//! so that whose a session is can be told of each. Numbers are big-endian, times in milliseconds.

use std::ops::Range;

use super::{HEADER_LEN, RecordFormat};
use crate::subject::SubjectKey;

/// The newest format that this Stayput reads. The number 0 will never be a format: a store may use it for its own marks.
pub const NEWEST_FORMAT: u8 = RecordFormat::NEWEST.number();

/// The byte that says which format it is.
pub const FORMAT: usize = 0;

/// The [`Version`](super::Version): the number of writes, and the newest tag.
pub const VERSION: Range<usize> = 2..18;

/// When the session began.
pub const CREATED: Range<usize> = 62..70;

/// When it ends for good.
pub const ABSOLUTE: Range<usize> = 78..86;

/// When it ends unless it is touched: the one thing that a store may change.
pub const EXPIRES: Range<usize> = 86..94;

/// The byte that is 1 if there is a subject.
pub const HAS_SUBJECT: usize = 94;

/// The subject, if there is one; else sealed data begins here.
pub const SUBJECT: Range<usize> = HEADER_LEN..HEADER_LEN + SubjectKey::LEN;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Header, Keyring, Record, StorageKey, Subject, SystemRandom, Timestamp, WriteTag};

    #[test]
    fn everything_is_where_it_is_said_to_be() {
        let times = [0x0a01, 0x0c03, 0x0b02].map(Timestamp::from_millis);
        let mut header = Header::new(times[0], times[1], times[2], WriteTag(0x0102_0304_0506_0708));
        header.subject = Some(Subject::new("alice").key());
        let key = StorageKey::named("here");
        let keyring = Keyring::generate(&SystemRandom);
        let record = Record::seal_as(RecordFormat::NEWEST, &key, header, b"", &keyring, &SystemRandom);
        let bytes = record.encode();
        assert_eq!((bytes[FORMAT], bytes[HAS_SUBJECT]), (NEWEST_FORMAT, 1));
        let version = [1u64.to_be_bytes(), 0x0102_0304_0506_0708_u64.to_be_bytes()].concat();
        assert_eq!(bytes[VERSION], version);
        for (place, time) in [(CREATED, times[0]), (ABSOLUTE, times[1]), (EXPIRES, times[2])] {
            assert_eq!(bytes[place], time.as_millis().to_be_bytes());
        }
        assert_eq!(bytes[SUBJECT], *Subject::new("alice").key().as_bytes());
        // The header alone can be read, too.
        assert_eq!(Record::decode(&bytes[..SUBJECT.end]).unwrap().header, record.header);
    }
}
