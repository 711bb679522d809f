//! The sample application: a small shop, written against the public library as a user's would be.

mod page;
mod routes;

use std::io::{Read, Write};
use std::time::Duration;

use axum::serve::ListenerExt;
use stayput::{Builder, Journal, LifeboatKey, Merge, Outage, Policy, SharedKeyring};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::cli::{ReachedBy, SampleServerArgs};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::failure::Failure;
use crate::sessions;

/// Serves the shop until standard input closes or a signal comes.
pub(crate) async fn serve(args: SampleServerArgs) -> Result<(), Failure> {
    let data_dir = DataDir::open(&args.data_dir)?;
    let keyring = data_dir.keyring_file().read()?;
    reload_when_told(keyring.clone())?;
    let policy = policy(&Config::load(args.config.as_deref())?.policy, args.reached_by);
    let has_lifeboat = policy.outage == Outage::Lifeboat;
    let journal = has_lifeboat.then(|| data_dir.journal(&args.name)).transpose()?;
    let equip = |builder| equip(builder, journal);
    let (url, keyring_path) = (args.store.url()?, data_dir.keyring_path());
    let sessions = sessions::open(&url, keyring, policy, &keyring_path, equip).await?;
    let shop = routes::Shop::new(args.name, args.reached_by);
    let app = routes::router(shop).layer(sessions.layer());

    let failed = |error| Failure::other(format!("cannot listen on {}", args.listen)).because(error);
    let bound = match TcpListener::bind(args.listen).await {
        Err(_) if args.or_any_port => TcpListener::bind((args.listen.ip(), 0)).await,
        bound => bound,
    };
    let listener = bound.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "small answers may be late");
        }
    });
    let (ending, ended) = oneshot::channel();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
        end_asked_for().await;
        let _ = ending.send(());
    });
    let _ = writeln!(std::io::stdout(), "ready {address}");
    tokio::select! {
        outcome = server => outcome.map_err(|error| Failure::other("the server failed").because(error)),
        () = async { let _ = ended.await; tokio::time::sleep(DRAIN).await } => Ok(()),
    }
}

fn policy(configured: &Policy, reached_by: ReachedBy) -> Policy {
    let carry = [routes::VISITS, routes::CART].map(str::to_owned).to_vec();
    let cookie = configured.cookie.clone();
    let cookie = if reached_by == ReachedBy::Loopback { cookie.danger_plain_http() } else { cookie };
    let has_lifeboat = configured.outage == Outage::Lifeboat;
    let lifeboat = if has_lifeboat { lifeboat() } else { Vec::new() };
    Policy { carry, cookie, lifeboat, ..configured.clone() }
}

/// What goes on while the store is out.
fn lifeboat() -> Vec<LifeboatKey> {
    vec![LifeboatKey::written(routes::VISITS, Merge::Add), LifeboatKey::written(routes::CART, Merge::Own)]
}

/// Gives the library what a policy with lifeboats asks of an application.
fn equip(builder: Builder, journal: Option<Journal>) -> Builder {
    let Some(journal) = journal else { return builder };
    builder
        .journal(journal)
        .merge(routes::CART, routes::merge_carts)
        // A sample: everybody who was logged in may be again. A real application looks whether the user is still one.
        .readmit(|_, _| async { true })
}

/// SIGHUP: the keyring has changed. Without it that is seen a few seconds later.
fn reload_when_told(keyring: SharedKeyring) -> Result<(), Failure> {
    let failed = |error| Failure::other("cannot listen for signals").because(error);
    let mut signal = signal(SignalKind::hangup()).map_err(failed)?;
    tokio::spawn(async move {
        while signal.recv().await.is_some() {
            tracing::debug!("told to look at the keyring");
            // What goes wrong is logged there.
            let _ = keyring.reload();
        }
    });
    Ok(())
}

/// Our parent is gone when standard input closes.
async fn end_asked_for() {
    let (gone, parent_gone) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = gone.send(());
    });
    let mut terminate = signal(SignalKind::terminate()).expect("a runtime with signals enabled");
    tokio::select! {
        _ = parent_gone => {}
        _ = terminate.recv() => {}
    }
}

/// How long requests in flight may take to finish.
const DRAIN: Duration = Duration::from_secs(3);
