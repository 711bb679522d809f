//! What can go wrong with a store. "Missing" and "conflict" are outcomes of an operation, not errors.

use std::error::Error;
use std::fmt;

use crate::store::Operation;

/// A store could not do what it was asked to.
///
/// It never means "no session": who asked must not log anybody out because of it.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    store: &'static str,
    operation: Operation,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What kind of trouble a store is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// It can't be reached, or is shutting down. Nothing was done.
    Unavailable,
    /// It didn't answer in time, or broke while it worked. A write may or may not have happened.
    OutcomeUnknown,
    /// More is asked of it than it takes at a time. Nothing was done.
    Overloaded,
    /// It has no room for another live session. Nothing was done.
    Full,
    /// What it holds under that key is no record that this Stayput can read. It was left as it is.
    Unreadable,
    /// It refused for a reason that won't pass by itself. Nothing was done.
    Refused,
}

impl StoreError {
    /// An error of the store named `store` during `operation`.
    pub fn new(kind: StoreErrorKind, store: &'static str, operation: Operation) -> Self {
        Self { kind, store, operation, source: None }
    }

    /// The same error with its cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of trouble.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// During which operation.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Whether the same call may succeed later. A write whose outcome is unknown is not simply made again: look for
    /// its write tag first.
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            StoreErrorKind::Unavailable
            | StoreErrorKind::OutcomeUnknown
            | StoreErrorKind::Overloaded
            | StoreErrorKind::Full => true,
            StoreErrorKind::Unreadable | StoreErrorKind::Refused => false,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trouble = match self.kind {
            StoreErrorKind::Unavailable => "is unavailable",
            StoreErrorKind::OutcomeUnknown => "gave no answer; the outcome is unknown",
            StoreErrorKind::Overloaded => "is overloaded",
            StoreErrorKind::Full => "is full of live sessions",
            StoreErrorKind::Unreadable => "holds something that is no readable record",
            StoreErrorKind::Refused => "refused",
        };
        write!(f, "{} store {trouble} ({})", self.store, self.operation)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
