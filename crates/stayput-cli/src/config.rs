//! `stayput.toml`: read into validated types, with all mistakes reported together and each at its place.
//!
//! The embedded, commented file is the defaults: a test holds the two together.

mod gateway;
mod policy;
mod pool;
mod reader;
mod values;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use stayput::Policy;
use stayput_stores::StoreUrl;

pub(crate) use self::gateway::GatewayConfig;
pub(crate) use self::pool::PoolSettings;
use self::reader::{Mistake, Reader};
pub(crate) use self::values::{AdminListen, address, admin, server};
use crate::failure::Failure;

/// What a configuration says.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    pub(crate) store: Option<StoreUrl>,
    pub(crate) gateway: GatewayConfig,
    pub(crate) admin: AdminListen,
    /// None: sample servers are to be started.
    pub(crate) pools: Vec<PoolSettings>,
    pub(crate) policy: Policy,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("stayput-data"),
            store: None,
            gateway: GatewayConfig::default(),
            admin: AdminListen::default(),
            pools: Vec::new(),
            policy: Policy::web(),
        }
    }
}

impl Config {
    /// Reads a file, if there is one to read.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, Failure> {
        let Some(file) = file else { return Ok(Self::default()) };
        let text = fs::read_to_string(file).map_err(|error| {
            Failure::usage(format!("cannot read the configuration {}", file.display()))
                .because(error)
                .way_out("`stayput config default` prints one to begin with")
        })?;
        Self::parse(&text).map_err(|mistakes| {
            let list: Vec<_> =
                mistakes.iter().map(|mistake| format!("{}:{mistake}", file.display())).collect();
            let count =
                if list.len() == 1 { "a mistake".to_owned() } else { format!("{} mistakes", list.len()) };
            Failure::usage(format!("{} has {count}", file.display()))
                .listing(list)
                .way_out("`stayput config default` prints every setting with its meaning")
        })
    }

    fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let mut config = Self::default();
        let (mut reader, mut root) = Reader::open(text);
        root.read(&mut reader, "data_dir", &mut config.data_dir, |value| {
            values::string(value).map(PathBuf::from)
        });
        let gateway = root.section(&mut reader, "gateway");
        let affinity_cookie = config.gateway.read(&mut reader, gateway);
        let mut admin = root.section(&mut reader, "admin");
        admin.read(&mut reader, "listen", &mut config.admin, values::admin_listen);
        admin.finish(&mut reader);
        let pools = root.take("pool");
        let mut store = root.section(&mut reader, "store");
        store.read(&mut reader, "url", &mut config.store, |value| values::store_url(value).map(Some));
        store.finish(&mut reader);
        let policy = root.section(&mut reader, "policy");
        config.policy = policy::read(&mut reader, policy, config.gateway.is_plain_loopback());
        let pools = pools.map(|pools| pool::read(&mut reader, pools, &config.gateway.affinity_cookie));
        let pools = pools.unwrap_or_default();
        let cookie = &config.policy.cookie;
        let names = [cookie.session_name(), cookie.anonymous_name()];
        let is_sessions = |own: &String| names.iter().any(|name| policy::without_prefix(name) == own);
        if is_sessions(&config.gateway.affinity_cookie) {
            reader.mistake(affinity_cookie, "`gateway.affinity_cookie` is the name of a session cookie");
        }
        for (pool, places) in pools.iter().filter(|(pool, _)| pool.cookie != config.gateway.affinity_cookie) {
            if is_sessions(&pool.cookie) {
                reader.mistake(places.cookie.clone(), "the affinity cookie has the name of a session cookie");
            }
        }
        config.pools = pools.into_iter().map(|(pool, _)| pool).collect();
        root.finish(&mut reader);
        let mistakes = reader.finish();
        if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
    }
}

/// `stayput config default`
pub(crate) fn print_default() -> Result<(), Failure> {
    std::io::stdout()
        .write_all(DEFAULT.as_bytes())
        .map_err(|error| Failure::other("cannot write to standard output").because(error))
}

/// `stayput config check FILE`
pub(crate) fn check(file: &Path) -> Result<(), Failure> {
    let config = Config::load(Some(file))?;
    let count = |count, thing: &str| format!("{count} {thing}{}", if count == 1 { "" } else { "s" });
    let upstreams = config.pools.iter().map(|pool| pool.upstreams.len()).sum();
    let servers = match config.pools.len() {
        0 => "sample servers".to_owned(),
        1 => count(upstreams, "upstream"),
        pools => format!("{} in {}", count(upstreams, "upstream"), count(pools, "pool")),
    };
    println!("{} is fine: gateway on {} in front of {servers}", file.display(), config.gateway.listen);
    Ok(())
}

const DEFAULT: &str = include_str!("config/stayput.toml");

#[cfg(test)]
mod tests;
