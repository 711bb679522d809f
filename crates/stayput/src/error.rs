//! What can go wrong with a session, and what to answer then.

use std::error::Error as StdError;
use std::fmt;

use http::StatusCode;
use stayput_core::{OpenError, RecordError, StoreError};

/// Why a session could not be read or written.
///
/// None of these means "not logged in": for that, [`Session::subject`](crate::Session::subject) gives `None`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The store failed or gave no answer. Nobody is logged out by it; trying again may help.
    Store(StoreError),
    /// The record is sealed under a key that this server's keyring lacks: the servers' keyrings differ.
    Keyring(OpenError),
    /// Other requests kept writing the same session until time ran out. Trying again helps.
    Conflict,
    /// The session ended while the request ran: a logout or a time-out elsewhere. It does not come back.
    Ended,
    /// A parallel login gave the session a new id while the request ran; what is left under the old one can only be
    /// read. The request can be made again with the new cookie.
    Superseded,
    /// The session is anonymous, and what was asked for takes a login.
    NotLoggedIn,
    /// The subject proved too long ago who they are; ask them again, then call
    /// [`Session::elevate`](crate::Session::elevate).
    StepUp,
    /// The store is out: the session can be read, as it was a while ago, and what was asked for takes more than that, or is a
    /// value that this server doesn't know. Nobody is logged out by it; trying again helps when the store is back.
    Adrift,
    /// The subject has as many sessions as [`Policy::session_limit`](crate::Policy::session_limit) allows.
    LimitReached,
    /// The client's address presents made-up session cookies, one after another.
    Guessing,
    /// The response head has left, so nothing commits by itself any more: use
    /// [`Session::update`](crate::Session::update), which commits at once, or make the change earlier. Logins, and the
    /// first write of an anonymous session, need a head to put their cookie in.
    Committed,
    /// The value can't be encoded.
    Encode {
        /// Key of the value.
        key: String,
        /// What is wrong with it.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The stored value is not of the type asked for. Other keys are not concerned.
    Decode {
        /// Key of the value.
        key: String,
        /// What is wrong with it.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The session's values would take more than [`Policy::max_data`](crate::Policy::max_data).
    TooLarge {
        /// Bytes they would take.
        bytes: usize,
        /// Bytes they may take.
        limit: usize,
    },
    /// The session would hold more values than [`Policy::max_values`](crate::Policy::max_values).
    TooMany {
        /// How many it would hold.
        values: usize,
        /// How many it may hold.
        limit: usize,
    },
}

impl Error {
    /// The status to answer a request with that failed on this.
    ///
    /// 503 where trying again may help, if only at another server, such as one that knows the format of a record; 409 where
    /// the session changed under the request, 401 and 403 where a login or a newer one is needed or one more is not
    /// allowed, 413 where it would hold too much, 429 for who guesses cookies, 500 where the server or the application is
    /// at fault.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Store(error) if !error.is_retryable() && !is_of_newer_format(error) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Store(_) | Self::Keyring(_) | Self::Conflict | Self::Adrift => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Ended | Self::Superseded => StatusCode::CONFLICT,
            Self::NotLoggedIn => StatusCode::UNAUTHORIZED,
            Self::StepUp | Self::LimitReached => StatusCode::FORBIDDEN,
            Self::Guessing => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge { .. } | Self::TooMany { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Committed | Self::Encode { .. } | Self::Decode { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Seconds after which trying again may help (`Retry-After`).
    pub fn retry_after(&self) -> Option<u16> {
        match self.status() {
            StatusCode::SERVICE_UNAVAILABLE => Some(1),
            StatusCode::TOO_MANY_REQUESTS => Some(60),
            _ => None,
        }
    }

    /// Logs the error with its causes, where the client is told less.
    pub(crate) fn log(&self) {
        let error = self as &dyn StdError;
        if self.status().is_server_error() {
            tracing::error!(error, "session error");
        } else {
            tracing::info!(error, "session refused a change");
        }
    }
}

/// Whether another server may well read what this one can't.
fn is_of_newer_format(error: &StoreError) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<RecordError>());
    matches!(cause, Some(RecordError::UnknownFormat(_)))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(_) => f.write_str("session store failed"),
            Self::Keyring(_) => f.write_str("keyring does not open this session"),
            Self::Conflict => f.write_str("session was written by too many requests at once"),
            Self::Ended => f.write_str("session ended while the request ran"),
            Self::Superseded => f.write_str("session got a new id while the request ran"),
            Self::NotLoggedIn => f.write_str("not logged in"),
            Self::Adrift => f.write_str("session can't do that while its store is out"),
            Self::StepUp => f.write_str("login is too long ago for this"),
            Self::LimitReached => f.write_str("subject has as many sessions as it may have"),
            Self::Guessing => f.write_str("session cookies are being guessed from this address"),
            Self::Committed => f.write_str("session changed after the response head had left"),
            Self::Encode { key, .. } => write!(f, "session value `{key}` can't be encoded"),
            Self::Decode { key, .. } => write!(f, "session value `{key}` is not of the type asked for"),
            Self::TooLarge { bytes, limit } => {
                write!(f, "session would hold {bytes} bytes where {limit} are allowed")
            }
            Self::TooMany { values, limit } => {
                write!(f, "session would hold {values} values where {limit} are allowed")
            }
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            Self::Keyring(error) => Some(error),
            Self::Encode { source, .. } | Self::Decode { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
