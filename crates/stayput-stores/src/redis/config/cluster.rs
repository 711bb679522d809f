//! URLs with several servers: `redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT?…`.

use std::fmt;

use url::Url;

use super::{Address, RedisConfig, RedisUrlError, over_tcp};

/// Where a node of a cluster listens.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(in crate::redis) struct Endpoint {
    pub(in crate::redis) host: String,
    pub(in crate::redis) port: u16,
}

impl Endpoint {
    /// As the node `from` names another one, or itself: without a host it is on that node's; `?` is for one that it can't name.
    pub(in crate::redis) fn named(host: &str, port: u16, from: &Self) -> Option<Self> {
        match host {
            "?" => None,
            "" => Some(Self { host: from.host.clone(), port }),
            host => Some(Self { host: host.to_owned(), port }),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}

/// Reads what stands behind `redis+cluster://`, or with TLS behind `rediss+cluster://`: the first host's URL as if it were alone,
/// then the others.
pub(super) fn over_cluster(scheme: &str, rest: &str) -> Result<RedisConfig, RedisUrlError> {
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (login, hosts) = authority.rsplit_once('@').map_or(("", authority), |(login, hosts)| (login, hosts));
    let at = if login.is_empty() { "" } else { "@" };
    let (first, others) =
        hosts.split_once(',').map_or((hosts, None), |(first, others)| (first, Some(others)));
    let url = parsed(&format!("{scheme}://{login}{at}{first}{tail}"))?;
    let mut config = over_tcp(&url)?;
    if config.database != 0 {
        return Err(RedisUrlError::ClusterDatabase);
    }
    let mut seeds = vec![seed(&config)?];
    for host in others.into_iter().flat_map(|others| others.split(',')) {
        let alone = parsed(&format!("{scheme}://{host}"))?;
        seeds.push(seed(&over_tcp(&alone)?)?);
    }
    config.address = Address::Cluster(seeds);
    config.take_query(&url)?;
    Ok(config)
}

fn parsed(url: &str) -> Result<Url, RedisUrlError> {
    Url::parse(url).map_err(|_| RedisUrlError::Malformed)
}

fn seed(config: &RedisConfig) -> Result<Endpoint, RedisUrlError> {
    match &config.address {
        Address::Tcp { host, port } => Ok(Endpoint { host: host.clone(), port: *port }),
        _ => Err(RedisUrlError::NoHost),
    }
}
