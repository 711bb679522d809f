//! A Redis Cluster of child processes: three primaries, and a replica of each.
//!
//! Its nodes are administered past their ports, as single servers are. It moves no slot and replaces no node of its
//! own accord: Redis does.

mod migration;
mod node;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use self::node::Node;
pub use self::node::slot;
use super::super::Certificates;
use super::super::port::Port;
use super::{RedisServer, RedisServerOptions};
use crate::ManualClock;

/// How a cluster is to be started.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RedisClusterOptions {
    server: RedisServerOptions,
    has_no_replicas: bool,
    tls: bool,
}

impl RedisClusterOptions {
    /// Takes TLS connections only, among the nodes too, under one certificate for all.
    pub fn tls(mut self) -> Self {
        self.server = self.server.arguments("--tls-cluster yes --tls-replication yes");
        self.tls = true;
        self
    }

    /// Wants `password` of the default user.
    pub fn password(mut self, password: &str) -> Self {
        self.server = self.server.password(password).arguments(&format!("--masterauth {password}"));
        self
    }

    /// Has primaries only.
    pub fn without_replicas(mut self) -> Self {
        self.has_no_replicas = true;
        self
    }

    /// Tells the time by `clock` instead of the system's. There are no replicas then, and no failover: both go by that time.
    pub fn clock(mut self, clock: Arc<ManualClock>) -> Self {
        self.server = self.server.clock(clock);
        self.has_no_replicas = true;
        self
    }

    /// Starts the cluster, and returns when every node knows all of it and every replica follows its primary.
    ///
    /// # Panics
    ///
    /// If that isn't so within thirty seconds.
    pub fn start(self) -> RedisCluster {
        RedisCluster::start(&self)
    }
}

/// A running cluster, which ends with this value.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Node>,
    clock: Option<Arc<ManualClock>>,
    certificates: Option<Certificates>,
    _dir: TempDir,
}

impl RedisCluster {
    /// Six nodes, as by [`RedisClusterOptions::start`].
    pub fn plain() -> Self {
        RedisClusterOptions::default().start()
    }

    fn start(options: &RedisClusterOptions) -> Self {
        let count = if options.has_no_replicas { PRIMARIES } else { 2 * PRIMARIES };
        let clock = options.server.clock.clone();
        // No silence of a node is long by a clock that the test moves.
        let patience =
            if clock.is_some() { i32::MAX.to_string() } else { NODE_TIMEOUT.as_millis().to_string() };
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let certificates = options.tls.then(|| Certificates::generate(dir.path()));
        let server = RedisServerOptions { certificates: certificates.clone(), ..options.server.clone() };
        let nodes = (0..count).map(|_| start_node(server.clone(), &patience)).collect();
        let cluster = Self { nodes, clock, certificates, _dir: dir };
        cluster.join();
        cluster
    }

    /// Its nodes as they stand in a URL: `HOST:PORT,HOST:PORT`.
    pub fn seeds(&self) -> String {
        let seeds: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        seeds.join(",")
    }

    /// The authority that its certificate is by, if it has one.
    pub fn authority(&self) -> Option<&Path> {
        self.certificates.as_ref().map(|certificates| certificates.authority.as_path())
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none, which never is.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// One of its servers.
    pub fn server(&self, node: usize) -> &RedisServer {
        &self.nodes[node]
    }

    /// Has the nodes say that they are at other ports, such as those of proxies in front of them, and waits until all know.
    ///
    /// # Panics
    ///
    /// If they don't within thirty seconds.
    pub fn announce(&self, ports: &[u16]) {
        for (node, port) in self.nodes.iter().zip(ports) {
            node.expect_ok(&format!("CONFIG SET cluster-announce-port {port}"));
        }
        let knows_all = |view: &str| ports.iter().all(|port| view.contains(&format!(":{port}@")));
        self.wait("aware of its ports", || self.nodes.iter().all(|node| knows_all(&node.view())));
    }

    /// The node that serves a slot, if one does: that it is its, and that the cluster is in order, is what the node says itself.
    pub fn primary(&self, slot: u16) -> Option<usize> {
        let views = self.nodes.iter().enumerate().filter(|(_, node)| node.is_awake());
        let owners = views.filter_map(|(number, node)| Some((node.epoch_if_serving(slot)?, number)));
        owners.max().map(|(_, number)| number)
    }

    /// Ends a node at once (`SIGKILL`).
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// Starts a node again that was killed, on its port and as what it was.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].restart();
    }

    /// Stops a node where it is (`SIGSTOP`).
    pub fn pause(&mut self, node: usize) {
        self.nodes[node].set_asleep(true);
    }

    /// Lets it go on (`SIGCONT`).
    pub fn resume(&mut self, node: usize) {
        self.nodes[node].set_asleep(false);
    }

    /// Waits until the cluster is in order as all nodes that are awake see it: every slot served, every replica linked.
    ///
    /// # Panics
    ///
    /// If that isn't so within thirty seconds.
    pub fn settle(&self) {
        let awake: Vec<_> = self.nodes.iter().filter(|node| node.is_awake()).collect();
        self.wait("in order", || awake.iter().all(|node| node.is_in_order(awake.len())));
    }

    /// Makes one cluster of servers that don't know each other. `redis-cli --cluster create` does the same, and sleeps meanwhile.
    fn join(&self) {
        for (number, node) in self.nodes.iter().enumerate() {
            // Different ones, so that nobody has to find out that two are the same.
            node.expect_ok(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1));
            if number < PRIMARIES {
                let (first, last) = (share(number), share(number + 1) - 1);
                node.expect_ok(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
            }
            self.nodes[0].expect_ok(&node.meeting());
        }
        let all = self.nodes.len();
        self.wait("acquainted", || self.nodes.iter().all(|node| node.known() == all));
        for (number, node) in self.nodes.iter().enumerate().skip(PRIMARIES) {
            node.expect_ok(&format!("CLUSTER REPLICATE {}", self.nodes[number - PRIMARIES].id()));
        }
        self.settle();
    }

    fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is_so() {
            assert!(Instant::now() < deadline, "the cluster is not {what}: {:?}", self.views());
            if let Some(clock) = &self.clock {
                // Nodes take nothing on until some time after their start.
                clock.advance(Duration::from_millis(100));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn views(&self) -> Vec<String> {
        self.nodes.iter().filter(|node| node.is_awake()).map(Node::view).collect()
    }
}

fn start_node(server: RedisServerOptions, patience: &str) -> Node {
    // Ten thousand above its port, where it would be by default, others may be.
    let bus = Port::reserve();
    let arguments = format!(
        "--cluster-enabled yes --cluster-config-file nodes.conf --cluster-port {} --cluster-node-timeout {patience} \
         --repl-diskless-sync-delay 0 --repl-ping-replica-period 1",
        bus.number()
    );
    Node::new(server.arguments(&arguments).start(), bus)
}

/// The first slot of a primary's equal share.
fn share(number: usize) -> usize {
    number * SLOTS / PRIMARIES
}

const PRIMARIES: usize = 3;
const SLOTS: usize = 16_384;

/// After how long a silence a node is held to be dead: short, but longer than a busy machine keeps one waiting.
const NODE_TIMEOUT: Duration = Duration::from_millis(1500);
