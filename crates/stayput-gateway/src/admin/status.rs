//! How the gateway is, as JSON.

use serde::Serialize;

use crate::control::Control;
use crate::upstream::UpstreamStatus;

#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    listen: String,
    uptime_seconds: u64,
    pools: Vec<PoolStatus>,
}

#[derive(Serialize)]
struct PoolStatus {
    name: String,
    hosts: Vec<String>,
    paths: Vec<String>,
    /// Whether all servers fail, so that they are used as if none did.
    verdicts_ignored: bool,
    upstreams: Vec<Upstream>,
}

#[derive(Serialize)]
pub(super) struct Upstream {
    name: String,
    address: String,
    /// What that stands for now; empty if it is a name that can't be resolved.
    addresses: Vec<String>,
    weight: u16,
    up: bool,
    /// Whether its check or its failures keep requests away from it.
    out: bool,
    /// `null` before the first one, or if there is none.
    check: Option<Check>,
    ejected_for_seconds: Option<u64>,
    ejections: u64,
    last_failure: Option<&'static str>,
    draining: bool,
    /// How long that goes on; `null` if there is no end to it.
    drains_for_seconds: Option<u64>,
    in_flight: u64,
    requests: u64,
    retries: u64,
    pins: u64,
    remaps: u64,
    yields: u64,
    spills: u64,
}

#[derive(Serialize)]
struct Check {
    passing: bool,
    why: Option<String>,
}

impl Status {
    pub(super) fn of(control: &Control) -> Self {
        let upstreams = control.upstreams();
        let pool = |pool: crate::config::PoolConfig| {
            let its: Vec<_> = upstreams.iter().filter(|its| *its.pool == pool.name).collect();
            PoolStatus {
                name: pool.name,
                hosts: pool.hosts,
                paths: pool.paths,
                verdicts_ignored: its.iter().any(|its| its.are_verdicts_ignored),
                upstreams: its.into_iter().map(Upstream::of).collect(),
            }
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            listen: control.local_addr().to_string(),
            uptime_seconds: control.uptime().as_secs(),
            pools: control.config().pools.into_iter().map(pool).collect(),
        }
    }
}

impl Upstream {
    pub(super) fn named(control: &Control, pool: &str, name: &str) -> Option<Self> {
        let upstreams = control.upstreams();
        upstreams.iter().find(|its| *its.pool == *pool && *its.name == *name).map(Self::of)
    }

    fn of(status: &UpstreamStatus) -> Self {
        Self {
            name: status.name.to_string(),
            address: status.address.to_string(),
            addresses: status.addresses.iter().map(ToString::to_string).collect(),
            weight: status.weight,
            up: !status.is_down,
            out: status.is_out,
            check: status
                .check
                .as_ref()
                .map(|check| Check { passing: check.is_passing, why: check.why.clone() }),
            ejected_for_seconds: status.ejected_for.map(|left| left.as_secs()),
            ejections: status.ejections,
            last_failure: status.last_failure,
            draining: status.is_draining,
            drains_for_seconds: status.drains_for.map(|left| left.as_secs()),
            in_flight: status.in_flight,
            requests: status.requests,
            retries: status.retries,
            pins: status.pins,
            remaps: status.remaps,
            yields: status.yields,
            spills: status.spills,
        }
    }
}
