//! What calls go to: one server, or whichever node of a cluster it has to be.
//!
//! Over one server nothing here is looked up, counted or sent on.

use std::sync::Arc;
use std::time::Duration;

use redis::{RedisError, RedisResult, Value};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::cluster::{Cluster, Node, Slot, Way};
use super::config::{Address, RedisConfig};
use super::connector::Connector;
use super::link::{Late, Link};
use super::message::Message;

pub(super) enum Servers {
    One(Connector),
    Cluster(Cluster),
}

/// A stop on a command's way.
pub(super) struct Stop {
    pub(super) link: Arc<Link>,
    pub(super) node: Option<(Arc<Node>, OwnedSemaphorePermit)>,
    is_asking: bool,
}

/// Why there is no stop.
pub(super) enum NoStop {
    /// There is no connection.
    Unconnected(RedisError),
    /// Too many are there already.
    Crowded,
}

impl Servers {
    pub(super) async fn connect(config: RedisConfig) -> RedisResult<Self> {
        match &config.address {
            Address::Cluster(seeds) => {
                let seeds = seeds.clone();
                Ok(Self::Cluster(Cluster::start(config, seeds).await?))
            }
            _ => Ok(Self::One(Connector::start(config).await?)),
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Where a command's key is; `None` where that makes no difference.
    pub(super) fn slot(&self, message: &Message<'_>) -> Option<Slot> {
        match self {
            Self::One(_) => None,
            Self::Cluster(_) => message.slot(),
        }
    }

    /// The next stop, if there is no need to wait for it.
    pub(super) fn stop_now(&self, way: &Way) -> Option<Stop> {
        match self {
            Self::One(connector) => connector.link_now().map(Stop::at),
            Self::Cluster(cluster) => {
                let node = cluster.node(way).ok()?;
                let (link, permit) = (node.connector.link_now()?, node.admit()?);
                Some(Stop::on(link, node, permit, way))
            }
        }
    }

    pub(super) async fn stop(&self, way: &Way) -> Result<Stop, NoStop> {
        match self {
            Self::One(connector) => connector.link().await.map(Stop::at).map_err(NoStop::Unconnected),
            Self::Cluster(cluster) => {
                let node = cluster.node(way).map_err(NoStop::Unconnected)?;
                let permit = node.admit().ok_or(NoStop::Crowded)?;
                let link = node.connector.link().await.map_err(NoStop::Unconnected)?;
                Ok(Stop::on(link, node, permit, way))
            }
        }
    }

    /// The next stop of a call that waits for replicas of the nodes it goes to: over the connection that each has for that.
    pub(super) async fn replicated_stop(&self, way: &Way) -> Result<Stop, NoStop> {
        let Self::Cluster(cluster) = self else { return self.stop(way).await };
        let node = cluster.node(way).map_err(NoStop::Unconnected)?;
        let permit = node.admit().ok_or(NoStop::Crowded)?;
        let connector = node.replicas.as_ref().map_or(&node.connector, |replicas| &replicas.connector);
        let link = connector.link().await.map_err(NoStop::Unconnected)?;
        Ok(Stop::on(link, node, permit, way))
    }

    /// What may be written on a node of a cluster for its replicas to confirm.
    pub(super) fn key_on(&self, node: &Arc<Node>) -> Option<Vec<u8>> {
        match self {
            Self::One(_) => None,
            Self::Cluster(cluster) => cluster.key_on(node),
        }
    }

    /// How long to wait before the next stop, if an answer says that this one was not the last.
    pub(super) fn turn(&self, way: &mut Way, error: &RedisError, from: &Stop) -> Option<Duration> {
        match (self, &from.node) {
            (Self::Cluster(cluster), Some((node, _))) => cluster.turn(way, error, node),
            _ => None,
        }
    }

    /// Which of several commands, by their slots, go together.
    pub(super) fn groups(&self, slots: &[Option<Slot>]) -> Vec<Vec<usize>> {
        let Self::Cluster(cluster) = self else { return vec![(0..slots.len()).collect()] };
        let mut groups: Vec<(Option<Arc<Node>>, Vec<usize>)> = Vec::new();
        for (number, slot) in slots.iter().enumerate() {
            let node = cluster.node(&Way::to(*slot)).ok();
            let is_its = |group: &&mut (Option<Arc<Node>>, _)| {
                group.0.as_ref().map(Arc::as_ptr) == node.as_ref().map(Arc::as_ptr)
            };
            match groups.iter_mut().find(is_its) {
                Some((_, group)) => group.push(number),
                None => groups.push((node, vec![number])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// Something went wrong that may have come of a node that is gone.
    pub(super) fn doubt(&self) {
        if let Self::Cluster(cluster) = self {
            cluster.doubt();
        }
    }
}

impl Stop {
    /// A stop at the only server there is.
    pub(super) fn at(link: Arc<Link>) -> Self {
        Self { link, node: None, is_asking: false }
    }

    /// A stop at a node of a cluster.
    fn on(link: Arc<Link>, node: Arc<Node>, permit: OwnedSemaphorePermit, way: &Way) -> Self {
        Self { link, node: Some((node, permit)), is_asking: way.is_asking() }
    }

    /// Sends a message of a call that has waited `since` then.
    pub(super) async fn send(
        &self,
        message: Message<'_>,
        deadline: Instant,
        since: Instant,
    ) -> Result<RedisResult<Value>, Late> {
        if self.is_asking {
            let asked = Box::pin(timeout_at(deadline, self.link.send_asking(message)));
            return asked.await.map_err(|_| Late);
        }
        self.link.send_by(message, deadline, since).await
    }
}
