//! One node: its server, and what it knows of the cluster.

use std::ops::{Deref, DerefMut};

use super::super::super::port::Port;
use super::super::{RedisServer, Reply};
use super::PRIMARIES;

/// A server that is part of a cluster.
#[derive(Debug)]
pub(super) struct Node {
    server: RedisServer,
    bus: Port,
    is_asleep: bool,
}

impl Node {
    pub(super) fn new(server: RedisServer, bus: Port) -> Self {
        Self { server, bus, is_asleep: false }
    }

    pub(super) fn set_asleep(&mut self, is_asleep: bool) {
        self.is_asleep = is_asleep;
        if is_asleep { self.server.pause() } else { self.server.resume() }
    }

    /// Whether it can be asked.
    pub(super) fn is_awake(&self) -> bool {
        !self.is_asleep && self.server.process.is_some()
    }

    /// The command by which another node gets to know it.
    pub(super) fn meeting(&self) -> String {
        format!("CLUSTER MEET 127.0.0.1 {} {}", self.port(), self.bus.number())
    }

    pub(super) fn id(&self) -> String {
        text(self.run("CLUSTER MYID"))
    }

    /// The cluster as it knows it, a line for each node.
    pub(super) fn view(&self) -> String {
        text(self.run("CLUSTER NODES"))
    }

    /// How many nodes it knows and is connected to.
    pub(super) fn known(&self) -> usize {
        self.view().lines().filter(|line| !line.contains("handshake") && line.contains(" connected")).count()
    }

    /// Whether it sees all slots served and `living` nodes alive, and follows its primary if it is a replica.
    pub(super) fn is_in_order(&self, living: usize) -> bool {
        let (cluster, replication) = (text(self.run("CLUSTER INFO")), text(self.run("INFO replication")));
        let view = self.view();
        let alive = || view.lines().filter(|line| !line.contains("fail"));
        let replicas = alive().filter(|line| line.contains("slave")).count();
        cluster.contains("cluster_state:ok")
            && alive().count() == living
            && replicas == living - PRIMARIES
            && (replication.contains("role:master") || replication.contains("master_link_status:up"))
    }

    /// The epoch of its claim to a slot, if it serves it.
    pub(super) fn epoch_if_serving(&self, slot: u16) -> Option<u64> {
        let view = self.view();
        let words: Vec<_> = view.lines().find(|line| line.contains("myself"))?.split(' ').collect();
        let is_mine = words.get(2)?.contains("master") && words[8..].iter().any(|range| has(range, slot));
        let is_served = is_mine && text(self.run("CLUSTER INFO")).contains("cluster_state:ok");
        is_served.then(|| words[6].parse().ok()).flatten()
    }

    pub(super) fn expect_ok(&self, command: &str) {
        assert_eq!(self.run(command), Reply::Status("OK".into()), "{command}");
    }
}

impl Deref for Node {
    type Target = RedisServer;

    fn deref(&self) -> &RedisServer {
        &self.server
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut RedisServer {
        &mut self.server
    }
}

/// The slot of a key: of its hash tag, if there is one.
///
/// Bit by bit, as the specification says it, so that no table is right here that is wrong in what is tested.
pub fn slot(key: &[u8]) -> u16 {
    let tag = || {
        let open = key.iter().position(|byte| *byte == b'{')? + 1;
        let length = key[open..].iter().position(|byte| *byte == b'}')?;
        (length > 0).then(|| &key[open..open + length])
    };
    let crc = tag().unwrap_or(key).iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| (crc << 1) ^ (0x1021 * (crc >> 15)))
    });
    crc % 16_384
}

fn has(range: &str, slot: u16) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    matches!((first.parse(), last.parse()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
}

fn text(reply: Reply) -> String {
    match reply {
        Reply::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        reply => panic!("a text is expected: {reply:?}"),
    }
}
