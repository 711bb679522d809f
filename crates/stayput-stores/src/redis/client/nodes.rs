//! Waiting for replicas in a cluster: of each node that a call went to, on the connection that it went by.
//!
//! What was begun on one connection to a node is never confirmed on another: that could be to another server in its place,
//! which lacks what was done.

use std::sync::{Arc, Mutex, PoisonError};

use stayput_core::{StoreError, StoreErrorKind};

use super::super::cluster::{Node, Way};
use super::super::link::Link;
use super::super::servers::{NoStop, Stop};
use super::super::together::together;
use super::{Call, Effect, unanswered};

/// The nodes that a call went to, each with the connection.
#[derive(Default)]
pub(super) struct Nodes(Mutex<Vec<(Arc<Node>, Arc<Link>)>>);

impl Call<'_> {
    pub(super) async fn next_stop(&self, way: &Way) -> Result<Stop, NoStop> {
        match self.nodes {
            Some(_) => self.client.servers.replicated_stop(way).await,
            None => self.client.servers.stop(way).await,
        }
    }

    /// Sees to it that a call that waits for replicas stays on one connection to each node.
    pub(super) fn stay(&self, stop: Stop) -> Result<Stop, StoreError> {
        let (Some(Nodes(nodes)), Some((node, _))) = (&self.nodes, &stop.node) else { return Ok(stop) };
        let mut nodes = nodes.lock().unwrap_or_else(PoisonError::into_inner);
        match nodes.iter().find(|(known, _)| Arc::ptr_eq(known, node)) {
            Some((_, link)) if !Arc::ptr_eq(link, &stop.link) => {
                return Err(self.error(StoreErrorKind::Unavailable).with_source("its connection is lost"));
            }
            Some(_) => {}
            None => nodes.push((Arc::clone(node), Arc::clone(&stop.link))),
        }
        drop(nodes);
        Ok(stop)
    }

    /// Returns when the replicas of all nodes have what was done there, or was found done.
    pub(super) async fn confirm_on(&self, Nodes(nodes): &Nodes) -> Result<(), StoreError> {
        let nodes = nodes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let confirmed = together(nodes.iter().map(|(node, link)| self.confirm_node(node, link))).await;
        confirmed.into_iter().collect()
    }

    async fn confirm_node(&self, node: &Arc<Node>, link: &Arc<Link>) -> Result<(), StoreError> {
        let Some(replicas) = &node.replicas else { return Ok(()) };
        let mut tries = 0;
        loop {
            let Some(key) = self.client.servers.key_on(node) else {
                let cause = "it is done, but nobody knows by which node any more, nor whether its replicas have it (wait_replicas)";
                return Err(self.error(unanswered(Effect::Something)).with_source(cause));
            };
            let confirmation = replicas.confirm(Arc::clone(link), key);
            let found = self.within(confirmation, Effect::Something).await?;
            tries += 1;
            // That slot is about to be another node's. There are others.
            let is_elsewhere = found.as_ref().is_err_and(|error| Way::is_sent_on(error, node));
            if !is_elsewhere || tries == TRIES {
                return self.judge(replicas.wanted, link, found);
            }
        }
    }
}

/// How many slots of a node may be on the move one after the other.
const TRIES: u32 = 5;
