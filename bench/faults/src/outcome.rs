//! What a user got for one request.

use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Reads; may be repeated.
    Read,
    /// Changes something; must happen once at most.
    Write,
}

/// Why there was no answer, or none of use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Failure {
    /// An answer of this status.
    Status(u16),
    /// The gateway couldn't be reached.
    Unreachable,
    /// The connection broke before the answer was whole.
    Broken,
    /// The user gave up.
    TooLate,
    /// The answer was for nobody, or for somebody else.
    LoggedOut,
}

pub struct Outcome {
    pub kind: Kind,
    pub took: Duration,
    /// The server that answered.
    pub result: Result<String, Failure>,
    /// Whether that is another one than before.
    pub has_moved: bool,
    /// Whether the gateway took the session cookie away.
    pub cookie_deleted: bool,
}
