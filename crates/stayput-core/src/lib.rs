//! The vocabulary of Stayput: what every other crate speaks.
//!
//! Ids and cookies ([`SessionId`], [`StorageKey`], [`CookieValue`]), what a store keeps ([`Record`]), how it is
//! sealed and signed ([`Keyring`]), how long it lives ([`Policy`]), and the contract of a store
//! ([`SessionStore`]).
//!
//! This crate knows no HTTP server, no async runtime and no database driver, and it never will: whoever writes a
//! store or a gateway depends on this and on nothing else of Stayput.

mod clock;
mod cookie;
mod error;
mod id;
mod keyring;
mod policy;
mod random;
mod record;
mod seal;
mod store;
mod subject;

pub use clock::{Clock, SystemClock, Timestamp, Uptime};
pub use cookie::{CookieRefused, CookieValue, DecodedCookie};
pub use error::{StoreError, StoreErrorKind};
pub use id::{Generation, NotAHandle, SessionHandle, SessionId, StorageKey};
pub use keyring::{AffinityTag, Key, KeyChangeError, KeyId, Keyring, KeyringError, LogTag, NotAKeyId, Past};
pub use policy::{
    Activity, CookiePolicy, LifeboatKey, Merge, OnWiped, Outage, Policy, PolicyError, Remember, SameSite,
};
pub use random::{Random, SystemRandom};
pub use record::{Header, Record, RecordError, RecordFormat, State, Version, WriteTag, layout};
pub use seal::OpenError;
pub use store::{
    Admission, Admitted, Created, Epoch, Invalidation, Invalidations, Marker, Operation, Overflow,
    PULSE_INTERVAL, PULSE_LIMIT, Replaced, SWEEP_DELAY, SessionLimit, SessionStore, StoreFuture,
    TOMBSTONE_LIFETIME, Touched,
};
pub use subject::{Subject, SubjectKey};
