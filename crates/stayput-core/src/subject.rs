//! Who a session is logged in as.

use std::fmt;

use crate::id::sha256;

/// The user or service that a session is logged in as: whatever name the application knows them by.
///
/// It is personal data: sealed with the session's values, redacted from `Debug`, and absent from logs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(String);

impl Subject {
    /// A subject by the application's stable name for it, such as a user id.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The application's name for it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that a store knows this subject by.
    pub fn key(&self) -> SubjectKey {
        SubjectKey(sha256(format!("stayput subject\0{}", self.0).as_bytes()))
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subject(…)")
    }
}

/// What a store knows of a subject: a SHA-256 of its name, so that a store can find a subject's sessions without
/// holding readable names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectKey([u8; Self::LEN]);

impl SubjectKey {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// A key as a store kept it.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The key as a store keeps it.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(…)")
    }
}
