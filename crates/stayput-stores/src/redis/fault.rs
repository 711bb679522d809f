//! What an error of the server's or the driver's means, and the way out of it.

use std::error::Error;
use std::fmt;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use stayput_core::StoreErrorKind;

/// What an error means.
pub(super) struct Fault {
    pub(super) kind: StoreErrorKind,
    /// Whether the server said so; else nobody knows what it did.
    pub(super) is_answer: bool,
    /// Whether another connection may find another server, or the same one as another user.
    pub(super) is_lasting: bool,
}

pub(super) fn of(error: &RedisError) -> Fault {
    let answer = |kind, is_lasting| Fault { kind, is_answer: true, is_lasting };
    match meaning(error) {
        Some(Meaning { kind, is_lasting, .. }) => answer(*kind, *is_lasting),
        None => match error.kind() {
            ErrorKind::AuthenticationFailed
            | ErrorKind::InvalidClientConfig
            | ErrorKind::Server(_)
            | ErrorKind::Extension => answer(StoreErrorKind::Refused, false),
            // The connection broke, or said what nobody understands.
            _ => Fault { kind: StoreErrorKind::Unavailable, is_answer: false, is_lasting: true },
        },
    }
}

/// The error with the way out of it.
pub(super) fn cause(error: RedisError) -> Cause {
    let hint = match meaning(&error) {
        Some(meaning) => Some(meaning.hint),
        None if error.kind() == ErrorKind::AuthenticationFailed => Some(LOGIN),
        None => None,
    };
    Cause { hint, error }
}

/// The same of the last answer to a call that a cluster's nodes sent from one to the other until its time was over.
pub(super) fn cause_on_the_way(error: RedisError) -> Cause {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => {
            Cause { hint: Some(MOVING), error }
        }
        _ => cause(error),
    }
}

/// An error, and what to do about it.
#[derive(Debug)]
pub(super) struct Cause {
    hint: Option<&'static str>,
    error: RedisError,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hint {
            Some(hint) => f.write_str(hint),
            None => self.error.fmt(f),
        }
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self.hint {
            Some(_) => Some(&self.error),
            None => self.error.source(),
        }
    }
}

struct Meaning {
    code: &'static str,
    kind: StoreErrorKind,
    is_lasting: bool,
    hint: &'static str,
}

fn meaning(error: &RedisError) -> Option<&'static Meaning> {
    let code = error.code()?;
    let detail = error.detail().unwrap_or_default();
    // Before Redis 7 what went wrong inside a script is told as an ERR, with its own code in the middle of the text; and a
    // login's error has no code at all.
    let is_inside = |meaning: &&Meaning| detail.contains(&format!("-{} ", meaning.code));
    MEANINGS.iter().find(|meaning| meaning.code == code).or_else(|| MEANINGS.iter().find(is_inside))
}

const LOGIN: &str = "it refused the user or the password of its URL";

const MOVING: &str = "its cluster is moving the key";

const MEANINGS: &[Meaning] = &[
    Meaning {
        code: "OOM",
        kind: StoreErrorKind::Full,
        is_lasting: false,
        hint: "it has reached its maxmemory; raise that, or let sessions end sooner",
    },
    Meaning {
        code: "READONLY",
        kind: StoreErrorKind::Unavailable,
        is_lasting: true,
        hint: "it is a read-only replica; name its master in the URL, or its sentinels by redis+sentinel:",
    },
    Meaning {
        code: "LOADING",
        kind: StoreErrorKind::Unavailable,
        is_lasting: false,
        hint: "it is still loading its data",
    },
    Meaning {
        code: "BUSY",
        kind: StoreErrorKind::Unavailable,
        is_lasting: false,
        hint: "it is busy with somebody's script",
    },
    Meaning {
        code: "MASTERDOWN",
        kind: StoreErrorKind::Unavailable,
        is_lasting: true,
        hint: "it is a replica that has lost its master",
    },
    Meaning {
        code: "MISCONF",
        kind: StoreErrorKind::Unavailable,
        is_lasting: false,
        hint: "it takes no writes because it can't save to its disk",
    },
    Meaning {
        code: "NOREPLICAS",
        kind: StoreErrorKind::Unavailable,
        is_lasting: false,
        hint: "it takes no writes for want of replicas (min-replicas-to-write)",
    },
    Meaning {
        code: "CLUSTERDOWN",
        kind: StoreErrorKind::Unavailable,
        is_lasting: false,
        hint: "its cluster is down",
    },
    Meaning { code: "TRYAGAIN", kind: StoreErrorKind::Unavailable, is_lasting: false, hint: MOVING },
    Meaning {
        code: "MOVED",
        kind: StoreErrorKind::Refused,
        is_lasting: false,
        hint: "it is a node of a cluster, whose URL begins with redis+cluster:",
    },
    Meaning {
        code: "NOAUTH",
        kind: StoreErrorKind::Refused,
        is_lasting: true,
        hint: "it wants a password in its URL",
    },
    Meaning { code: "WRONGPASS", kind: StoreErrorKind::Refused, is_lasting: false, hint: LOGIN },
    Meaning {
        code: "NOPERM",
        kind: StoreErrorKind::Refused,
        is_lasting: false,
        hint: "its user may not run all commands that sessions take (+@read +@write +@scripting +info, with near caches +client|tracking, with sentinels +role, with wait_replicas +wait, keys and their prefix)",
    },
    Meaning {
        code: "WRONGTYPE",
        kind: StoreErrorKind::Refused,
        is_lasting: false,
        hint: "somebody else uses the names of its keys; choose another prefix",
    },
];
