//! What tests over a real `redis-server` rely on.
#![cfg(feature = "servers")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use stayput_core::Clock;
use stayput_testkit::ManualClock;
use stayput_testkit::servers::{RedisServer, RedisServerOptions, Reply};

#[test]
fn a_server_ends_with_its_value_even_if_the_test_panics() {
    let (port, socket) = std::thread::spawn(|| {
        let server = RedisServer::plain();
        std::panic::panic_any((server.port(), server.socket()));
    })
    .join()
    .unwrap_err()
    .downcast_ref::<(u16, std::path::PathBuf)>()
    .cloned()
    .unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!socket.exists());
}

#[test]
fn a_killed_server_is_gone_and_one_that_was_started_again_answers_on_the_same_port() {
    let mut server = RedisServer::plain();
    assert_eq!(server.run("SET a 1"), Reply::Status("OK".into()));
    let port = server.port();
    server.kill();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    server.restart();
    assert_eq!((server.port(), server.run("GET a")), (port, Reply::Nil));
}

#[test]
fn a_paused_server_answers_when_it_goes_on() {
    let server = RedisServer::plain();
    server.pause();
    let mut client = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    client.write_all(b"PING\r\n").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut answer = [0; 7];
    assert!(client.read_exact(&mut answer).is_err());
    server.resume();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

#[test]
fn a_server_tells_the_time_by_the_tests_clock() {
    let clock = Arc::new(ManualClock::default());
    let server = RedisServerOptions::default().clock(Arc::clone(&clock)).start();
    let deadline = clock.now().after(Duration::from_hours(1));
    server.run(&format!("SET a 1 PXAT {}", deadline.as_millis()));
    // To Redis a key is still there at its very deadline.
    clock.set(deadline);
    assert_eq!(server.run("GET a"), Reply::Bytes(b"1".into()));
    clock.advance(Duration::from_millis(1));
    assert_eq!(server.run("GET a"), Reply::Nil);
}

#[test]
fn a_server_wants_what_it_was_told_to_want() {
    let server = RedisServerOptions::default().password("hunter2").tls().start();
    assert_eq!(server.run("PING"), Reply::Status("PONG".into()));
    assert!(std::fs::read_to_string(server.authority().unwrap()).unwrap().contains("BEGIN CERTIFICATE"));
    let mut client = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    client.write_all(b"PING\r\n").unwrap();
    let mut answer = Vec::new();
    // It takes no plain text for a handshake.
    let _ = client.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"+PONG"));
}

#[test]
fn no_two_servers_have_one_port() {
    let servers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(RedisServer::plain)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut ports: Vec<_> = servers.iter().map(RedisServer::port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 8);
    assert!(ports.iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_err()));
}
