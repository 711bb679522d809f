//! `[gateway]`: where it listens, what it allows, how long it waits. What is a pool's own is in `pool`.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use ipnet::IpNet;
use stayput_gateway::{Limits, LogFormat, RequestIds, SiteConfig, Timeouts};

use super::reader::{Reader, Section};
use super::values;

/// What the file says of the gateway.
#[derive(Clone, Debug)]
pub(crate) struct GatewayConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) behind_tls: bool,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) identity_headers: Vec<String>,
    pub(crate) request_ids: RequestIds,
    /// How often servers' names are looked up.
    pub(crate) resolve: Duration,
    pub(crate) workers: usize,
    pub(crate) access_log: Option<LogFormat>,
    pub(crate) affinity_cookie: String,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            behind_tls: false,
            trusted_proxies: Vec::new(),
            identity_headers: SiteConfig::IDENTITY_HEADERS.map(str::to_owned).into(),
            request_ids: RequestIds::default(),
            resolve: Duration::from_secs(10),
            workers: 0,
            access_log: None,
            affinity_cookie: "stayput-affinity".to_owned(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}

impl GatewayConfig {
    /// Gives the place of the affinity cookie's name.
    pub(super) fn read<'i>(&mut self, reader: &mut Reader<'i>, mut section: Section<'i>) -> Range<usize> {
        section.read(reader, "listen", &mut self.listen, values::listen);
        section.read(reader, "behind_tls", &mut self.behind_tls, values::boolean);
        section.read(reader, "trusted_proxies", &mut self.trusted_proxies, values::networks);
        section.read(reader, "identity_headers", &mut self.identity_headers, values::field_names);
        section.read(reader, "request_id", &mut self.request_ids, values::request_ids);
        section.read(reader, "resolve", &mut self.resolve, values::some_duration);
        section.read(reader, "workers", &mut self.workers, values::within(0, 1024));
        section.read(reader, "access_log", &mut self.access_log, values::access_log);
        let place =
            section.read(reader, "affinity_cookie", &mut self.affinity_cookie, values::affinity_cookie);

        let mut limits = section.section(reader, "limits");
        limits.read(reader, "connections", &mut self.limits.connections, values::within(1, 1_000_000));
        limits.read(
            reader,
            "head_bytes",
            &mut self.limits.head_bytes,
            values::within(1024, 16 * 1024 * 1024),
        );
        limits.read(reader, "body_bytes", &mut self.limits.body_bytes, values::body_bytes);
        limits.read(reader, "retry_percent", &mut self.limits.retry_percent, values::whole(100));
        limits.read(reader, "retry_savings", &mut self.limits.retry_savings, values::whole(1_000_000));
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
