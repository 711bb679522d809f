//! `stayput up`: the gateway, in front of the user's servers or of sample servers that are its children.
//!
//! It serves no session itself; the store is opened to check it before anybody depends on it.

mod children;
mod settings;
mod text;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use stayput::SharedKeyring;
use stayput_gateway::{AccessLog, BindError, Config, Gateway, Running, UpstreamConfig};
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::children::Children;
pub(crate) use self::settings::Settings;
use crate::config::GatewayConfig;
use crate::data_dir::{DataDir, KeyringOrigin};
use crate::failure::Failure;
use crate::sessions;

/// Runs until a signal ends it.
pub(crate) async fn run(settings: Settings) -> Result<(), Failure> {
    // First of all, so that no signal is missed.
    let (mut signals, mut hangups) = (Signals::listen()?, Hangups::listen()?);
    let data_dir = DataDir::open(&settings.data_dir)?;
    let (keyring, origin) = data_dir.keyring_or_new()?;
    // Held open to the end: it also sweeps.
    let _sessions =
        sessions::check(&settings.store, keyring.clone(), settings.policy.clone(), &data_dir.keyring_path())
            .await
            .inspect_err(|_| {
                if origin == KeyringOrigin::Made {
                    data_dir.discard_new_keyring();
                }
            })?;

    let samples = if settings.runs_samples() { settings.samples()? } else { Vec::new() };
    let mut gateway = bind(&settings, &samples, keyring.current())?;
    let url = text::url(gateway.local_addr());
    say(&text::banner(&settings, origin, &data_dir, &url));

    let mut children = Children::default();
    for sample in &samples {
        children.start(settings.sample(sample), &data_dir);
    }
    let running = tokio::select! {
        started = children.ready() => {
            started?;
            for server in children.servers() {
                gateway.locate(&server.name, server.address);
            }
            let failed = |error| Failure::other("cannot start the gateway").because(error);
            gateway.start().map_err(failed)?
        }
        () = signals.next() => {
            children.stop().await;
            return Ok(());
        }
    };
    say(&text::servers(children.servers()));
    say(&text::own_servers(&listening(settings.own_servers()).await));
    say(&format!("ready {url}\n"));
    say(&text::next_steps(&settings, &data_dir, &url, children.servers()));

    loop {
        tokio::select! {
            () = signals.next() => break,
            () = children.watch(say) => {}
            () = hangups.next() => reload(&keyring, &children),
        }
    }
    say("stopping: requests in flight finish first (Ctrl-C again to stop at once)\n");
    tokio::select! {
        () = stop(running, children) => Ok(()),
        () = signals.next() => Err(Failure::other("stopped before the requests in flight had finished")),
    }
}

/// Which of the servers accept connections.
async fn listening(servers: impl Iterator<Item = &UpstreamConfig>) -> Vec<(UpstreamConfig, bool)> {
    let mut answers = Vec::new();
    for server in servers {
        let connect = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(server.address));
        answers.push((server.clone(), matches!(connect.await, Ok(Ok(_)))));
    }
    answers
}

fn bind(
    settings: &Settings,
    samples: &[UpstreamConfig],
    keyring: Arc<stayput::Keyring>,
) -> Result<Gateway, Failure> {
    let GatewayConfig { listen, workers, access_log, .. } = settings.gateway;
    let config = Config {
        workers,
        site: settings.site(samples),
        access_log: access_log.map(|format| AccessLog { format, output: Box::new(io::stderr()) }),
        ..Config::new(listen, Vec::new())
    };
    Gateway::bind(config, keyring).map_err(|error| match error {
        BindError::Config(_) => Failure::usage("the gateway's configuration is not valid").because(error),
        _ => Failure::other("cannot start the gateway").because(error).way_out(
            "choose another address with --listen, such as --listen 127.0.0.1:8090, or free this one",
        ),
    })
}

/// Takes the keyring over as it is now, here and in the sample servers; what goes wrong is logged there. The gateway
/// honours the tags that it started with: which server a browser is on is a hint.
fn reload(keyring: &SharedKeyring, children: &Children) {
    tracing::debug!("told to look at the keyring");
    let _ = keyring.reload();
    children.reload();
}

/// The gateway first, so that every request in flight still finds its server.
async fn stop(gateway: Running, mut children: Children) {
    gateway.shutdown(DRAIN).await;
    children.stop().await;
}

/// Tells a person. That nobody listens is no reason to end.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let failed = |error| Failure::other("cannot listen for signals").because(error);
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// SIGHUP, which a service manager sends after the keyring has changed.
struct Hangups(Option<Signal>);

impl Hangups {
    /// On a terminal it means that this was closed, and ends the process as ever.
    fn listen() -> Result<Self, Failure> {
        if io::stdin().is_terminal() {
            return Ok(Self(None));
        }
        let failed = |error| Failure::other("cannot listen for signals").because(error);
        signal(SignalKind::hangup()).map(|signal| Self(Some(signal))).map_err(failed)
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// How long requests in flight may take to finish.
const DRAIN: Duration = Duration::from_secs(10);
