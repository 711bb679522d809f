//! What no user of the store can do.

use stayput_core::{Clock, Created, Operation, SessionStore, SystemClock};
use stayput_testkit::Records;
use stayput_testkit::servers::{RedisServer, Reply};

use crate::redis::RedisStore;

/// A failover may have brought back what was removed before it is told again, and a tombstone may be an old one.
#[tokio::test]
async fn what_is_told_again_stays_as_it_is() {
    let (server, records) = (RedisServer::plain(), Records::seeded());
    records.clock().set(SystemClock.now());
    let store = RedisStore::connect(&format!("redis://127.0.0.1:{}", server.port())).await.unwrap();
    let (key, record) = records.anonymous(b"");
    let name = store.keys.record(&key);
    server.run("DEL stayput:marker");
    let lifetime = || match server.eval("return redis.call('PTTL', redis.call('KEYS', '*')[1])") {
        Reply::Integer(lifetime) => lifetime,
        other => panic!("{other:?}"),
    };
    let mut call = store.client.begin(Operation::Remove).unwrap();
    store.tell_again(&mut call, &[&name]).await;
    assert_eq!(server.run("DBSIZE"), Reply::Integer(0));
    assert_eq!(store.create(key, record.clone()).await.unwrap(), Created::Created);
    let mut before = lifetime();
    store.tell_again(&mut call, &[&name]).await;
    assert!((1..=before).contains(&lifetime()));
    assert_eq!(store.load(key).await.unwrap(), Some(record.into()));
    store.remove(key).await.unwrap();
    before = lifetime();
    store.tell_again(&mut call, &[&name]).await;
    assert!((1..=before).contains(&lifetime()));
    assert_eq!(store.load(key).await.unwrap(), None);
}
