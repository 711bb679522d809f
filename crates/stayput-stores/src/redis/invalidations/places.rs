//! Where there is something to listen to: wherever the store's calls go, and nowhere else.
//!
//! It finds nothing out by itself: who is master or has which slots is what calls go by, too. So nothing was ever read from a
//! server that isn't listened to without this showing.

use redis::{Cmd, Value};

use crate::redis::cluster::{Layout, Watched, question};
use crate::redis::config::{Address, RedisConfig};
use crate::redis::connector::Following;
use crate::redis::sentinel::is_master;
use crate::redis::servers::Servers;
use crate::redis::tls::Tls;

pub(super) enum Places {
    One(Following),
    Cluster(Watched),
}

/// The servers at one point in time.
pub(super) struct Found {
    pub(super) servers: Vec<RedisConfig>,
    layout: Option<Layout>,
}

impl Places {
    pub(super) fn of(servers: &Servers) -> Self {
        match servers {
            Servers::One(connector) => Self::One(connector.follow()),
            Servers::Cluster(cluster) => Self::Cluster(cluster.watch()),
        }
    }

    /// The servers of the moment, if they are known.
    pub(super) fn find(&mut self) -> Option<Found> {
        match self {
            Self::One(following) => {
                following.server().map(|server| Found { servers: vec![server], layout: None })
            }
            Self::Cluster(watched) => {
                let (layout, servers) = watched.layout()?;
                Some(Found { servers, layout: Some(layout) })
            }
        }
    }

    /// Whether calls go nowhere else than they did then.
    pub(super) fn is_still(&self, found: &Found) -> bool {
        match (self, &found.layout) {
            (Self::One(following), _) => following.server().is_none_or(|server| found.has(&server.address)),
            (Self::Cluster(watched), Some(layout)) => watched.is_still(layout),
            (Self::Cluster(_), None) => false,
        }
    }

    /// Returns when something may have changed; `false` if nothing will any more, since the store is gone.
    pub(super) async fn changed(&mut self) -> bool {
        match self {
            Self::One(following) => following.changed().await,
            Self::Cluster(watched) => watched.changed().await,
        }
    }

    /// Whether the store is gone.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::One(following) => following.is_over(),
            Self::Cluster(watched) => watched.is_over(),
        }
    }

    /// Whoever answers this rightly is there, has told everything up to then, and is what it was when it was found.
    pub(super) fn question(&self) -> Cmd {
        match self {
            Self::One(following) if is_service(following) => redis::cmd("ROLE"),
            Self::One(_) => redis::cmd("PING"),
            Self::Cluster(_) => question(),
        }
    }

    /// Whether that is the right answer of the server at this address. A master that was replaced goes on telling, but late; and
    /// a node of a cluster that is cut off from the others may not know yet that it was replaced, but they do.
    pub(super) fn is_right(&self, found: &Found, address: &Address, answer: &Value) -> bool {
        match (self, &found.layout) {
            (_, Some(layout)) => layout.is_seen_by(address, answer),
            (Self::One(following), None) => !is_service(following) || is_master(answer),
            (Self::Cluster(_), None) => false,
        }
    }

    pub(super) fn tls(&self) -> Option<Tls> {
        match self {
            Self::One(following) => following.tls.clone(),
            Self::Cluster(watched) => watched.tls(),
        }
    }

    /// Has the client find out where its calls are to go, if it is the one who does.
    pub(super) fn doubt(&self) {
        if let Self::Cluster(watched) = self {
            watched.doubt();
        }
    }
}

fn is_service(following: &Following) -> bool {
    matches!(following.config.address, Address::Service(_))
}

impl Found {
    pub(super) fn has(&self, address: &Address) -> bool {
        self.servers.iter().any(|server| server.address == *address)
    }
}
