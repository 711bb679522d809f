//! A removal is told by itself, whatever it is done together with.

use std::sync::Arc;
use std::time::Duration;

use stayput_core::{
    Admission, Admitted, Created, Invalidation, Overflow, Replaced, SessionLimit, SessionStore, Subject,
};
use stayput_testkit::servers::RedisServer;

use super::reader::{Reader, Writer};
use crate::support::{connect, records};

/// Redis tells as one what it does to a key before it looks at its connections again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_right_after_a_swap_has_a_message_that_is_not_the_swaps() {
    let (server, records) = (RedisServer::plain(), records());
    let (one, other) = (Arc::new(connect(&server).await), Arc::new(connect(&server).await));
    let mut reader = Reader::of(&*one);
    assert_eq!(reader.next().await, Invalidation::Lost);
    let (mut swapped, mut merged) = (0, 0);
    for round in 0..40 {
        let (writer, subject) = (Writer::new(&*one, &records).await, Subject::new(format!("{round}")));
        assert_eq!(reader.change().await, writer.key);
        let (key, record) = records.logged_in(&subject, b"");
        let is_subjects = round % 2 == 0;
        let (key, record) = if is_subjects {
            assert_eq!(one.create(key, record.clone()).await.unwrap(), Created::Created);
            assert_eq!(reader.change().await, key);
            (key, record)
        } else {
            (writer.key, writer.record)
        };
        // Both wait in the server's sockets when it wakes.
        server.pause();
        let next = records.next(&key, &record, b"");
        let swap = {
            let one = Arc::clone(&one);
            tokio::spawn(async move { one.replace(key, next, record.header.version()).await })
        };
        tokio::time::sleep(Duration::from_millis(5)).await;
        let removal = {
            let other = Arc::clone(&other);
            tokio::spawn(async move {
                if is_subjects {
                    other.end_subject(subject.key(), None).await.map(|_| ())
                } else {
                    other.remove(key).await
                }
            })
        };
        tokio::time::sleep(Duration::from_millis(5)).await;
        server.resume();
        let is_swapped = swap.await.unwrap().unwrap() == Replaced::Replaced;
        removal.await.unwrap().unwrap();
        let last = Writer::new(&*one, &records).await;
        let told = reader.changes_up_to(last.key).await;
        let count = told.iter().filter(|told| **told == key).count();
        assert!((2..=3).contains(&count), "{count} messages; swapped: {is_swapped}");
        swapped += usize::from(is_swapped);
        merged += usize::from(is_swapped && count == 2);
    }
    println!("{swapped} of 40 swaps came before the removal, {merged} of them in one message with it");
    assert!(merged > 0);
}

#[tokio::test]
async fn whoever_is_ended_by_a_limit_or_with_all_others_is_told_twice() {
    let (server, records, alice) = (RedisServer::plain(), records(), Subject::new("alice"));
    let store = connect(&server).await;
    let limit = SessionLimit { most: 1.try_into().unwrap(), overflow: Overflow::EndOldest };
    let mut keys = Vec::new();
    let mut reader = Reader::of(&store);
    assert_eq!(reader.next().await, Invalidation::Lost);
    for _ in 0..3 {
        let (key, record) = records.logged_in(&alice, b"");
        assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
        let admission = Admission { limit: Some(limit), ..Admission::default() };
        let ended = keys.last().copied().into_iter().collect();
        let admitted = store.admit(alice.key(), key, admission).await.unwrap();
        assert_eq!(admitted, Admitted::Admitted { ended });
        keys.push(key);
    }
    assert_eq!(store.end_subject(alice.key(), None).await.unwrap(), Some(1));
    let last = Writer::new(&store, &records).await;
    let told = reader.changes_up_to(last.key).await;
    for key in keys {
        // The creation is the first.
        assert_eq!(told.iter().filter(|told| **told == key).count(), 3);
    }
}
