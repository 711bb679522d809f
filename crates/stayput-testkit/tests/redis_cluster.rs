//! What tests over a real Redis Cluster rely on.
#![cfg(feature = "servers")]

use std::time::{Duration, Instant};

use stayput_testkit::servers::{RedisCluster, RedisClusterOptions, Reply, slot};

#[test]
fn a_slot_is_that_of_the_hash_tag() {
    let cluster = RedisCluster::plain();
    for key in ["123456789", "a{user}b", "a{}b", "{{x}}y", "}{", "a{b"] {
        let Reply::Integer(number) = cluster.server(0).run(&format!("CLUSTER KEYSLOT {key}")) else {
            panic!("a number is expected");
        };
        assert_eq!(i64::from(slot(key.as_bytes())), number, "{key}");
    }
}

#[test]
fn a_killed_primary_is_replaced_and_comes_back_as_a_replica() {
    let began = Instant::now();
    let mut cluster = RedisCluster::plain();
    println!("ready in {:?}", began.elapsed());
    let primary = cluster.primary(slot(b"a")).unwrap();
    assert_eq!(cluster.server(primary).run("SET a 1"), Reply::Status("OK".into()));
    // Replication is asynchronous.
    let written = Instant::now();
    while cluster.server(primary + 3).run("DBSIZE") != Reply::Integer(1) {
        assert!(written.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
    cluster.kill(primary);
    let killed = Instant::now();
    let next = loop {
        if let Some(next) = cluster.primary(slot(b"a")) {
            break next;
        }
        assert!(killed.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(5));
    };
    println!("failed over in {:?}", killed.elapsed());
    assert_ne!(next, primary);
    assert_eq!(cluster.server(next).run("GET a"), Reply::Bytes(b"1".into()));
    cluster.restart(primary);
    cluster.settle();
    assert_eq!(cluster.primary(slot(b"a")), Some(next));
}

#[test]
fn slots_move_with_their_keys() {
    let cluster = RedisClusterOptions::default().password("swordfish").start();
    let number = slot(b"a");
    let from = cluster.primary(number).unwrap();
    let to = (0..3).find(|to| *to != from).unwrap();
    for key in ["{a}1", "{a}2"] {
        cluster.server(from).run(&format!("SET {key} 1"));
    }
    cluster.begin_move(number, to);
    assert_eq!(cluster.move_keys(number, to, 1), 1);
    let is_ask = |reply| matches!(reply, Reply::Error(text) if text.starts_with("ASK"));
    assert!(is_ask(cluster.server(from).run("GET {a}3")));
    while cluster.move_keys(number, to, 10) > 0 {}
    cluster.end_move(number, to);
    assert_eq!(cluster.primary(number), Some(to));
    cluster.move_slots(number - 3..number + 3, from);
    assert_eq!(cluster.primary(number), Some(from));
    assert_eq!(cluster.server(from).run("EXISTS {a}1 {a}2"), Reply::Integer(2));
}
