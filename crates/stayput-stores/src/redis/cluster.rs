//! A Redis Cluster: which of its nodes a call goes to, and how that is found out again when it changes.
//!
//! Calls go to primaries alone, over one connection to each. No call waits for a look at the cluster: it goes where the slot
//! was last known to be, and is sent on from there. A node that is gone fails the calls for its slots at once, and one task
//! asks the others who is in its place.

mod map;
mod node;
mod redirect;
mod shares;
mod slot;
mod view;
mod watched;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use redis::{ErrorKind, RedisError, RedisResult};
use stayput_core::{Random, SystemRandom};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use self::map::Map;
pub(super) use self::node::Node;
use self::redirect::Redirect;
pub(super) use self::slot::Slot;
use self::view::View;
pub(super) use self::watched::{Layout, Watched, question};
use super::config::{Endpoint, RedisConfig};
use super::connector::{Pause, silent};
use super::link::Link;
use super::tls::Tls;

/// Where a call finds the node that has a slot.
pub(super) struct Cluster {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// The way of a command to the node that carries it out.
pub(super) struct Way {
    slot: Option<Slot>,
    /// Where a slot that is on the move has its keys already.
    asked: Option<Arc<Node>>,
    turns: u32,
    pause: Pause,
}

struct Shared {
    config: RedisConfig,
    tls: Option<Tls>,
    seeds: Vec<Endpoint>,
    map: RwLock<Map>,
    /// The map's generation, for who has to know of every change.
    changes: watch::Sender<u64>,
    doubt: Notify,
}

impl Cluster {
    /// Asks the seeds, one after the other, for all others.
    pub(super) async fn start(config: RedisConfig, seeds: Vec<Endpoint>) -> RedisResult<Self> {
        if !slot::keeps_tags(&config.prefix) {
            return Err((
                ErrorKind::InvalidClientConfig,
                "the prefix of keys in a cluster can't have {} in it",
            )
                .into());
        }
        let tls = config.tls.as_ref().map(Tls::new).transpose()?;
        let (map, changes, doubt) = (RwLock::new(Map::empty()), watch::Sender::new(0), Notify::new());
        let shared = Arc::new(Shared { config, tls, seeds, map, changes, doubt });
        shared.find().await?;
        let task = tokio::spawn(Arc::clone(&shared).keep_looking());
        Ok(Self { shared, task })
    }

    /// The node to send to next. One that nobody is known to own a slot besides is anyone's to answer for.
    pub(super) fn node(&self, way: &Way) -> RedisResult<Arc<Node>> {
        if let Some(asked) = &way.asked {
            return Ok(Arc::clone(asked));
        }
        let map = self.shared.map();
        let any = || {
            let nodes = map.nodes();
            nodes.iter().find(|node| node.connector.is_up()).or(nodes.first()).cloned()
        };
        let node = way.slot.and_then(|slot| map.owner(slot)).or_else(any);
        node.ok_or_else(|| std::io::Error::other("no node of the cluster is known").into())
    }

    /// A key in one of the node's slots, and not always the same: on its way to another node a slot takes nothing new. `None` if
    /// it has none, as far as is known.
    pub(super) fn key_on(&self, node: &Arc<Node>) -> Option<Vec<u8>> {
        let map = self.shared.map();
        let is_its =
            |key: &Vec<u8>| map.owner(Slot::of_key(key)).is_some_and(|owner| Arc::ptr_eq(&owner, node));
        let mut bytes = [0; 2];
        SystemRandom.fill(&mut bytes);
        let first = u16::from_ne_bytes(bytes);
        let prefix = &self.shared.config.prefix;
        let mut keys =
            (0..TRIES).map(|at| format!("{prefix}{{{}}}barrier", first.wrapping_add(at)).into_bytes());
        keys.find(is_its)
    }

    /// Learns from an answer of `from` that it was not for it. Says how long to wait before the next attempt; `None` if the
    /// answer is no redirection.
    pub(super) fn turn(&self, way: &mut Way, error: &RedisError, from: &Node) -> Option<Duration> {
        let is_asked = way.asked.take().is_some();
        let is_waiting = match Redirect::of(error, &from.endpoint)? {
            Redirect::Moved(slot, endpoint) => {
                self.shared.give(slot, endpoint);
                self.doubt();
                false
            }
            Redirect::Ask(endpoint) => {
                way.asked = Some(self.shared.reach(endpoint));
                false
            }
            Redirect::Wait => {
                self.doubt();
                true
            }
        };
        way.turns += 1;
        // Two nodes that send a call to each other are about to agree.
        let is_prompt = !is_waiting && !is_asked && way.turns <= PROMPT;
        Some(if is_prompt { Duration::ZERO } else { way.pause.next() })
    }

    pub(super) fn watch(&self) -> Watched {
        Watched::of(&self.shared)
    }

    /// Has the cluster looked at again, soon.
    pub(super) fn doubt(&self) {
        self.shared.doubt.notify_one();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Way {
    pub(super) fn to(slot: Option<Slot>) -> Self {
        Self { slot, asked: None, turns: 0, pause: Pause::up_to(LONGEST_PAUSE) }
    }

    /// Whether an answer of this node says that another would do what it was asked.
    pub(super) fn is_sent_on(error: &RedisError, from: &Node) -> bool {
        Redirect::of(error, &from.endpoint).is_some()
    }

    /// Whether the next node has to be told that it was named by another.
    pub(super) fn is_asking(&self) -> bool {
        self.asked.is_some()
    }
}

impl Shared {
    fn map(&self) -> RwLockReadGuard<'_, Map> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the map, and says so while nobody can see it yet.
    fn change<T>(&self, change: impl FnOnce(&mut Map) -> T) -> T {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut map);
        self.changes.send_if_modified(|before| std::mem::replace(before, map.generation) != map.generation);
        outcome
    }

    fn begin(&self, endpoint: Endpoint) -> Node {
        Node::new(endpoint, &self.config, self.tls.as_ref())
    }

    fn reach(&self, endpoint: Endpoint) -> Arc<Node> {
        self.change(|map| map.reach(endpoint, |endpoint| self.begin(endpoint)))
    }

    fn give(&self, slot: Slot, endpoint: Endpoint) {
        self.change(|map| {
            let node = map.reach(endpoint, |endpoint| self.begin(endpoint));
            map.give(slot, node);
        });
    }

    async fn keep_looking(self: Arc<Self>) {
        let mut pause = Pause::up_to(SOONEST);
        loop {
            // Else now and then, lest all that are known have been replaced.
            let _ = timeout(AT_LATEST, self.doubt.notified()).await;
            if let Err(error) = self.look().await {
                tracing::debug!(cluster = %self.config, %error, "no node of the cluster answers");
            }
            sleep(pause.next()).await;
        }
    }

    /// Looks at the cluster through the first node that answers: those with a connection come first.
    async fn look(&self) -> RedisResult<()> {
        let nodes = self.map().nodes();
        for node in nodes.iter().filter(|node| node.connector.is_up()) {
            let view =
                timeout(GLANCE, async { view_of(&*node.connector.link().await?, &node.endpoint).await });
            if let Ok(Ok(view)) = view.await {
                self.adopt(view);
                return Ok(());
            }
        }
        self.find().await
    }

    /// Looks at it through a connection of its own to whoever is known to be, or to have been, a node.
    async fn find(&self) -> RedisResult<()> {
        let replicas = self.map().replicas().to_vec();
        let mut last = None;
        for endpoint in replicas.iter().chain(&self.seeds) {
            let view = timeout(self.config.connect_timeout, async {
                let link = Link::open(&node::at(endpoint, &self.config), self.tls.as_ref()).await?;
                view_of(&link, endpoint).await
            });
            match view.await.unwrap_or_else(|_| Err(silent())) {
                Ok(view) => {
                    self.adopt(view);
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(silent))
    }

    fn adopt(&self, view: View) {
        self.change(|map| map.adopt(view, |endpoint| self.begin(endpoint)));
    }
}

async fn view_of(link: &Link, from: &Endpoint) -> RedisResult<View> {
    let answer = link.send(&question()).await.map_err(|error| match error.detail() {
        Some(detail) if detail.contains("cluster support disabled") => {
            (ErrorKind::InvalidClientConfig, "it is no node of a cluster; its URL begins with redis:").into()
        }
        _ => error,
    })?;
    View::from_value(&answer, from).ok_or_else(|| {
        std::io::Error::other("the node belongs to no cluster, or to one that nobody has joined").into()
    })
}

/// Among so many keys there is one for whoever has a thousandth of all slots.
const TRIES: u16 = 8192;

/// How often a call is sent on at once.
const PROMPT: u32 = 3;

/// The longest pause before a call that is to try again does.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The cluster is looked at no more often than so.
const SOONEST: Duration = Duration::from_millis(100);
const AT_LATEST: Duration = Duration::from_secs(30);

/// How long one node is waited for while others may know as much.
const GLANCE: Duration = Duration::from_millis(250);
