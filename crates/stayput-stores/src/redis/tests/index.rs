//! What is particular to an index whose buckets have many subjects, and its bytes as docs/format.md has them.

use std::collections::BTreeMap;

use stayput_core::{Replaced, State, Timestamp};

use super::*;
use crate::redis::index::ENDING;

/// Subjects by their keys, since names that share a range would be long to find: so many first bytes are the same.
fn subjects<const N: usize>(same: usize) -> [SubjectKey; N] {
    std::array::from_fn(|number| {
        let mut bytes = [u8::try_from(number).unwrap(); SubjectKey::LEN];
        bytes[..same].fill(0xa5);
        SubjectKey::from_bytes(bytes)
    })
}

async fn session_of(store: &RedisStore, records: &Records, subject: SubjectKey) -> (StorageKey, Record) {
    let (key, mut record) = records.logged_in(&Subject::new(""), b"");
    record.header.subject = Some(subject);
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    (key, record)
}

async fn admitted(store: &RedisStore, records: &Records, subject: SubjectKey) -> (StorageKey, Record) {
    let session = session_of(store, records, subject).await;
    let admission = Admission { epoch: store.subject_epoch(subject).await.unwrap(), ..Admission::default() };
    let outcome = store.admit(subject, session.0, admission).await.unwrap();
    assert_eq!(outcome, Admitted::Admitted { ended: vec![] });
    session
}

fn three() -> Admission {
    let limit = SessionLimit { most: 3.try_into().unwrap(), overflow: Overflow::EndOldest };
    Admission { limit: Some(limit), ..Admission::default() }
}

/// How Redis is asked about the bucket of these subjects.
fn of_bucket(command: &str, store: &RedisStore, subject: SubjectKey) -> String {
    format!("{command} {}", String::from_utf8(store.keys.subject(&subject).bucket).unwrap())
}

#[tokio::test]
async fn who_shares_a_range_shares_neither_sessions_nor_limit_nor_epoch() {
    let records = Records::seeded();
    let (store, _server) = store_by(records.clock()).await;
    let [alice, bob] = subjects(4);
    let (of_bob, _) = admitted(&store, &records, bob).await;
    let (first, _) = session_of(&store, &records, alice).await;
    assert_eq!(store.admit(alice, first, alone()).await.unwrap(), Admitted::Admitted { ended: vec![] });
    let (second, _) = session_of(&store, &records, alice).await;
    assert_eq!(store.admit(alice, second, alone()).await.unwrap(), Admitted::Admitted { ended: vec![first] });
    assert_eq!(store.subject_sessions(alice).await.unwrap(), [second]);
    assert_eq!(store.subject_sessions(bob).await.unwrap(), [of_bob]);
    assert_eq!(store.end_subject(alice, Some(of_bob)).await.unwrap(), None);
    assert_eq!(store.end_subject(alice, Some(second)).await.unwrap(), Some(0));
    assert_eq!(store.end_subject(alice, None).await.unwrap(), Some(1));
    assert!(store.load(of_bob).await.unwrap().is_some());
    assert_eq!(store.subject_sessions(bob).await.unwrap(), [of_bob]);
    assert_eq!(store.subject_epoch(bob).await.unwrap(), Epoch::default());
}

/// A fleet in which some servers write a format that this one is too old for.
#[tokio::test]
async fn who_shares_a_range_ends_nobody_whose_record_is_of_a_format_to_come() {
    let records = Records::seeded();
    let (store, server) = store_by(records.clock()).await;
    let [alice, bob] = subjects(4);
    let (of_bob, record) = admitted(&store, &records, bob).await;
    let set_format = |format: u8| {
        let longest = "for _, key in ipairs(redis.call('KEYS', '*')) do
            if redis.call('TYPE', key).ok == 'string' and redis.call('STRLEN', key) > 100 then";
        server.eval(&format!("{longest} redis.call('SETRANGE', key, 0, '\\{format}') end end"))
    };
    set_format(99);
    assert_eq!(store.subject_sessions(alice).await.unwrap(), []);
    assert_eq!(store.subject_sessions(bob).await.unwrap(), [of_bob]);
    let (of_alice, _) = session_of(&store, &records, alice).await;
    assert_eq!(store.admit(alice, of_alice, alone()).await.unwrap(), Admitted::Admitted { ended: vec![] });
    assert_eq!(store.end_subject(alice, Some(of_alice)).await.unwrap(), Some(0));
    assert_eq!(store.end_subject(alice, None).await.unwrap(), Some(1));
    set_format(record.format().number());
    assert_eq!(store.load(of_bob).await.unwrap(), Some(record.into()));
}

#[tokio::test]
async fn who_shares_a_range_is_not_ended_by_an_admission_that_does_not_know_them() {
    let records = Records::seeded();
    let (store, _server) = store_by(records.clock()).await;
    let [alice, bob] = subjects(4);
    let (key, record) = session_of(&store, &records, alice).await;
    // Alice's admission has looked at the range when Bob's session is admitted.
    let (of_bob, _) = admitted(&store, &records, bob).await;
    let mut call = store.client.begin(Operation::Admit).unwrap();
    let names = store.keys.subject(&alice);
    let decision = store.decide(&mut call, &names, alone(), &facts(&key, &record)).await.unwrap();
    assert_eq!((decision.outcome.as_slice(), decision.ended), (b"again".as_slice(), 0));
    assert_eq!(store.admit(alice, key, alone()).await.unwrap(), Admitted::Admitted { ended: vec![] });
    assert!(store.load(of_bob).await.unwrap().is_some());
}

#[tokio::test]
async fn who_shares_a_range_leaves_what_is_ending_to_whose_it_is() {
    let records = Records::seeded();
    let (store, _server) = store_by(records.clock()).await;
    let [alice, bob] = subjects(4);
    let old = admitted(&store, &records, bob).await;
    let new = session_of(&store, &records, bob).await;
    decide_and_die(&store, bob, [&old, &new]).await;
    admitted(&store, &records, alice).await;
    assert_eq!(store.subject_sessions(alice).await.unwrap().len(), 1);
    assert_eq!(store.end_subject(alice, None).await.unwrap(), Some(1));
    assert!(store.load(old.0).await.unwrap().is_some());
    assert_eq!(store.subject_sessions(bob).await.unwrap(), [new.0]);
    assert_eq!(store.load(old.0).await.unwrap(), None);
}

/// Which is why a bucket doesn't grow by those who never log out and never come back.
#[tokio::test]
async fn what_is_over_is_forgotten_while_others_log_in() {
    // Hours are counted in a circle of 65535: from its midst, and over its end.
    for hours in [300_000_u64, 5 * 65_535 - 6] {
        let records = Records::seeded();
        let (store, server) = store_by(records.clock()).await;
        let begin = Timestamp::from_millis(hours * 3_600_000);
        records.clock().set(begin);
        let subjects: [_; 60] = subjects(2);
        for subject in subjects {
            session_of(&store, &records, subject).await;
        }
        records.clock().set(begin.after(Duration::from_hours(11)));
        session_of(&store, &records, subjects[0]).await;
        assert_eq!(server.run(&of_bucket("ZCARD", &store, subjects[0])), Reply::Integer(61));
        records.clock().set(begin.after(Duration::from_hours(12)));
        for number in 0..120 {
            session_of(&store, &records, subjects[number % 60]).await;
        }
        assert_eq!(server.run(&of_bucket("ZCARD", &store, subjects[0])), Reply::Integer(121));
    }
}

#[tokio::test]
async fn a_logout_is_forgotten_though_the_session_was_to_last_longer() {
    let (records, alice) = (Records::seeded(), Subject::new("alice"));
    let (store, server) = store_by(records.clock()).await;
    let (key, record) = logged_in(&store, &records, &alice).await;
    let mut next = records.next(&key, &record, b"");
    next.header.absolute = next.header.absolute.before(Duration::from_hours(2));
    next.header.state = State::Remainder;
    let replaced = store.replace(key, next, record.header.version()).await;
    assert_eq!(replaced.unwrap(), Replaced::Replaced);
    assert_eq!(store.subject_sessions(alice.key()).await.unwrap(), [key]);
    store.remove(key).await.unwrap();
    assert_eq!(server.run(&of_bucket("EXISTS", &store, alice.key())), Reply::Integer(0));
}

#[tokio::test]
async fn the_order_of_admissions_goes_on_when_its_places_are_used_up() {
    let (records, [alice]) = (Records::seeded(), subjects(4));
    let (store, server) = store_by(records.clock()).await;
    let (first, second) = (admitted(&store, &records, alice).await, admitted(&store, &records, alice).await);
    // As if a hundred thousand logins lay between.
    let names = store.keys.subject(&alice);
    let mut move_on = redis::cmd("ZADD");
    let last = names.range.first() + ENDING - 1;
    move_on.arg(&names.bucket).arg(last).arg(member(&second.0, &second.1).as_bytes());
    let mut call = store.client.begin(Operation::Admit).unwrap();
    call.send(&move_on, crate::redis::client::Effect::Something).await.unwrap();
    for ended in [None, Some(first.0), Some(second.0)] {
        let (key, _) = session_of(&store, &records, alice).await;
        let outcome = store.admit(alice, key, three()).await.unwrap();
        assert_eq!(outcome, Admitted::Admitted { ended: ended.into_iter().collect() });
    }
    let places = server.run(&format!("{} 0 -1 WITHSCORES", of_bucket("ZRANGE", &store, alice)));
    let Reply::Array(places) = places else { panic!("{places:?}") };
    let places: Vec<_> = places.chunks(2).map(|pair| pair[1].clone()).collect();
    let expected = [3, 4, 5].map(|place| (names.range.first() + place).to_string().into_bytes());
    assert_eq!(places, expected.map(Reply::Bytes));
}

#[tokio::test]
async fn an_admission_without_a_limit_is_made_whoever_else_was_admitted() {
    let (records, [alice]) = (Records::seeded(), subjects(4));
    let (store, _server) = store_by(records.clock()).await;
    let mut keys = Vec::new();
    for _ in 0..3 {
        keys.push(admitted(&store, &records, alice).await.0);
    }
    let again = store.admit(alice, keys[1], Admission::default()).await.unwrap();
    assert_eq!(again, Admitted::Admitted { ended: vec![] });
    let (last, _) = session_of(&store, &records, alice).await;
    let outcome = store.admit(alice, last, three()).await.unwrap();
    assert_eq!(outcome, Admitted::Admitted { ended: vec![keys[0]] });
}

/// The vectors of the document: name and value, a line each.
fn vectors() -> BTreeMap<&'static str, &'static str> {
    let text = include_str!("../../../../../docs/format.md");
    let block = text.split("```vectors\n").nth(1).unwrap().split("```").next().unwrap();
    block.lines().filter_map(|line| line.split_once(' ')).collect()
}

#[tokio::test]
async fn a_session_is_listed_as_the_document_says() {
    let records = Records::seeded();
    let (store, server) = store_by(records.clock()).await;
    let bytes = |name| -> Vec<u8> {
        let digits = vectors()[name].as_bytes().chunks(2);
        digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    };
    let key = StorageKey::from_bytes(bytes("key").try_into().unwrap());
    let record = Record::decode(&bytes("record")).unwrap();
    let alice = Subject::new("alice").key();
    records.clock().set(record.header.created);
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    let listed = |score: &str| {
        Reply::Array(vec![Reply::Bytes(bytes("member")), Reply::Bytes(vectors()[score].into())])
    };
    let read = format!("ZRANGE stayput:{} 0 -1 WITHSCORES", vectors()["bucket"]);
    assert_eq!(server.run(&read), listed("listed"));
    let _: Admitted = store.admit(alice, key, Admission::default()).await.unwrap();
    assert_eq!(server.run(&read), listed("admitted"));
    let of_a_name = [b"stayput:", vectors()["bucket"].as_bytes(), alice.as_bytes()].concat();
    assert_eq!(store.keys.subject(&alice).epoch, of_a_name);

    let header = &record.header;
    let without_end = Member::new(&key, header.created, Timestamp::MAX);
    assert_eq!(without_end.as_bytes()[..34], member(&key, &record).as_bytes()[..34]);
    assert_eq!(without_end.as_bytes()[34..], [0xff, 0xff]);
}
