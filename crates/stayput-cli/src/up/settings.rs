//! What `up` was asked for: the configuration, with the command line going before it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::PathBuf;

use stayput::Policy;
use stayput_gateway::{SiteConfig, UpstreamAddress, UpstreamConfig};
use stayput_stores::StoreUrl;

use crate::cli::{ReachedBy, SampleServerArgs, UpArgs};
use crate::config::{AdminListen, Config, GatewayConfig, PoolSettings};
use crate::data_dir::DataDir;
use crate::failure::Failure;

/// Everything that `up` needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) data_dir: PathBuf,
    pub(crate) store: StoreUrl,
    pub(crate) gateway: GatewayConfig,
    pub(crate) admin: AdminListen,
    pub(crate) policy: Policy,
    /// With the user's servers; none stands for sample servers.
    pools: Vec<PoolSettings>,
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
        let pools = pools(args.upstream, config.pools, &gateway.affinity_cookie)?;
        if !pools.is_empty() && args.sample_servers.is_some() {
            return Err(Failure::usage("--sample-servers makes no sense beside servers of your own")
                .way_out("leave it out, or use a configuration without [[pool]]"));
        }
        let samples = args.sample_servers.unwrap_or(3);
        if pools.is_empty() && samples > 1 && !store.is_shared() {
            return Err(Failure::usage(format!("{samples} sample servers can't share the store memory:"))
                .way_out("use --sample-servers 1, or a store that is shared, such as sqlite:sessions.db"));
        }
        let (policy, admin) = (config.policy, args.admin.unwrap_or(config.admin));
        Ok(Self { config_file: args.config, data_dir, store, gateway, admin, policy, pools, samples })
    }

    /// Whether there are no servers of the user's own.
    pub(crate) fn runs_samples(&self) -> bool {
        self.pools.is_empty()
    }

    /// The settings that differ from those of `started` and take a restart.
    pub(crate) fn needs_restart_after(&self, started: &Self) -> Vec<String> {
        let (new, old) = (&self.gateway, &started.gateway);
        let all = [
            ("gateway.listen", new.listen != old.listen),
            ("gateway.workers", new.workers != old.workers),
            ("gateway.access_log", new.access_log != old.access_log),
            ("admin.listen", self.admin != started.admin),
            ("data_dir", self.data_dir != started.data_dir),
            ("store.url", self.store != started.store),
            ("policy (of the sample servers)", self.runs_samples() && self.policy != started.policy),
        ];
        all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect()
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

    /// Where sample servers are to listen: on free ports.
    pub(crate) fn samples(&self) -> Result<Vec<UpstreamConfig>, Failure> {
        let mut ports = FreePorts::after(self.gateway.listen.port());
        let sample = |number| Ok(UpstreamConfig::new(format!("sample-{number}"), ports.next()?.into()));
        (1..=self.samples).map(sample).collect()
    }

    /// What the gateway serves: the user's servers or, if there are none, these sample servers.
    pub(crate) fn site(&self, samples: &[UpstreamConfig]) -> SiteConfig {
        let cookie = &self.policy.cookie;
        let sessions = [cookie.session_name(), cookie.anonymous_name()];
        let pool = |pool: &PoolSettings| pool.pool(self.secure_cookies(), &sessions);
        let of_samples = || PoolSettings::new(&self.gateway.affinity_cookie).of(samples.to_vec());
        let pools = match self.pools.as_slice() {
            [] => vec![pool(&of_samples())],
            pools => pools.iter().map(pool).collect(),
        };
        let GatewayConfig {
            behind_tls,
            trusted_proxies,
            identity_headers,
            request_ids,
            resolve,
            limits,
            timeouts,
            ..
        } = self.gateway.clone();
        SiteConfig {
            pools,
            behind_tls,
            trusted_proxies,
            identity_headers,
            request_ids,
            resolve,
            limits,
            timeouts,
        }
    }

    /// The servers of the user's own.
    pub(crate) fn own_servers(&self) -> impl Iterator<Item = &UpstreamConfig> {
        self.pools.iter().flat_map(|pool| &pool.upstreams)
    }

    /// What a sample server is started with.
    pub(crate) fn sample(&self, upstream: &UpstreamConfig) -> SampleServerArgs {
        SampleServerArgs {
            name: upstream.name.clone(),
            listen: upstream.address.socket().expect("sample servers are on this machine"),
            or_any_port: true,
            store: self.store.clone().into(),
            data_dir: self.data_dir.clone(),
            config: self.config_file.clone(),
            reached_by: self.reached_by(),
        }
    }
}

/// The configured pools; servers named by flags take the place of those in the only one.
fn pools(
    flags: Vec<UpstreamAddress>,
    mut configured: Vec<PoolSettings>,
    affinity_cookie: &str,
) -> Result<Vec<PoolSettings>, Failure> {
    if flags.is_empty() {
        return Ok(configured);
    }
    if configured.len() > 1 {
        return Err(Failure::usage("--upstream does not say which of the configured pools it is for")
            .way_out("name the server in its [[pool]], or use a configuration with one pool"));
    }
    let mut servers: Vec<UpstreamConfig> = Vec::new();
    for address in flags {
        if servers.iter().any(|server| server.address == address) {
            return Err(Failure::usage(format!("--upstream {address} is there twice")));
        }
        servers.push(UpstreamConfig::new(address.to_string(), address));
    }
    let pool = configured.pop().unwrap_or_else(|| PoolSettings::new(affinity_cookie));
    Ok(vec![pool.of(servers)])
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
