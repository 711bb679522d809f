//! What a reload takes back of the changes made since the one before.

use std::collections::BTreeSet;
use std::fmt;

use crate::config::{SiteConfig, UpstreamConfig};

/// A change of an upstream that a reload has undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// The name of the pool.
    pub pool: String,
    /// The name of the upstream.
    pub upstream: String,
    /// What has become of it.
    pub now: Undoing,
}

/// What becomes of an upstream whose change is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undoing {
    /// It had been added, and is gone.
    Gone,
    /// It had been removed, and is back.
    Back,
    /// It had another address or weight.
    Changed,
}

impl fmt::Display for Undone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, upstream, now } = self;
        write!(f, "the upstream {upstream:?} of the pool {pool:?} ")?;
        f.write_str(match now {
            Undoing::Gone => "had been added, and is gone",
            Undoing::Back => "had been removed, and is back",
            Undoing::Changed => "had another address or weight, and is as the configuration says",
        })
    }
}

/// What was changed from `base` to `latest` and isn't so in `new`.
pub(super) fn between(base: &SiteConfig, latest: &SiteConfig, new: &SiteConfig) -> Vec<Undone> {
    let mut all = Vec::new();
    for pool in &latest.pools {
        let before = base.pools.iter().filter(|its| its.name == pool.name);
        let upstreams = before.flat_map(|pool| &pool.upstreams).chain(&pool.upstreams);
        let names: BTreeSet<_> = upstreams.map(|upstream| &upstream.name).collect();
        let undone = names.into_iter().filter_map(|name| {
            let [base, latest, new] = [base, latest, new].map(|config| find(config, &pool.name, name));
            let now = match (base, latest, new) {
                _ if base == latest || latest == new => return None,
                (_, Some(_), None) => Undoing::Gone,
                (_, None, _) => Undoing::Back,
                (_, Some(_), Some(_)) => Undoing::Changed,
            };
            Some(Undone { pool: pool.name.clone(), upstream: name.clone(), now })
        });
        all.extend(undone);
    }
    all
}

fn find<'a>(config: &'a SiteConfig, pool: &str, upstream: &str) -> Option<&'a UpstreamConfig> {
    let pool = config.pools.iter().find(|its| its.name == pool)?;
    pool.upstreams.iter().find(|its| its.name == upstream)
}
