//! What a node says that doesn't do what it was asked: that another one would, or that it would later.
//!
//! Nothing else is made a second time: a command that got one of these answers was certainly not carried out.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::slot::Slot;
use crate::redis::config::Endpoint;

/// Where a command is to go instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// To the slot's new node, from now on.
    Moved(Slot, Endpoint),
    /// To the node that the slot is moving to, this once.
    Ask(Endpoint),
    /// To the same one, or whoever is in its place, in a moment.
    Wait,
}

impl Redirect {
    /// What an answer of the node `from` means; `None` if it is no redirection.
    pub(super) fn of(error: &RedisError, from: &Endpoint) -> Option<Self> {
        let ErrorKind::Server(kind) = error.kind() else { return None };
        let to = || {
            let (address, slot) = error.redirect_node()?;
            let (host, port) = address.rsplit_once(':')?;
            Some((Slot::from_number(slot)?, Endpoint::named(host, port.parse().ok()?, from)?))
        };
        match kind {
            // Who can't say yet where it is will know soon.
            ServerErrorKind::Moved => Some(to().map_or(Self::Wait, |(slot, node)| Self::Moved(slot, node))),
            ServerErrorKind::Ask => Some(to().map_or(Self::Wait, |(_, node)| Self::Ask(node))),
            // Of several keys some are here and some there already; no majority is in sight; a failover or a start is
            // under way.
            ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::BusyLoading => Some(Self::Wait),
            _ => None,
        }
    }
}
