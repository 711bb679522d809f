//! A record's header and seal, bit by bit.

use super::*;
use crate::id::SessionId;
use crate::random::SystemRandom;
use crate::subject::Subject;

fn record(keyring: &Keyring) -> (StorageKey, Record) {
    let key = SessionId::generate(&SystemRandom).storage_key();
    let at = Timestamp::from_millis;
    let mut header = Header::new(at(1000), at(9000), at(5000), WriteTag::generate(&SystemRandom));
    header.subject = Some(Subject::new("alice").key());
    header.authenticated = Some(at(1000));
    (key, Record::seal(&key, header, b"data", keyring, &SystemRandom))
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let keyring = Keyring::generate(&SystemRandom);
    let (key, record) = record(&keyring);
    let bytes = record.encode();
    assert_eq!(bytes.len(), record.size());
    let read = Record::decode(&bytes).unwrap();
    assert_eq!(read, record);
    assert_eq!(read.open(&key, &keyring).unwrap(), b"data");
}

const WORDS: &[u8] = &[b'w'; 1000];

fn compressed(keyring: &Keyring) -> (StorageKey, Record) {
    let (key, record) = record(keyring);
    (key, Record::seal_as(RecordFormat::V2, &key, record.header, WORDS, keyring, &SystemRandom))
}

#[test]
fn the_second_format_is_shorter_where_that_is_worth_it() {
    let keyring = Keyring::generate(&SystemRandom);
    let (key, record) = compressed(&keyring);
    let bytes = record.encode();
    assert_eq!((bytes[0], bytes.len()), (2, record.size()));
    assert!(bytes.len() < 300, "{}", bytes.len());
    let read = Record::decode(&bytes).unwrap();
    assert_eq!((&read, read.format()), (&record, RecordFormat::V2));
    assert_eq!(read.open(&key, &keyring).unwrap(), WORDS);
    let mut chance = [0; 1000];
    SystemRandom.fill(&mut chance);
    for data in [&chance[..], b"short", b""] {
        let record =
            Record::seal_as(RecordFormat::V2, &key, record.header.clone(), data, &keyring, &SystemRandom);
        assert_eq!(record.encode().len() - record.header.to_bytes().len(), data.len() + 32);
        assert_eq!(Record::decode(&record.encode()).unwrap().open(&key, &keyring).unwrap(), data);
    }
}

#[test]
fn what_comes_after_a_compressed_record_may_be_in_the_first_format() {
    let keyring = Keyring::generate(&SystemRandom);
    let (key, record) = compressed(&keyring);
    let next = Record::seal(&key, record.header.next(WriteTag(7)), WORDS, &keyring, &SystemRandom);
    let bytes = next.encode();
    assert_eq!((bytes[0], bytes[1]), (1, 0));
    assert_eq!(Record::decode(&bytes).unwrap().open(&key, &keyring).unwrap(), WORDS);
    // Nor does what is carried elsewhere tell of it.
    assert_eq!(record.header.to_bytes()[..2], [1, 0]);
}

#[test]
fn the_first_format_knows_of_no_compression() {
    let keyring = Keyring::generate(&SystemRandom);
    let (_, record) = record(&keyring);
    let mut bytes = record.encode();
    bytes[1] |= COMPRESSED;
    assert_eq!(Record::decode(&bytes), Err(RecordError::Malformed));
}

#[test]
fn swapped_records_and_changed_headers_are_refused() {
    let keyring = Keyring::generate(&SystemRandom);
    let ((key, record), (other, _)) = (record(&keyring), record(&keyring));
    assert_eq!(record.open(&other, &keyring), Err(OpenError::Broken));

    let mut longer = record.clone();
    longer.header.absolute = Timestamp::MAX;
    assert_eq!(longer.open(&key, &keyring), Err(OpenError::Broken));
    let mut stolen = record.clone();
    stolen.header.subject = Some(Subject::new("mallory").key());
    assert_eq!(stolen.open(&key, &keyring), Err(OpenError::Broken));
    let mut remembered = record.clone();
    remembered.header.is_remembered = true;
    assert_eq!(remembered.open(&key, &keyring), Err(OpenError::Broken));
}

#[test]
fn a_touch_needs_no_new_seal() {
    let keyring = Keyring::generate(&SystemRandom);
    let (key, mut record) = record(&keyring);
    record.header.expires = Timestamp::from_millis(6000);
    assert!(record.open(&key, &keyring).is_ok());
}

#[test]
fn no_flipped_bit_or_cut_opens_or_panics() {
    let keyring = Keyring::generate(&SystemRandom);
    let (key, record) = record(&keyring);
    refuses_all_else(&key, &record, &keyring);
    let (key, compressed) = compressed(&keyring);
    refuses_all_else(&key, &compressed, &keyring);
}

fn refuses_all_else(key: &StorageKey, record: &Record, keyring: &Keyring) {
    let bytes = record.encode();
    let expires = HEADER_LEN - 1 - 8..HEADER_LEN - 1;
    let open = |bytes: &[u8]| Record::decode(bytes).map(|record| record.open(key, keyring));
    for bit in (0..bytes.len() * 8).filter(|bit| !expires.contains(&(bit / 8))) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!matches!(open(&flipped), Ok(Ok(_))), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(!matches!(open(&bytes[..len]), Ok(Ok(_))), "cut to {len}");
    }
}

#[test]
fn a_newer_format_is_an_error_that_says_so() {
    let error = Record::decode(&[9; 200]).unwrap_err();
    assert_eq!(error, RecordError::UnknownFormat(9));
    assert!(error.to_string().contains("newer"));
}

#[test]
fn the_previous_generation_is_accepted_until_the_grace_after_the_newest_was_presented() {
    let (at, grace) = (Timestamp::from_millis, Duration::from_millis(30));
    let first = Header::new(at(0), at(9_000), at(5_000), WriteTag(1));
    let mut second = first.renew(at(1_000), WriteTag(2));
    let accepts = |header: &Header, generation, now| header.accepts(Generation(generation), at(now), grace);
    // Its cookie may have been lost: the first one is good for as long as that takes.
    assert!(accepts(&second, 0, 4_000) && accepts(&second, 1, 4_000));
    second.presented = Some(at(2_000));
    assert!(accepts(&second, 0, 2_029) && !accepts(&second, 0, 2_030) && accepts(&second, 1, 4_000));
    let third = second.renew(at(3_000), WriteTag(3));
    // The store forgot a renewal, and its cookie is out there.
    assert!(accepts(&third, 3, 3_000));
    assert!(!accepts(&third, 0, 3_000) && accepts(&third, 1, 3_000));
}

#[test]
fn a_record_remembers_its_last_four_writes() {
    let at = Timestamp::from_millis;
    let mut header = Header::new(at(0), at(9), at(5), WriteTag(1));
    for tag in 2..=5 {
        header = header.next(WriteTag(tag));
    }
    assert!(!header.includes(WriteTag(1)));
    assert!((2..=5).all(|tag| header.includes(WriteTag(tag))));
    assert_eq!(header.version(), Version { count: 5, tag: WriteTag(5) });
    let version = |count| Version { count, tag: WriteTag(0) };
    assert!(header.remembers_since(version(1)) && !header.remembers_since(version(0)));
}
