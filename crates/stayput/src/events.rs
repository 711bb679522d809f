//! What happens to sessions, for whoever watches: as a hook of the application's, as `tracing` events, as metrics.
//!
//! No event carries an id, a cookie or a value. A session is named by a tag that only says which events belong together.

use std::fmt;
use std::net::IpAddr;

use stayput_core::{LogTag, Subject};

/// Hears of what happens to sessions. Called on the request's task, so it must be quick: hand on what takes longer.
pub trait EventHook: Send + Sync + 'static {
    /// Something happened.
    fn on_event(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync + 'static> EventHook for F {
    fn on_event(&self, event: &Event<'_>) {
        self(event);
    }
}

/// Something that happened to a session.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// What happened.
    pub kind: EventKind,
    /// To which session: the same tag for all of its events, as long as the keyring's primary key stays. `None` where
    /// there is no session.
    pub session: Option<LogTag>,
    /// Who it is logged in as, for the hook; no log or metric holds it.
    pub subject: Option<&'a Subject>,
    /// The address of the client whose request it was, where known.
    pub address: Option<IpAddr>,
}

/// What happened (OWASP session management cheat sheet, "Logging Sessions Life Cycle").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A visitor's first value was stored.
    Created,
    /// A login began a session.
    LoggedIn,
    /// The subject proved again who they are, and the session got a new id.
    Elevated,
    /// The session got a new cookie on schedule.
    Renewed,
    /// The session ended. One that times out ends without an event: its cookie is refused when it is next presented.
    Ended(EndReason),
    /// All of a subject's sessions were ended, or all but one: how many.
    AllEnded(usize),
    /// A request's cookie led to no session; the request is anonymous.
    Refused(Refusal),
    /// A login was refused because the subject has as many sessions as it may have.
    LimitReached,
    /// A session is used from another address or browser than before.
    ClientChanged {
        /// The address is another one.
        address: bool,
        /// The browser is another one.
        agent: bool,
    },
    /// The store doesn't answer any more. It is asked for nothing until it answers a probe.
    StoreOut,
    /// The store answers again.
    StoreBack,
    /// The store has lost what it held, or is another one.
    StoreWiped,
    /// A session that the store had lost is back in it, from its lifeboat.
    Restored,
    /// A write that was accepted while the store was out could not be brought into it.
    NotReplayed(Unreplayed),
    /// An address presents made-up cookies at a rate at which no honest client does; it is being slowed.
    Guessing,
}

/// Why a write could not be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreplayed {
    /// Its session ended, or got a new id.
    Ended,
    /// The value was changed by somebody else, and the two can't be brought together.
    Unmerged,
    /// Whether it was replayed before isn't known any more, and it must not happen twice.
    InDoubt,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// Its user logged out.
    Logout,
    /// Its user, or an administrator, ended it from elsewhere.
    EndedElsewhere,
    /// A newer login of the same subject went above the limit.
    Limit,
}

/// Why a cookie led to no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It was sent more than once: one of them may be planted.
    Duplicate,
    /// It is no cookie of Stayput's: of the wrong length or alphabet.
    Malformed,
    /// It is signed by a key that the keyring doesn't hold.
    UnknownKey,
    /// Its signature is wrong: made up or changed.
    Forged,
    /// There is no such session: it ended or expired.
    NoSession,
    /// It is of an older generation of its session.
    OldGeneration,
    /// Its session is one that this kind of cookie doesn't carry.
    OtherKind,
    /// What the store holds for it isn't what was sealed.
    Broken,
}

impl EventKind {
    /// A name for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::LoggedIn => "logged_in",
            Self::Elevated => "elevated",
            Self::Renewed => "renewed",
            Self::Ended(_) => "ended",
            Self::AllEnded(_) => "all_ended",
            Self::Refused(_) => "refused",
            Self::LimitReached => "limit_reached",
            Self::ClientChanged { .. } => "client_changed",
            Self::StoreOut => "store_out",
            Self::StoreBack => "store_back",
            Self::StoreWiped => "store_wiped",
            Self::Restored => "restored",
            Self::NotReplayed(_) => "not_replayed",
            Self::Guessing => "guessing",
        }
    }

    /// Why, for kinds that have a reason; else empty.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Ended(EndReason::Logout) => "logout",
            Self::Ended(EndReason::EndedElsewhere) => "ended_elsewhere",
            Self::Ended(EndReason::Limit) => "limit",
            Self::Refused(refusal) => refusal.name(),
            Self::NotReplayed(Unreplayed::Ended) => "ended",
            Self::NotReplayed(Unreplayed::Unmerged) => "unmerged",
            Self::NotReplayed(Unreplayed::InDoubt) => "in_doubt",
            Self::ClientChanged { address: true, agent: true } => "address_and_agent",
            Self::ClientChanged { address: true, .. } => "address",
            Self::ClientChanged { .. } => "agent",
            _ => "",
        }
    }
}

impl Refusal {
    /// Whether only who tries ids out would send such a cookie: it names a key of ours, and the signature is wrong.
    pub(crate) fn is_made_up(self) -> bool {
        self == Self::Forged
    }

    fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Forged => "forged",
            Self::NoSession => "no_session",
            Self::OldGeneration => "old_generation",
            Self::OtherKind => "other_kind",
            Self::Broken => "broken",
        }
    }
}

/// Where events go.
#[derive(Default)]
pub(crate) struct Events {
    hook: Option<Box<dyn EventHook>>,
}

impl Events {
    pub(crate) fn to(hook: impl EventHook) -> Self {
        Self { hook: Some(Box::new(hook)) }
    }

    pub(crate) fn emit(&self, event: &Event<'_>) {
        log(event);
        crate::meter::event(event.kind);
        if let Some(hook) = &self.hook {
            hook.on_event(event);
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("hook", &self.hook.is_some()).finish()
    }
}

fn log(event: &Event<'_>) {
    let (kind, reason) = (event.kind.name(), event.kind.reason());
    let session = event.session.map(tracing::field::display);
    let address = event.address.map(tracing::field::display);
    match event.kind {
        EventKind::Guessing => tracing::warn!(event = kind, address, "session cookies are being guessed"),
        EventKind::StoreOut => tracing::error!(event = kind, "session store is out"),
        EventKind::StoreWiped => {
            tracing::error!(event = kind, "session store has lost its sessions, or is another one");
        }
        EventKind::NotReplayed(_) => {
            tracing::error!(event = kind, reason, session, "a write of an outage is lost");
        }
        EventKind::AllEnded(count) => {
            tracing::info!(event = kind, count, address, "sessions of a subject ended");
        }
        _ => tracing::info!(event = kind, reason, session, address, "session event"),
    }
}
