//! The command line.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use stayput_core::KeyId;
use stayput_gateway::UpstreamAddress;
use stayput_stores::{StoreUrl, StoreUrlError};

use crate::config;
use crate::failure::Failure;

/// Sessions that stay put while everything around them moves.
#[derive(Debug, Parser)]
#[command(name = "stayput", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 success, 2 bad usage or configuration, 1 anything else.
Set STAYPUT_LOG=info (or debug) to see what happens.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway, in front of your servers or of three sample servers.
    Up(UpArgs),
    /// See and change a gateway that runs: its servers, their weights, who drains.
    #[command(subcommand)]
    Gateway(GatewayCommand),
    /// Make, list and exchange the keys that sign cookies and seal sessions; nobody is logged out by it.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Print or check a configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// See whether a store is fit to keep sessions.
    #[command(subcommand)]
    Store(StoreCommand),
    /// One sample server, as `up` starts it.
    #[command(hide = true)]
    SampleServer(SampleServerArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Show pools and servers.
    Status {
        /// As the admin interface tells it, in JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Send a server no new clients; it keeps those that it has.
    Drain {
        #[command(flatten)]
        server: ServerArgs,
        /// How long it keeps them, such as 10m [default: for good].
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        limit: Option<Duration>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Send a server clients as ever again.
    Undrain {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Add a server, or give one another address; until a reload, unless the configuration names it, too.
    Add {
        #[command(flatten)]
        server: ServerArgs,
        /// Where it listens: an address, or a name, with a port.
        address: String,
        /// Its share of clients beside the others' weights [default: 1, or as it was].
        #[arg(long)]
        weight: Option<u16>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Take a server out of its pool: its clients go to the others at once, requests in flight finish. Drain it first to
    /// move nobody.
    Remove {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Give a server another weight; until a reload.
    Weight {
        #[command(flatten)]
        server: ServerArgs,
        /// Its share of clients beside the others' weights, 1 to 256.
        weight: u16,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Put the configuration file into effect, or say all that is wrong with it. (SIGHUP does the same.)
    Reload {
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server's name, as `status` shows it.
    pub(crate) server: String,
    /// Its pool, where that is not clear.
    #[arg(long, value_name = "NAME")]
    pub(crate) pool: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    /// Where the admin interface listens [default: as DIR/admin-address says].
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<String>,
    /// A file with the admin token [default: DIR/admin-token; the environment's `STAYPUT_ADMIN_TOKEN` goes before it].
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The gateway's data directory [default: stayput-data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The gateway's configuration file, for its `data_dir`.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the commented defaults; a file begins as a copy of them.
    Default,
    /// Report all mistakes in a file, each with its place.
    Check {
        /// The file, such as stayput.toml.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Try with sessions of its own, which end within a minute, what sessions need; measure how long it takes.
    Check {
        #[arg(value_name = "URL", env = STORE_VARIABLE, hide_env_values = true, help = STORE_URLS)]
        store: StoreArg,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Add a key: accepted, and not yet the one that signs. Makes the keyring if there is none.
    New {
        #[command(flatten)]
        keyring: KeyringArgs,
    },
    /// Show the keys, never their secrets, and the keyring's fingerprint.
    List {
        #[command(flatten)]
        keyring: KeyringArgs,
    },
    /// Make a key the one that signs, after all servers accept it.
    Promote {
        /// The key's id, as `list` shows it.
        id: KeyId,
        #[command(flatten)]
        keyring: KeyringArgs,
    },
    /// Remove a key, after whatever it signed has ended.
    Retire {
        /// The key's id, as `list` shows it.
        id: KeyId,
        /// Now, whoever may still need it: they are logged out. For keys that somebody else has got hold of.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        keyring: KeyringArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct KeyringArgs {
    /// The keyring's file [default: DIR/keyring].
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    pub(crate) keyring: Option<PathBuf>,
    /// Where keyring and embedded store are kept [default: stayput-data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file, for its `data_dir`, `store` and `absolute_timeout`.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct UpArgs {
    /// Configuration file; what the flags say goes before it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the gateway listens [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR", value_parser = config::address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Where the admin interface listens, or "off" [default: 127.0.0.1 and a free port, noted in DIR/admin-address].
    #[arg(long, value_name = "ADDR", value_parser = config::admin)]
    pub(crate) admin: Option<config::AdminListen>,
    /// Where keyring and embedded store are kept [default: stayput-data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    #[arg(long, value_name = "URL", env = STORE_VARIABLE, hide_env_values = true, help = STORE_HELP)]
    pub(crate) store: Option<StoreArg>,
    /// How many sample servers to start [default: 3].
    #[arg(long, value_name = "N", conflicts_with = "upstream", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) sample_servers: Option<u8>,
    /// A server of yours (an address, or a name, with a port) to put the gateway in front of, instead of sample servers; may be repeated.
    #[arg(long, value_name = "ADDR", value_parser = config::server)]
    pub(crate) upstream: Vec<UpstreamAddress>,
}

#[derive(Debug, Args)]
pub(crate) struct SampleServerArgs {
    /// Its name, which its answers carry.
    #[arg(long)]
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// Listen on any other port if that one is taken.
    #[arg(long)]
    pub(crate) or_any_port: bool,
    #[arg(long, env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: StoreArg,
    #[arg(long)]
    pub(crate) data_dir: PathBuf,
    /// Configuration whose policy to follow.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// How browsers reach the page.
    #[arg(long, value_enum)]
    pub(crate) reached_by: ReachedBy,
}

/// How browsers reach the gateway, which decides what cookies they keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReachedBy {
    /// Plain http on this machine: cookies without `Secure`.
    Loopback,
    /// https, by way of something that ends TLS in front.
    Https,
    /// Plain http from elsewhere: cookies are `Secure` all the same, and browsers drop them.
    PlainHttp,
}

/// A store's URL, or what is wrong with it: for us to say, since `clap` would repeat the URL and its password.
#[derive(Clone, Debug)]
pub(crate) struct StoreArg(Result<StoreUrl, StoreUrlError>);

impl StoreArg {
    pub(crate) fn url(&self) -> Result<StoreUrl, Failure> {
        self.0.clone().map_err(|error| Failure::usage("the store must be a store URL").because(error))
    }
}

impl From<StoreUrl> for StoreArg {
    fn from(url: StoreUrl) -> Self {
        Self(Ok(url))
    }
}

impl FromStr for StoreArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.parse()))
    }
}

const STORE_URLS: &str = "The store: sqlite:PATH, redis://HOST or memory:";

const STORE_HELP: &str =
    "Where sessions are kept: sqlite:PATH, redis://HOST or memory: [default: sqlite:DIR/sessions.db]";

/// Holds the admin token, where it is not to be in a file.
pub(crate) const TOKEN_VARIABLE: &str = "STAYPUT_ADMIN_TOKEN";

/// Names the store where a password must not stand on a command line, which everybody on the machine may read.
pub(crate) const STORE_VARIABLE: &str = "STAYPUT_STORE";
