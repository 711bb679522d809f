//! A gateway under test.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use stayput_core::{Keyring, SystemRandom};
use stayput_gateway::{Config, Control, Gateway, Running, UpstreamConfig, UpstreamStatus};

use super::{Answer, Client, Upstream, localhost};

/// A gateway with one worker in front of upstreams named `s0`, `s1`, ….
pub(crate) struct TestGateway {
    running: Option<Running>,
    pub(crate) address: SocketAddr,
    /// The keys of its keyring, the primary first.
    keys: Vec<String>,
}

impl TestGateway {
    pub(crate) fn new(upstreams: &[&Upstream]) -> Self {
        Self::with(upstreams, |_| {})
    }

    pub(crate) fn with(upstreams: &[&Upstream], configure: impl FnOnce(&mut Config)) -> Self {
        let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
        Self::at(&addresses, configure)
    }

    pub(crate) fn at(addresses: &[SocketAddr], configure: impl FnOnce(&mut Config)) -> Self {
        let keys = [(); 2].map(|()| Keyring::generate(&SystemRandom).danger_to_text());
        Self::with_keys(keys.into(), named(addresses), configure)
    }

    /// Another one with the same keyring, which has these upstreams.
    pub(crate) fn sibling(
        &self,
        upstreams: Vec<UpstreamConfig>,
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        Self::with_keys(self.keys.clone(), upstreams, configure)
    }

    fn with_keys(
        keys: Vec<String>,
        upstreams: Vec<UpstreamConfig>,
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::new(localhost(), upstreams);
        config.workers = 1;
        configure(&mut config);
        let keyring = Keyring::parse(&keys.concat()).unwrap();
        let running = Gateway::bind(config, keyring).unwrap().start().unwrap();
        Self { address: running.local_addr(), running: Some(running), keys }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    pub(crate) fn ask(&self, request: &str) -> Answer {
        let mut client = self.connect();
        client.send(request);
        client.answer()
    }

    /// `GET /` with these further field lines.
    pub(crate) fn get(&self, fields: &str) -> Answer {
        self.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    }

    pub(crate) fn control(&self) -> &Control {
        self.running.as_ref().unwrap().control()
    }

    /// A keyring like its own.
    pub(crate) fn keyring(&self) -> Keyring {
        Keyring::parse(&self.keys.concat()).unwrap()
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn status(&self, index: usize) -> UpstreamStatus {
        self.running.as_ref().unwrap().upstreams().swap_remove(index)
    }

    /// The affinity cookie for an upstream, as a field line.
    pub(crate) fn cookie(&self, name: &str) -> String {
        Self::cookie_under(self.keys.clone(), name)
    }

    /// The affinity cookie that it would have been when the older key was the primary one.
    pub(crate) fn old_cookie(&self, name: &str) -> String {
        Self::cookie_under(self.keys[1..].into(), name)
    }

    /// What a gateway says that knows no other upstream.
    fn cookie_under(keys: Vec<String>, name: &str) -> String {
        let upstream = Upstream::ok();
        let upstreams = vec![UpstreamConfig::new(name, upstream.address.into())];
        Self::with_keys(keys, upstreams, |_| {}).get("").set_cookie().unwrap()
    }

    /// Shuts down in the background.
    pub(crate) fn shut_down(mut self, grace: Duration) -> thread::JoinHandle<()> {
        let running = self.running.take().unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(running.shutdown(grace));
        })
    }
}

pub(crate) fn named(addresses: &[SocketAddr]) -> Vec<UpstreamConfig> {
    let named =
        |(index, &address): (usize, &SocketAddr)| UpstreamConfig::new(format!("s{index}"), address.into());
    addresses.iter().enumerate().map(named).collect()
}
