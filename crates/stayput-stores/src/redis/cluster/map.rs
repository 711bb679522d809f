//! Which node has which slot, as far as is known.

use std::collections::HashMap;
use std::sync::Arc;

use stayput_core::{Random, SystemRandom};

use super::node::Node;
use super::shares::Shares;
use super::slot::Slot;
use super::view::View;
use crate::redis::config::Endpoint;

pub(super) struct Map {
    owners: Vec<Option<Arc<Node>>>,
    /// All with a connection: owners, and those that a slot is moving to.
    nodes: HashMap<Endpoint, Arc<Node>>,
    replicas: Vec<Endpoint>,
    /// Counts its changes.
    pub(super) generation: u64,
}

impl Map {
    pub(super) fn empty() -> Self {
        Self { owners: vec![None; Slot::COUNT], nodes: HashMap::new(), replicas: Vec::new(), generation: 0 }
    }

    pub(super) fn owner(&self, slot: Slot) -> Option<Arc<Node>> {
        self.owners[slot.index()].clone()
    }

    /// All nodes, beginning anywhere.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        let mut nodes: Vec<_> = self.nodes.values().cloned().collect();
        let mut byte = [0];
        SystemRandom.fill(&mut byte);
        let start = usize::from(byte[0]).checked_rem(nodes.len()).unwrap_or(0);
        nodes.rotate_left(start);
        nodes
    }

    /// Where all of them are.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        self.nodes.keys().cloned().collect()
    }

    pub(super) fn shares(&self) -> Shares {
        let owned = self.owners.iter().enumerate();
        Shares::of(owned.filter_map(|(slot, node)| Some((slot, slot, &node.as_ref()?.endpoint))))
    }

    pub(super) fn replicas(&self) -> &[Endpoint] {
        &self.replicas
    }

    /// The node there, with a connection that is made now if there is none.
    pub(super) fn reach(&mut self, endpoint: Endpoint, begin: impl FnOnce(Endpoint) -> Node) -> Arc<Node> {
        let generation = &mut self.generation;
        let node = self.nodes.entry(endpoint).or_insert_with_key(|endpoint| {
            *generation += 1;
            Arc::new(begin(endpoint.clone()))
        });
        Arc::clone(node)
    }

    pub(super) fn give(&mut self, slot: Slot, node: Arc<Node>) {
        let before = self.owners[slot.index()].replace(node);
        self.generation += u64::from(!is_same(before.as_ref(), self.owners[slot.index()].as_ref()));
    }

    /// Takes a view for what is so. Of others' connections only those in use stay.
    pub(super) fn adopt(&mut self, view: View, begin: impl Fn(Endpoint) -> Node) {
        let mut owners = vec![None; Slot::COUNT];
        let mut nodes = HashMap::new();
        for (first, last, endpoint) in view.ranges {
            let node = self.reach(endpoint.clone(), &begin);
            nodes.insert(endpoint, Arc::clone(&node));
            owners[first.index()..=last.index()].fill(Some(node));
        }
        let before = self.nodes.len();
        for (endpoint, node) in self.nodes.drain() {
            if node.take_used() && node.connector.is_up() {
                nodes.entry(endpoint).or_insert(node);
            }
        }
        let is_same = nodes.len() == before
            && owners.iter().zip(&self.owners).all(|(a, b)| is_same(a.as_ref(), b.as_ref()));
        let generation = self.generation + u64::from(!is_same);
        *self = Self { owners, nodes, replicas: view.replicas, generation };
    }
}

fn is_same(one: Option<&Arc<Node>>, other: Option<&Arc<Node>>) -> bool {
    one.map(Arc::as_ptr) == other.map(Arc::as_ptr)
}
