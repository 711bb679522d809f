//! Who may come in: whoever has the token, and nobody else, whatever is asked for.
//!
//! Wrong tokens are answered late, and only so many at a time; the right one never waits for them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::Problem;
use super::token::AdminToken;

/// Who is asking.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Whether a connection has shown the token.
#[derive(Clone, Default)]
pub(super) struct Known(Arc<AtomicBool>);

impl Known {
    pub(super) fn is(&self) -> bool {
        self.0.load(Relaxed)
    }
}

pub(super) struct Gate {
    token: AdminToken,
    /// How many wrong tokens wait for their answer.
    waiting: AtomicUsize,
}

impl Gate {
    pub(super) fn new(token: AdminToken) -> Self {
        Self { token, waiting: AtomicUsize::new(0) }
    }

    async fn turn_away(&self) -> Response {
        let others = self.waiting.fetch_add(1, Relaxed);
        let _waits = Waits(&self.waiting);
        if others >= MOST_WAITING {
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens");
            return ([(RETRY_AFTER, "1")], problem).into_response();
        }
        tokio::time::sleep(DELAY).await;
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "the admin token is missing or wrong")
            .way_out("send it as `Authorization: Bearer TOKEN`; `stayput up` keeps it in admin-token in its data directory");
        ([(WWW_AUTHENTICATE, "Bearer")], problem).into_response()
    }
}

/// One that waits, until it has its answer or leaves without.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

pub(super) async fn guard(
    State(gate): State<Arc<Gate>>,
    Extension(Peer(peer)): Extension<Peer>,
    Extension(Known(known)): Extension<Known>,
    request: Request,
    next: Next,
) -> Response {
    if bearer(request.headers()).is_some_and(|token| gate.token.is(token)) {
        known.store(true, Relaxed);
        return next.run(request).await;
    }
    tracing::warn!(target: "stayput::audit", client = %peer, "refused: no or a wrong admin token");
    gate.turn_away().await
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// How long a wrong token waits for its answer, and how many do at a time.
const DELAY: Duration = Duration::from_secs(1);
const MOST_WAITING: usize = 8;
