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
    let bytes = record.encode();
    let expires = HEADER_LEN - 1 - 8..HEADER_LEN - 1;
    let open = |bytes: &[u8]| Record::decode(bytes).map(|record| record.open(&key, &keyring));
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
