//! `stayput.toml`: read into validated types, with all mistakes reported together and each at its place.
//!
//! The embedded, commented file is the defaults: a test holds the two together.

mod policy;
mod reader;
mod values;

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use stayput::Policy;
use stayput_gateway::{Limits, LogFormat, Timeouts, UpstreamConfig};
use stayput_stores::StoreUrl;
use toml::Spanned;
use toml::de::DeValue;

use self::reader::{Mistake, Reader, Section};
pub(crate) use self::values::{address, server};
use crate::failure::Failure;

/// What a configuration says.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    pub(crate) store: Option<StoreUrl>,
    pub(crate) gateway: GatewayConfig,
    pub(crate) upstreams: Vec<UpstreamConfig>,
    pub(crate) policy: Policy,
}

/// The part of it that is the gateway's.
#[derive(Clone, Debug)]
pub(crate) struct GatewayConfig {
    pub(crate) listen: std::net::SocketAddr,
    pub(crate) behind_tls: bool,
    pub(crate) workers: usize,
    pub(crate) access_log: Option<LogFormat>,
    pub(crate) affinity_cookie: String,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("stayput-data"),
            store: None,
            gateway: GatewayConfig {
                listen: std::net::SocketAddr::from(([127, 0, 0, 1], 8080)),
                behind_tls: false,
                workers: 0,
                access_log: None,
                affinity_cookie: "stayput-affinity".to_owned(),
                limits: Limits::default(),
                timeouts: Timeouts::default(),
            },
            upstreams: Vec::new(),
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
            let lines: Vec<_> =
                mistakes.iter().map(|mistake| format!("\n  {}:{mistake}", file.display())).collect();
            let count =
                if lines.len() == 1 { "a mistake".to_owned() } else { format!("{} mistakes", lines.len()) };
            Failure::usage(format!("{} has {count}{}", file.display(), lines.concat()))
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
        if let Some(pools) = root.take("pool") {
            config.upstreams = read_pools(&mut reader, pools);
        }
        let mut store = root.section(&mut reader, "store");
        store.read(&mut reader, "url", &mut config.store, |value| values::store_url(value).map(Some));
        store.finish(&mut reader);
        let policy = root.section(&mut reader, "policy");
        config.policy = policy::read(&mut reader, policy, config.gateway.is_plain_loopback());
        let cookie = &config.policy.cookie;
        let names = [cookie.session_name(), cookie.anonymous_name()];
        if names.iter().any(|name| policy::without_prefix(name) == config.gateway.affinity_cookie) {
            reader.mistake(affinity_cookie, "`gateway.affinity_cookie` is the name of a session cookie");
        }
        root.finish(&mut reader);
        let mistakes = reader.finish();
        if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
    }
}

impl GatewayConfig {
    /// Gives the place of the affinity cookie's name.
    fn read<'i>(&mut self, reader: &mut Reader<'i>, mut section: Section<'i>) -> Range<usize> {
        section.read(reader, "listen", &mut self.listen, values::listen);
        section.read(reader, "behind_tls", &mut self.behind_tls, values::boolean);
        section.read(reader, "workers", &mut self.workers, values::within(0, 1024));
        section.read(reader, "access_log", &mut self.access_log, values::access_log);
        let place = section.read(reader, "affinity_cookie", &mut self.affinity_cookie, |value| {
            let name = values::string(value)?;
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            let fine = !name.is_empty() && !name.starts_with("__") && name.bytes().all(token);
            if fine {
                Ok(name)
            } else {
                Err("a name of letters, digits and -._ that does not begin with __".to_owned())
            }
        });

        let mut limits = section.section(reader, "limits");
        limits.read(reader, "connections", &mut self.limits.connections, values::within(1, 1_000_000));
        limits.read(
            reader,
            "head_bytes",
            &mut self.limits.head_bytes,
            values::within(1024, 16 * 1024 * 1024),
        );
        limits.finish(reader);

        let mut timeouts = section.section(reader, "timeouts");
        for (key, target) in [
            ("head", &mut self.timeouts.head),
            ("keep_alive", &mut self.timeouts.keep_alive),
            ("body", &mut self.timeouts.body),
            ("connect", &mut self.timeouts.connect),
            ("answer", &mut self.timeouts.answer),
        ] {
            timeouts.read(reader, key, target, values::some_duration);
        }
        timeouts.finish(reader);
        section.finish(reader);
        place
    }

    /// Whether browsers reach the gateway by plain http on their own machine.
    pub(crate) fn is_plain_loopback(&self) -> bool {
        self.listen.ip().is_loopback() && !self.behind_tls
    }
}

fn read_pools<'i>(reader: &mut Reader<'i>, pools: Spanned<DeValue<'i>>) -> Vec<UpstreamConfig> {
    let place = pools.span();
    let DeValue::Array(pools) = pools.into_inner() else {
        reader.mistake(place, "a pool is written [[pool]], with double brackets");
        return Vec::new();
    };
    let mut upstreams = Vec::new();
    for (index, pool) in pools.into_iter().enumerate() {
        let place = pool.span();
        if index > 0 {
            reader.mistake(place, "this version serves one pool; several by host and path are to come");
            continue;
        }
        let DeValue::Table(mut pool) = pool.into_inner() else {
            reader.mistake(place, "a pool is written [[pool]], with double brackets");
            continue;
        };
        match pool.remove("upstreams") {
            Some(list) => upstreams = read_upstreams(reader, list),
            None => reader.mistake(place, "a pool needs `upstreams`, a list of addresses"),
        }
        for key in pool.keys() {
            reader.mistake(key.span(), format!("no setting is called `pool.{}`", key.get_ref()));
        }
    }
    upstreams
}

fn read_upstreams<'i>(reader: &mut Reader<'i>, list: Spanned<DeValue<'i>>) -> Vec<UpstreamConfig> {
    let place = list.span();
    let items = match list.into_inner() {
        DeValue::Array(items) if items.iter().next().is_some() => items,
        _ => {
            reader.mistake(place, "`pool.upstreams` must be a list of at least one address");
            return Vec::new();
        }
    };
    let mut upstreams: Vec<UpstreamConfig> = Vec::new();
    for item in items {
        let place = item.span();
        match read_upstream(item.get_ref()) {
            Err(message) => reader.mistake(place, message),
            Ok(upstream) if upstreams.iter().any(|earlier| earlier.name == upstream.name) => {
                reader.mistake(place, format!("two upstreams are named {:?}", upstream.name));
            }
            Ok(upstream) => upstreams.push(upstream),
        }
    }
    upstreams
}

fn read_upstream(item: &DeValue<'_>) -> Result<UpstreamConfig, String> {
    let server =
        |text: &str| values::server(text).map_err(|expected| format!("an upstream must be {expected}"));
    let Some(table) = item.as_table() else {
        let address = server(item.as_str().unwrap_or_default())?;
        return Ok(UpstreamConfig { name: address.to_string(), address });
    };
    if let Some(key) = table.keys().find(|key| !["name", "address"].contains(&key.get_ref().as_ref())) {
        return Err(format!("an upstream has `name` and `address`, but no `{}`", key.get_ref()));
    }
    let text = |key| table.get(key).and_then(|value| value.get_ref().as_str()).unwrap_or_default();
    let (name, address) = (text("name"), server(text("address"))?);
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err("an upstream's `name` must be a text of at least one character".to_owned());
    }
    Ok(UpstreamConfig { name: name.to_owned(), address })
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
    let servers = match config.upstreams.len() {
        0 => "sample servers".to_owned(),
        1 => "1 upstream".to_owned(),
        count => format!("{count} upstreams"),
    };
    println!("{} is fine: gateway on {} in front of {servers}", file.display(), config.gateway.listen);
    Ok(())
}

const DEFAULT: &str = include_str!("config/stayput.toml");

#[cfg(test)]
mod tests;
