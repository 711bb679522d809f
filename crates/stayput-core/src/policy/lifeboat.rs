//! What a session's lifeboat carries: the sealed copy in the browser that bridges an outage of the store.
//!
//! Nothing gets into it that wasn't declared: a client can present an old copy, so no attempt counter, quota or one-time
//! value belongs there.

/// A session key whose value the lifeboat carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifeboatKey {
    name: String,
    merge: Option<Merge>,
}

/// How a value that was written while the store was out is brought together with the one that is in the store when it is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Merge {
    /// It counts if the store's value is still the one that it was written over. Else that one stays, and the write is given
    /// up, with an event that says so.
    IfUnchanged,
    /// A number: the difference is added to the store's. For whole numbers, signed or not; what would leave 64 bits stops there.
    Add,
    /// A list or a set: what was put in is put in there, too, unless it is there already. What was taken out is taken out.
    Union,
    /// As the application says, by the library's `Builder::merge`.
    Own,
}

impl LifeboatKey {
    /// A key that can be read in an outage, and not written.
    pub fn read(name: impl Into<String>) -> Self {
        Self { name: name.into(), merge: None }
    }

    /// A key that can be read and written in an outage; `merge` brings what was written together with the store's when it is
    /// back.
    pub fn written(name: impl Into<String>, merge: Merge) -> Self {
        Self { name: name.into(), merge: Some(merge) }
    }

    /// The session key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is merged; `None` if it can't be written in an outage.
    pub fn merge(&self) -> Option<Merge> {
        self.merge
    }
}

/// What happens to sessions that a wiped store has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnWiped {
    /// They are over: their users log in again.
    LogOut,
    /// Those whose lifeboat the store confirmed within `max_age` are put back into the store, as the lifeboat has them, once, and
    /// if the application agrees (the library's `Builder::readmit`). A session that was ended within `max_age` before can come
    /// back that way: the store has forgotten that, too.
    Restore,
}
