//! `stayput up`: the gateway, in front of the user's servers or of sample servers that are its children.
//!
//! It serves no session itself; the store is opened to check it before anybody depends on it.

mod admin;
mod children;
mod reload;
mod settings;
mod text;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use stayput_gateway::{AccessLog, AdminConfig, BindError, Config, Control, Gateway, Running, UpstreamConfig};
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

pub(crate) use self::admin::Note;
use self::children::{Children, Server};
use self::reload::Reloader;
pub(crate) use self::settings::Settings;
use crate::cli::UpArgs;
use crate::config::GatewayConfig;
use crate::data_dir::{DataDir, KeyringOrigin};
use crate::failure::Failure;
use crate::sessions;

/// Runs until a signal ends it.
pub(crate) async fn run(args: UpArgs) -> Result<(), Failure> {
    let settings = Settings::from_args(args.clone())?;
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
    let reloader = Arc::new(Reloader::new(args, settings.clone(), keyring.clone()));
    let mut gateway = bind(&settings, &samples, admin(&settings, &data_dir, &reloader)?, keyring.current())?;
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
            let at = |server: &Server| UpstreamConfig::new(&server.name, server.address.into());
            reloader.samples_are(children.servers().iter().map(at).collect());
            let failed = |error| Failure::other("cannot start the gateway").because(error);
            gateway.start().map_err(failed)?
        }
        () = signals.next() => {
            children.stop().await;
            return Ok(());
        }
    };
    let note = running.admin_addr().map(|address| Note::write(&data_dir, address));
    say(&text::admin(running.admin_addr(), &data_dir));
    say(&text::servers(children.servers()));
    say(&text::own_servers(&listening(settings.own_servers()).await));
    say(&format!("ready {url}\n"));
    say(&text::next_steps(&settings, &data_dir, &url, children.servers()));

    let mut keyring_looks = tokio::time::interval(KEYRING_LOOKS);
    let mut reloads = JoinSet::<()>::new();
    loop {
        tokio::select! {
            () = signals.next() => break,
            () = children.watch(say) => {}
            () = hangups.next() => {
                children.reload();
                // Nobody waits for it: its files may hang, and signals must not.
                reloads.spawn(reload(Arc::clone(&reloader), running.control().clone()));
            }
            Some(_) = reloads.join_next() => {}
            _ = keyring_looks.tick() => reloader.follow_keyring(running.control()),
        }
    }
    drop(note);
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
        let connect =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(server.address.to_string()));
        answers.push((server.clone(), matches!(connect.await, Ok(Ok(_)))));
    }
    answers
}

/// The admin interface to be opened, if one is wanted.
fn admin(
    settings: &Settings,
    data_dir: &DataDir,
    reloader: &Arc<Reloader>,
) -> Result<Option<AdminConfig>, Failure> {
    let Some(listen) = settings.admin.0 else { return Ok(None) };
    let reloader = Arc::clone(reloader);
    let reload: stayput_gateway::Reload = Arc::new(move |control| reloader.reload(control));
    Ok(Some(AdminConfig { listen, token: admin::token(data_dir)?, reload: Some(reload) }))
}

fn bind(
    settings: &Settings,
    samples: &[UpstreamConfig],
    admin: Option<AdminConfig>,
    keyring: Arc<stayput::Keyring>,
) -> Result<Gateway, Failure> {
    let GatewayConfig { listen, workers, access_log, .. } = settings.gateway;
    let config = Config {
        workers,
        site: settings.site(samples),
        access_log: access_log.map(|format| AccessLog { format, output: Box::new(io::stderr()) }),
        admin,
        ..Config::new(listen, Vec::new())
    };
    Gateway::bind(config, keyring).map_err(|error| match error {
        BindError::Config(_) => Failure::usage("the gateway's configuration is not valid").because(error),
        _ => Failure::other("cannot start the gateway").because(error).way_out(
            "choose another address with --listen, such as --listen 127.0.0.1:8090 (or --admin, for the admin \
             interface), or free this one",
        ),
    })
}

/// Tells what came of SIGHUP.
async fn reload(reloader: Arc<Reloader>, control: Control) {
    tracing::debug!("told to look at the keyring");
    // It reads files, and makes tables that may take a second.
    let outcome = tokio::task::spawn_blocking(move || reloader.reload(&control)).await;
    match outcome {
        Ok(outcome) => {
            tracing::info!(target: "stayput::audit", ?outcome, "reload by SIGHUP");
            say(&text::reloaded(&outcome));
        }
        Err(error) => tracing::error!(%error, "the reload failed"),
    }
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

/// How often the gateway looks for a keyring that has changed by itself.
const KEYRING_LOOKS: Duration = Duration::from_secs(1);

/// How long requests in flight may take to finish.
const DRAIN: Duration = Duration::from_secs(10);
