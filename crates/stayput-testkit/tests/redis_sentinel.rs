//! What tests over a real service under Sentinel rely on.
#![cfg(feature = "servers")]

use std::net::TcpStream;
use std::time::{Duration, Instant};

use stayput_testkit::servers::{RedisSentinelsOptions, RedisServer, Reply};

fn role(server: &RedisServer) -> Reply {
    let Reply::Array(parts) = server.run("ROLE") else { panic!("a server has a role") };
    parts[0].clone()
}

#[test]
fn a_killed_master_is_failed_over_and_comes_back_as_a_replica() {
    let options = RedisSentinelsOptions::default().password("hunter2").sentinel_password("swordfish");
    let mut service = options.start();
    let switches = service.switches();
    let killed = Instant::now();
    service.servers_mut()[0].kill();
    let switch = switches.next(Duration::from_secs(30)).expect("the sentinels fail over");
    println!("another master after {:?}", switch.at - killed);
    let new = service.servers().iter().position(|server| server.port() == switch.master).unwrap();
    assert_ne!(new, 0);
    assert_eq!(role(&service.servers()[new]), Reply::Bytes(b"master".into()));
    service.servers_mut()[0].restart();
    let deadline = Instant::now() + Duration::from_secs(30);
    while role(&service.servers()[0]) != Reply::Bytes(b"slave".into()) {
        assert!(Instant::now() < deadline, "the old master is left as it is");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_service_ends_with_its_value_even_if_the_test_panics() {
    let ports = std::thread::spawn(|| {
        let service = RedisSentinelsOptions::default().start();
        let mut ports: Vec<_> = service.servers().iter().map(RedisServer::port).collect();
        ports.extend(service.sentinels().iter().map(RedisServer::port));
        std::panic::panic_any(ports);
    })
    .join()
    .unwrap_err()
    .downcast_ref::<Vec<u16>>()
    .cloned()
    .unwrap();
    assert_eq!(ports.len(), 6);
    assert!(ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()));
}
