//! `Session` as an axum extractor, `Error` as an axum response.

use std::error::Error as StdError;
use std::fmt;

use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderValue, StatusCode};

use crate::{Error, Session, Typed, TypedSession};

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Self::of(parts).ok_or(MissingLayer)
    }
}

impl<S: Sync, T: TypedSession> FromRequestParts<S> for Typed<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let session = Session::of(parts).ok_or_else(|| MissingLayer.into_response())?;
        Self::read(session).await.map_err(Error::into_response)
    }
}

/// A handler asked for its session, but the route has no session layer.
#[derive(Clone, Copy, Debug)]
pub struct MissingLayer;

impl fmt::Display for MissingLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("route has no session layer; add `.layer(sessions.layer())` to its router")
    }
}

impl StdError for MissingLayer {}

impl IntoResponse for MissingLayer {
    fn into_response(self) -> Response {
        tracing::error!("{self}");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

impl IntoResponse for Error {
    /// The status of [`Error::status`], with a text that tells the client no internals; those are logged.
    fn into_response(self) -> Response {
        self.log();
        let status = self.status();
        let mut response = (status, public_text(&self)).into_response();
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

fn public_text(error: &Error) -> &'static str {
    match error {
        Error::Ended => "Your session ended. Please log in again.",
        Error::Superseded => "Your session was renewed meanwhile. Please try again.",
        Error::NotLoggedIn => "Please log in.",
        Error::StepUp => "Please confirm that it is you.",
        Error::LimitReached => {
            "You are logged in on as many devices as you may. Please log out on one of them."
        }
        Error::Guessing => "Too many requests.",
        Error::TooLarge { .. } | Error::TooMany { .. } => "Your session holds too much.",
        error if error.status() == StatusCode::SERVICE_UNAVAILABLE => {
            "Sessions are briefly unavailable. You are not logged out; please try again."
        }
        _ => "Something went wrong with your session.",
    }
}
