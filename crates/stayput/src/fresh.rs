//! The guard of routes where no copy of a session will do.
//!
//! It asks the store for nothing itself: it has the request's session asked for there when the handler wants it.

use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use crate::Session;

/// Has the handlers behind it read their sessions from the store, past the near cache: for routes where money moves, so that
/// who was logged out anywhere before the request began is logged out there.
///
/// ```
/// # use axum::{Router, routing::post};
/// # async fn pay() {}
/// use stayput::FreshLayer;
///
/// let routes: Router = Router::new().route("/pay", post(pay)).route_layer(FreshLayer);
/// ```
///
/// It stands inside of [`SessionLayer`](crate::SessionLayer), and does nothing without it.
#[derive(Clone, Copy, Debug, Default)]
pub struct FreshLayer;

impl<S> Layer<S> for FreshLayer {
    type Service = FreshService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FreshService { inner }
    }
}

/// A service whose requests read their [`Session`] from the store.
#[derive(Clone, Debug)]
pub struct FreshService<S> {
    inner: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for FreshService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if let Some(session) = request.extensions().get::<Session>() {
            session.want_fresh();
        }
        self.inner.call(request)
    }
}
