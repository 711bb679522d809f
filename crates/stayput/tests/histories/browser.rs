//! Cookies as a browser keeps them: what an answer says when it arrives, in whatever order that is.
//!
//! A browser here doesn't know whether its cookies are any good.

use stayput_core::{CookieValue, Keyring, StorageKey};

/// The cookies: that of logged-in sessions, that of anonymous ones, what a login over another session leaves besides,
/// what a client has seen of its session, and what it holds of it for an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Session,
    Anonymous,
    Spare,
    Version,
    Lifeboat,
}

/// Those that get somebody at a session.
pub(crate) const KINDS: [Kind; 3] = [Kind::Session, Kind::Anonymous, Kind::Spare];

const ALL_KINDS: [Kind; 5] = [Kind::Session, Kind::Anonymous, Kind::Spare, Kind::Version, Kind::Lifeboat];

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Session => "__Host-stayput-session",
            Self::Anonymous => "__Host-stayput-anonymous",
            Self::Spare => "__Host-stayput-spare",
            Self::Version => "__Host-stayput-version",
            Self::Lifeboat => "__Host-stayput-lifeboat",
        }
    }

    pub(crate) fn of(subject: Option<u32>) -> Self {
        if subject.is_some() { Self::Session } else { Self::Anonymous }
    }
}

/// A browser's cookies, one of each kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Jar([Option<String>; ALL_KINDS.len()]);

impl Jar {
    pub(crate) fn get(&self, kind: Kind) -> Option<&str> {
        self.0[kind as usize].as_deref()
    }

    pub(crate) fn set(&mut self, kind: Kind, value: Option<String>) {
        self.0[kind as usize] = value;
    }

    /// The `Cookie` header.
    pub(crate) fn header(&self) -> String {
        let pairs = ALL_KINDS.iter().filter_map(|kind| Some(format!("{}={}", kind.name(), self.get(*kind)?)));
        pairs.collect::<Vec<_>>().join("; ")
    }
}

/// What an answer does to a cookie.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    /// The new value; `None` deletes the cookie.
    pub(crate) value: Option<String>,
}

impl Change {
    /// Reads a `Set-Cookie` header.
    pub(crate) fn read(header: &str) -> Self {
        let (name, rest) = header.split_once('=').expect("a cookie has a name");
        let kind = ALL_KINDS.into_iter().find(|kind| kind.name() == name).expect("it is one of Stayput's");
        let value = rest.split(';').next().expect("there is a first part").to_owned();
        Self { kind, value: (!header.contains("Max-Age=0")).then_some(value) }
    }
}

/// The few bytes of a storage key and the version that a version cookie consists of.
pub(crate) fn read_version(value: &str) -> Option<(&str, u64)> {
    let (of_key, count) = value.split_once('.')?;
    Some((of_key, count.parse().ok()?))
}

/// The part of a lifeboat's label that reads like a version cookie: the version that its session had in the store.
pub(crate) fn read_base(value: &str) -> Option<&str> {
    let (of_key, rest) = value.split_once('.')?;
    let (count, _) = rest.split_once('.')?;
    Some(&value[..of_key.len() + 1 + count.len()])
}

/// Whether a lifeboat's label says that its session was written while the store was out.
pub(crate) fn has_writes(value: &str) -> bool {
    value.split('.').nth(2).is_some_and(|writes| writes != "0")
}

/// What a cookie says, to somebody who has the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) key: StorageKey,
    pub(crate) generation: u32,
}

impl Meaning {
    pub(crate) fn of(kind: Kind, value: &str, keyring: &Keyring) -> Option<Self> {
        let value = CookieValue::decode(kind.name(), value.as_bytes(), keyring).ok()?.value;
        Some(Self { key: value.id.storage_key(), generation: value.generation.0 })
    }
}
