//! The tower layer: gives each request its session, and commits it before the response head leaves.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::RETRY_AFTER;
use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::answer::Answer;
use crate::cookies::RequestCookies;
use crate::{Error, Session, Sessions};

/// Adds sessions to a service; see [`Sessions::layer`].
#[derive(Clone, Debug)]
pub struct SessionLayer {
    sessions: Sessions,
}

impl SessionLayer {
    pub(crate) fn new(sessions: Sessions) -> Self {
        Self { sessions }
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionService { sessions: self.sessions.clone(), inner }
    }
}

/// A service whose requests carry a [`Session`] in their extensions.
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    sessions: Sessions,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for SessionService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = SessionFuture<S::Future, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let session = Session::new(self.sessions.clone(), RequestCookies::of(request.headers()));
        request.extensions_mut().insert(session.clone());
        SessionFuture { handler: self.inner.call(request), session, commit: None }
    }
}

pin_project! {
    /// Runs the handler, then commits its session if it used it.
    pub struct SessionFuture<F, R> {
        #[pin]
        handler: F,
        session: Session,
        commit: Option<Box<Commit<R>>>,
    }
}

type Outcome = (Answer, Result<(), Error>);

/// A commit under way, and the response that waits for it. Most requests need none, and don't carry the room for it.
struct Commit<R> {
    response: Response<R>,
    work: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

impl<F, R, E> Future for SessionFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Default,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let commit = if let Some(commit) = this.commit {
            commit
        } else {
            let response = ready!(this.handler.poll(context))?;
            if this.session.leave_at_once() {
                return Poll::Ready(Ok(response));
            }
            let work = Box::pin(this.session.clone().finish());
            this.commit.insert(Box::new(Commit { response, work }))
        };
        let (answer, committed) = ready!(commit.work.as_mut().poll(context));
        let mut response = match committed {
            Ok(()) => std::mem::take(&mut commit.response),
            Err(error) => unavailable(&error),
        };
        answer.write(&this.session.sessions().inner.names, response.headers_mut());
        Poll::Ready(Ok(response))
    }
}

/// The answer in place of the handler's when its session could not be written.
fn unavailable<R: Default>(error: &Error) -> Response<R> {
    error.log();
    let mut response = Response::new(R::default());
    *response.status_mut() = error.status();
    if let Some(seconds) = error.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
