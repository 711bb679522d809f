//! A record's bytes as a store hands them back: whoever can write to the store changes nothing but the idle deadline.

use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

use stayput_core::{Header, Keyring, Record, State, StorageKey, Subject, Timestamp, WriteTag};

use super::Target;
use super::known::{Counting, FORMER_KEYRING, KEYRING, STRANGE_KEYRING, id};

/// See the module.
pub const TARGET: Target = Target { name: "sealed_record", check, seeds, words: Vec::new };

/// A record that a server of ours wrote.
struct Genuine {
    key: StorageKey,
    bytes: Vec<u8>,
    data: &'static [u8],
}

fn check(bytes: &[u8]) -> bool {
    let genuine = all_genuine().iter().find(|genuine| genuine.is(bytes));
    let Ok(record) = Record::decode(bytes) else {
        assert!(genuine.is_none(), "a genuine record is refused");
        return false;
    };
    assert_eq!(record.size(), bytes.len(), "the size is that of the bytes");
    assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(&record), "it is read as it is written");
    for place in all_genuine() {
        let expected = genuine.filter(|genuine| genuine.key == place.key).map(|genuine| genuine.data);
        let opened = record.open(&place.key, &KEYRING).ok();
        assert_eq!(opened.as_deref(), expected, "a record opens unchanged, in its place, and not otherwise");
    }
    genuine.is_some()
}

impl Genuine {
    fn seal(number: u64, header: Header, data: &'static [u8], keyring: &Keyring) -> Self {
        let key = id(number).storage_key();
        let record = Record::seal(&key, header, data, keyring, &Counting::from(number));
        Self { key, bytes: record.encode(), data }
    }

    /// Whether `bytes` are this record, touched or not.
    fn is(&self, bytes: &[u8]) -> bool {
        let same = |range: Range<usize>| self.bytes.get(range.clone()) == bytes.get(range);
        self.bytes.len() == bytes.len() && same(0..EXPIRES.start) && same(EXPIRES.end..bytes.len())
    }
}

/// Where the idle deadline stands: after format, state, count, four write tags, generation and five other times.
const EXPIRES: Range<usize> = 86..94;

/// One record of each kind: anonymous, logged in, left by a login, under the former key.
fn all_genuine() -> &'static [Genuine] {
    static ALL: LazyLock<[Genuine; 4]> = LazyLock::new(|| {
        let (anonymous, logged_in) = (anonymous(), logged_in());
        let mut left = logged_in.next(WriteTag(3));
        left.state = State::Remainder;
        [
            Genuine::seal(1, anonymous.clone(), b"", &KEYRING),
            Genuine::seal(2, logged_in, b"\x81\xa4cart\xa3tea", &KEYRING),
            Genuine::seal(3, left, b"\x80", &KEYRING),
            Genuine::seal(4, anonymous, b"\x80", &FORMER_KEYRING),
        ]
    });
    &*ALL
}

fn anonymous() -> Header {
    let now = Timestamp::from_millis(1_000_000_000_000);
    Header::new(now, now.after(Duration::from_hours(12)), now.after(Duration::from_mins(20)), WriteTag(1))
}

fn logged_in() -> Header {
    let mut header = anonymous();
    header.subject = Some(Subject::new("alice").key());
    header.authenticated = Some(header.created);
    header.renew(header.created.after(Duration::from_mins(15)), WriteTag(2))
}

fn seeds() -> Vec<Vec<u8>> {
    let foreign = Genuine::seal(1, anonymous(), b"", &STRANGE_KEYRING);
    let mut touched = all_genuine()[1].bytes.clone();
    touched[EXPIRES].copy_from_slice(&u64::MAX.to_be_bytes());
    let bytes = all_genuine().iter().map(|genuine| genuine.bytes.clone());
    bytes.chain([foreign.bytes, touched]).collect()
}
