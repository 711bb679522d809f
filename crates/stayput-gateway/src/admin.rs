//! The admin interface: a small HTTP API on a thread and a listener of its own.
//!
//! Nothing is told or done without the token. It is no part of the data plane: whatever happens to it, requests pass.

mod answer;
mod gate;
mod routes;
mod status;
mod token;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tower_service::Service;

use self::gate::Known;
pub use self::token::{AdminToken, BadToken};
use crate::control::{Control, Undone};
use crate::worker::Deadline;

/// An admin interface to be opened.
pub struct AdminConfig {
    /// Where to listen; on loopback unless there is a reason. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// What every request must carry.
    pub token: AdminToken,
    /// What reads the configuration again when it is told to; `None` if nothing can.
    pub reload: Option<Reload>,
}

/// Reads the configuration again and puts it into effect, by [`Control::reload`]. It may block.
pub type Reload = Arc<dyn Fn(&Control) -> Result<Reloaded, ReloadError> + Send + Sync>;

/// What came of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Changes made through the admin interface that the configuration doesn't have.
    pub undone: Vec<Undone>,
    /// Settings that have changed and are in effect after a restart only.
    pub needs_restart: Vec<String>,
}

/// Why nothing was reloaded: all mistakes, each with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadError(pub Vec<String>);

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for ReloadError {}

impl fmt::Debug for AdminConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminConfig").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// Starts the thread, which serves until it is told to stop.
pub(crate) fn start(
    config: AdminConfig,
    listener: StdListener,
    control: Control,
    stop: watch::Receiver<Deadline>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let listener = {
        let _context = runtime.enter();
        TcpListener::from_std(listener)?
    };
    let router = routes::router(config.token, control, config.reload);
    let serve = move || {
        runtime.block_on(serve(&listener, &router, stop));
        // A reload whose files hang must not keep the gateway from ending.
        runtime.shutdown_background();
    };
    thread::Builder::new().name("gateway-admin".into()).spawn(serve)
}

async fn serve(listener: &TcpListener, router: &Router, mut stop: watch::Receiver<Deadline>) {
    let mut visitors = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        match accepted {
            Ok((stream, peer)) if make_room(&mut visitors) => {
                let known = Known::default();
                let connection = connection(stream, peer, known.clone(), router.clone());
                let task = tokio::spawn(timeout(LONGEST, connection)).abort_handle();
                visitors.push_back(Visitor { known, task });
            }
            Ok(_) => tracing::warn!("the admin interface has too many connections"),
            Err(error) => {
                tracing::warn!(%error, "the admin interface can't accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection, and whether it has shown the token.
struct Visitor {
    known: Known,
    task: AbortHandle,
}

/// Says whether there is room for one more. Whoever has not shown the token makes room, the longest there first: a crowd
/// that says nothing keeps nobody out.
fn make_room(visitors: &mut VecDeque<Visitor>) -> bool {
    visitors.retain(|visitor| !visitor.task.is_finished());
    if visitors.len() < MOST_CONNECTIONS {
        return true;
    }
    let stranger = visitors.iter().position(|visitor| !visitor.known.is());
    let stranger = stranger.and_then(|index| visitors.remove(index));
    stranger.inspect(|stranger| stranger.task.abort()).is_some()
}

/// One request, then the end: nobody holds a place.
async fn connection(stream: TcpStream, peer: SocketAddr, known: Known, router: Router) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(gate::Peer(peer));
        request.extensions_mut().insert(known.clone());
        router.clone().call(request.map(Body::new))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST_HEAD)
        .keep_alive(false)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, %peer, "a connection of the admin interface failed");
    }
}

const MOST_CONNECTIONS: usize = 64;
/// How long a connection may take, a reload with large tables included.
const LONGEST: Duration = Duration::from_secs(30);
const LONGEST_HEAD: Duration = Duration::from_secs(5);
const LARGEST_HEAD: usize = 16 * 1024;
/// Bytes of a request's body.
const LARGEST_BODY: usize = 64 * 1024;
/// The wait after an accept that failed, usually for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
