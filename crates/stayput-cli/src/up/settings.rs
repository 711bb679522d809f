//! What `up` was asked for: the configuration, with the command line going before it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::PathBuf;

use stayput::Policy;
use stayput_gateway::{PoolConfig, UpstreamConfig};
use stayput_stores::StoreUrl;

use crate::cli::{ReachedBy, SampleServerArgs, UpArgs};
use crate::config::{Config, GatewayConfig, PoolSettings};
use crate::data_dir::DataDir;
use crate::failure::Failure;

/// Everything that `up` needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) data_dir: PathBuf,
    pub(crate) store: StoreUrl,
    pub(crate) gateway: GatewayConfig,
    pub(crate) policy: Policy,
    pool: PoolSettings,
    own_servers: Vec<UpstreamConfig>,
    samples: u8,
}

impl Settings {
    pub(crate) fn from_args(args: UpArgs) -> Result<Self, Failure> {
        let config = Config::load(args.config.as_deref())?;
        let mut gateway = config.gateway;
        gateway.listen = args.listen.unwrap_or(gateway.listen);
        let data_dir = args.data_dir.unwrap_or(config.data_dir);
        let named = args.store.map(|store| store.url()).transpose()?;
        let store = named.or(config.store).unwrap_or_else(|| DataDir::store_url(&data_dir));
        let own_servers = own_servers(args.upstream, &config.pool.upstreams)?;
        if !own_servers.is_empty() && args.sample_servers.is_some() {
            return Err(Failure::usage("--sample-servers makes no sense beside servers of your own")
                .way_out("leave it out, or use a configuration without [[pool]]"));
        }
        let samples = args.sample_servers.unwrap_or(3);
        if own_servers.is_empty() && samples > 1 && !store.is_shared() {
            return Err(Failure::usage(format!("{samples} sample servers can't share the store memory:"))
                .way_out("use --sample-servers 1, or a store that is shared, such as sqlite:sessions.db"));
        }
        let (policy, pool) = (config.policy, config.pool);
        Ok(Self { config_file: args.config, data_dir, store, gateway, policy, pool, own_servers, samples })
    }

    /// Whether there are no servers of the user's own.
    pub(crate) fn runs_samples(&self) -> bool {
        self.own_servers.is_empty()
    }

    /// Whether cookies are for https.
    pub(crate) fn secure_cookies(&self) -> bool {
        self.reached_by() != ReachedBy::Loopback
    }

    pub(crate) fn reached_by(&self) -> ReachedBy {
        match (self.gateway.behind_tls, self.gateway.is_plain_loopback()) {
            (true, _) => ReachedBy::Https,
            (false, true) => ReachedBy::Loopback,
            (false, false) => ReachedBy::PlainHttp,
        }
    }

    /// The servers behind the gateway: the user's, or samples on free ports.
    pub(crate) fn upstreams(&self) -> Result<Vec<UpstreamConfig>, Failure> {
        if !self.runs_samples() {
            return Ok(self.own_servers.clone());
        }
        let mut ports = FreePorts::after(self.gateway.listen.port());
        let sample = |number| Ok(UpstreamConfig::new(format!("sample-{number}"), ports.next()?));
        (1..=self.samples).map(sample).collect()
    }

    /// The pool of these servers.
    pub(crate) fn pool(&self, upstreams: Vec<UpstreamConfig>, cookie_name: &str) -> PoolConfig {
        let cookie = &self.policy.cookie;
        let sessions = [cookie.session_name(), cookie.anonymous_name()];
        self.pool.pool(upstreams, cookie_name, self.secure_cookies(), &sessions)
    }

    /// The servers of the user's own.
    pub(crate) fn own_servers(&self) -> &[UpstreamConfig] {
        &self.own_servers
    }

    /// What a sample server is started with.
    pub(crate) fn sample(&self, upstream: &UpstreamConfig) -> SampleServerArgs {
        SampleServerArgs {
            name: upstream.name.clone(),
            listen: upstream.address,
            or_any_port: true,
            store: self.store.clone().into(),
            data_dir: self.data_dir.clone(),
            config: self.config_file.clone(),
            reached_by: self.reached_by(),
        }
    }
}

fn own_servers(
    flags: Vec<SocketAddr>,
    configured: &[UpstreamConfig],
) -> Result<Vec<UpstreamConfig>, Failure> {
    if flags.is_empty() {
        return Ok(configured.to_vec());
    }
    let mut servers: Vec<UpstreamConfig> = Vec::new();
    for address in flags {
        if servers.iter().any(|server| server.address == address) {
            return Err(Failure::usage(format!("--upstream {address} is there twice")));
        }
        servers.push(UpstreamConfig::new(address.to_string(), address));
    }
    Ok(servers)
}

/// Free ports for sample servers: those behind the gateway's if possible, where a person looks for them. They are also
/// below the range from which the system takes ports for connections, so that one comes free for its server again.
struct FreePorts {
    wanted: Range<u16>,
    held: Vec<TcpListener>,
}

impl FreePorts {
    fn after(port: u16) -> Self {
        let first = if port == 0 { u16::MAX } else { port.saturating_add(1) };
        Self { wanted: first..first.saturating_add(100), held: Vec::new() }
    }

    fn next(&mut self) -> Result<SocketAddr, Failure> {
        let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = match self.wanted.find_map(|port| bind(port).ok()) {
            Some(listener) => Ok(listener),
            None => bind(0),
        };
        let failed = |error| Failure::other("found no free port for a sample server").because(error);
        let address = listener.and_then(|listener| {
            let address = listener.local_addr()?;
            // Held until all are found, so that none is found twice.
            self.held.push(listener);
            Ok(address)
        });
        address.map_err(failed)
    }
}
