//! Errors that say what is wrong, whether it passes, and the way out; and none of them a password.

use std::time::Duration;

use stayput_core::{
    Admission, Created, Replaced, SessionStore, StoreError, StoreErrorKind, Subject, Touched,
};
use stayput_stores::{RedisConfig, RedisStore};
use stayput_testkit::servers::{RedisServer, RedisServerOptions, Reply};

use crate::support::{connect, records, story, url};

async fn refusal(url: &str) -> StoreError {
    RedisStore::connect(url).await.expect_err("the server refuses")
}

#[tokio::test]
async fn a_full_server_says_so_and_lets_sessions_live_and_end() {
    let server = RedisServerOptions::default().arguments("--maxmemory-policy noeviction").start();
    let (store, records, alice) = (connect(&server).await, records(), Subject::new("alice"));
    let (key, record) = records.logged_in(&alice, b"cart");
    let (other, visit) = records.anonymous(b"visit");
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    assert_eq!(store.create(other, visit).await.unwrap(), Created::Created);
    assert_eq!(server.run("CONFIG SET maxmemory 1"), Reply::Status("OK".into()));

    let (absent, new) = records.anonymous(b"");
    let error = store.create(absent, new).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (StoreErrorKind::Full, true));
    assert!(story(&error).contains("raise that"), "{}", story(&error));
    let next = records.next(&key, &record, b"more");
    let error = store.replace(key, next, record.header.version()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full);

    let later = record.header.expires.after(Duration::from_mins(1));
    assert_eq!(store.touch(key, later).await.unwrap(), Touched::Touched);
    assert_eq!(store.load(key).await.unwrap().unwrap().header.expires, later);
    store.remove(other).await.unwrap();
    assert_eq!(store.load(other).await.unwrap(), None);
    assert_eq!(store.end_subject(alice.key(), None).await.unwrap(), Some(1));
    assert_eq!(store.load(key).await.unwrap(), None);
    let again = records.under(&other, b"");
    assert_eq!(server.run("CONFIG SET maxmemory 0"), Reply::Status("OK".into()));
    assert_eq!(store.create(other, again).await.unwrap(), Created::Exists);
}

#[tokio::test]
async fn a_replica_says_that_it_takes_no_writes_until_it_does() {
    let (master, server) = (RedisServer::plain(), RedisServer::plain());
    let (store, records) = (connect(&server).await, records());
    server.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    let (key, record) = records.anonymous(b"");
    let error = store.create(key, record.clone()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(story(&error).contains("read-only replica"), "{}", story(&error));
    let error = store.remove(key).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    server.run("REPLICAOF NO ONE");
    assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_repeated() {
    let server = RedisServerOptions::default().password("swordfish").start();
    let port = server.port();
    for url in [format!("redis://:hunter2@127.0.0.1:{port}"), format!("redis://app:hunter2@127.0.0.1:{port}")]
    {
        let error = refusal(&url).await;
        assert_eq!((error.kind(), error.is_retryable()), (StoreErrorKind::Refused, false));
        assert!(story(&error).contains("user or the password"), "{}", story(&error));
        assert!(!format!("{error:?}{}", story(&error)).contains("hunter2"));
    }
    let error = refusal(&url(&server)).await;
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(story(&error).contains("wants a password"), "{}", story(&error));
    let store = RedisStore::connect(&format!("redis://:swordfish@127.0.0.1:{port}/2")).await.unwrap();
    assert!(!format!("{store:?}").contains("swordfish"));
}

#[tokio::test]
async fn an_acl_user_needs_what_the_error_names() {
    let server = RedisServer::plain();
    server.run("ACL SETUSER app on >p@ss ~stayput:* +@read +@write +@scripting +time");
    let url = format!("redis://app:p%40ss@127.0.0.1:{}", server.port());
    // It may not even ask for INFO, which is no reason to refuse it.
    let (store, records, alice) =
        (RedisStore::connect(&url).await.unwrap(), records(), Subject::new("alice"));
    let (key, record) = records.logged_in(&alice, b"");
    assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
    let _: stayput_core::Admitted = store.admit(alice.key(), key, Admission::default()).await.unwrap();
    assert_eq!(store.end_subject(alice.key(), None).await.unwrap(), Some(1));
    server.run("ACL SETUSER app -@write");
    let (key, record) = records.anonymous(b"");
    let error = store.create(key, record).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(story(&error).contains("+@write"), "{}", story(&error));
}

#[tokio::test]
async fn tls_is_for_servers_that_a_trusted_authority_vouches_for() {
    let server = RedisServerOptions::default().tls().password("swordfish").start();
    let address = format!("rediss://:swordfish@localhost:{}/1", server.port());
    let trusted = format!("{address}?ca={}", server.authority().unwrap().display());
    let (store, records) = (RedisStore::connect(&trusted).await.unwrap(), records());
    let (key, record) = records.anonymous(b"");
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    assert_eq!(store.load(key).await.unwrap(), Some(record.into()));

    let stranger = RedisServerOptions::default().tls().start();
    let other = format!("{address}?ca={}", stranger.authority().unwrap().display());
    let error = refusal(&other).await;
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error:?}");
    assert!(story(&error).contains("not trusted"), "{}", story(&error));
    // Its certificate is for localhost.
    let renamed = trusted.replace("localhost", "127.0.0.2");
    assert!(RedisStore::connect(&renamed).await.is_err());
}

#[tokio::test]
async fn a_unix_socket_is_as_good() {
    let (server, records) = (RedisServerOptions::default().password("p@ss").start(), records());
    let url = format!("redis+unix://{}?password=p%40ss&db=3&prefix=app:", server.socket().display());
    let store = RedisStore::connect(&url).await.unwrap();
    let (key, record) = records.anonymous(b"");
    assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
    assert_eq!(server.run("DBSIZE"), Reply::Integer(0));
}

#[tokio::test]
async fn who_is_not_there_is_unavailable() {
    let mut server = RedisServer::plain();
    server.kill();
    let error = refusal(&url(&server)).await;
    assert_eq!((error.kind(), error.is_retryable()), (StoreErrorKind::Unavailable, true));
    assert_eq!(refusal("redis://").await.kind(), StoreErrorKind::Refused);
}

#[tokio::test]
async fn forgotten_scripts_are_told_again() {
    let server = RedisServer::plain();
    let (store, records, alice) = (connect(&server).await, records(), Subject::new("alice"));
    let mut keys = Vec::new();
    for _ in 0..3 {
        server.run("SCRIPT FLUSH");
        let (key, record) = records.logged_in(&alice, b"");
        assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
        server.run("SCRIPT FLUSH");
        let next = records.next(&key, &record, b"");
        assert_eq!(store.replace(key, next, record.header.version()).await.unwrap(), Replaced::Replaced);
        keys.push(key);
    }
    server.run("SCRIPT FLUSH");
    assert_eq!(store.end_subject(alice.key(), None).await.unwrap(), Some(3));
}

#[tokio::test]
async fn what_is_no_record_is_an_error_and_left_alone() {
    let server = RedisServer::plain();
    let (store, records, alice) = (connect(&server).await, records(), Subject::new("alice"));
    let (key, record) = records.logged_in(&alice, b"");
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    // A record of a format to come.
    let change = "for _, key in ipairs(redis.call('KEYS', '*')) do
        if redis.call('TYPE', key).ok == 'string' then redis.call('SETRANGE', key, 0, '\\99') end
    end";
    assert_eq!(server.eval(change), Reply::Nil);
    for error in [
        store.load(key).await.unwrap_err(),
        store.touch(key, record.header.absolute).await.unwrap_err(),
        store.admit(alice.key(), key, Admission::default()).await.unwrap_err(),
        store.replace(key, records.next(&key, &record, b""), record.header.version()).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.is_retryable()), (StoreErrorKind::Unreadable, false), "{error}");
    }
    assert_eq!(store.subject_sessions(alice.key()).await.unwrap(), [key]);
    assert_eq!(store.end_subject(alice.key(), None).await.unwrap(), Some(1));
    assert_eq!(store.load(key).await.unwrap(), None);
}

/// A fleet in which some servers are newer, or were and have been taken back.
#[tokio::test]
async fn a_record_of_a_format_to_come_is_neither_missing_nor_overwritten_and_is_there_for_who_reads_it() {
    let server = RedisServer::plain();
    let (store, records, alice) = (connect(&server).await, records(), Subject::new("alice"));
    let (key, record) = records.logged_in(&alice, b"cart");
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    let set_format = |format: u8| {
        let place = "for _, key in ipairs(redis.call('KEYS', 'stayput:*')) do
            if redis.call('TYPE', key).ok == 'string' and #key == 40 then";
        server.eval(&format!(
            "{place} redis.call('SETRANGE', key, 0, '\\{format}') return redis.call('GET', key) end end"
        ))
    };
    let newer = set_format(3);
    let next = records.next(&key, &record, b"");
    for error in [
        store.load(key).await.unwrap_err(),
        store.touch(key, record.header.absolute).await.unwrap_err(),
        store.replace(key, next, record.header.version()).await.unwrap_err(),
        store.admit(alice.key(), key, Admission::default()).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.is_retryable()), (StoreErrorKind::Unreadable, false), "{error}");
    }
    let told = story(&store.load(key).await.unwrap_err());
    assert!(told.contains("record format 3 is newer than this Stayput"), "{told}");
    assert_eq!(store.create(key, records.under(&key, b"")).await.unwrap(), Created::Exists);
    assert_eq!(store.subject_sessions(alice.key()).await.unwrap(), [key]);
    assert_eq!(set_format(3), newer);
    // Whoever reads it finds all of it, deadline included.
    set_format(record.format().number());
    assert_eq!(store.load(key).await.unwrap(), Some(record.into()));
}

#[tokio::test]
async fn a_key_of_another_kind_is_somebody_elses() {
    let server = RedisServer::plain();
    let (store, records) = (connect(&server).await, records());
    let (key, record) = records.anonymous(b"");
    assert_eq!(store.create(key, record).await.unwrap(), Created::Created);
    server.eval(
        "for _, k in ipairs(redis.call('KEYS', '*')) do redis.call('DEL', k) redis.call('LPUSH', k, 1) end",
    );
    let error = store.load(key).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(story(&error).contains("another prefix"), "{}", story(&error));
}

#[tokio::test]
async fn a_session_neither_lives_on_nor_changes_its_owner() {
    let server = RedisServer::plain();
    let (store, records) = (connect(&server).await, records());
    let (key, record) = records.logged_in(&Subject::new("alice"), b"");
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    let (mut longer, mut anothers) = (records.next(&key, &record, b""), records.next(&key, &record, b""));
    longer.header.absolute = longer.header.absolute.after(Duration::from_millis(1));
    anothers.header.subject = Some(Subject::new("bob").key());
    for wrong in [longer, anothers] {
        let error = store.replace(key, wrong, record.header.version()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused);
    }
    assert_eq!(store.load(key).await.unwrap(), Some(record.into()));
}

#[tokio::test]
async fn more_calls_than_may_be_under_way_are_refused_at_once() {
    let server = RedisServer::plain();
    let config: RedisConfig = url(&server).parse().unwrap();
    let store = RedisStore::connect_with(config.in_flight(1)).await.unwrap();
    let (key, _) = records().anonymous(b"");
    let (first, second) = tokio::join!(store.load(key), store.load(key));
    assert_eq!(first.unwrap(), None);
    assert_eq!(second.unwrap_err().kind(), StoreErrorKind::Overloaded);
    assert_eq!(store.load(key).await.unwrap(), None);
}
