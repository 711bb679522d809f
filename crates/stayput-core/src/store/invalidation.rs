//! What a store tells of changes that anybody makes, for those who keep copies of its records.
//!
//! It is never the truth by itself: who hears nothing must still ask the store before a lease is over.

use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;

use crate::id::StorageKey;

/// A store's messages about changed records. It ends with the store; a lost connection is made again within it.
pub type Invalidations = Pin<Box<dyn Stream<Item = Invalidation> + Send>>;

/// One message of a store's about its records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invalidation {
    /// The record under this key was created, replaced, touched or removed; copies of it are out of date.
    ///
    /// Each swap by [`replace`](super::SessionStore::replace) has exactly one such message, in the order of the swaps; no other
    /// swap and no removal shares it, though a creation or a touch may. So a writer knows the message of its own swap from
    /// anybody else's, and need not forget what it wrote. Of a removal there may be several.
    Changed(StorageKey),
    /// The stream works: all that was changed [`PULSE_LIMIT`] ago or earlier has been told. Comes every [`PULSE_INTERVAL`]
    /// or so, and is never sent from memory: the store's server was asked and has answered.
    Pulse,
    /// Messages may be missing: trust no copy of a record that was read before this. The first message of every stream, and
    /// of every new connection within it: whatever is changed after it will be told.
    Lost,
}

/// How old a pulse's news may be when it comes.
pub const PULSE_LIMIT: Duration = Duration::from_secs(1);

/// How often a stream that works says so.
pub const PULSE_INTERVAL: Duration = Duration::from_millis(300);
