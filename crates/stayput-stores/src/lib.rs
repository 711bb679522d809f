//! The stores that Stayput brings along, one module and one feature each.
//!
//! | store | for | shared by several processes |
//! |---|---|---|
//! | [`MemoryStore`] | tests, one process whose sessions may end with it | no |
//! | [`SqliteStore`] | one machine: the embedded default | yes, through the file |
//! | [`RedisStore`] | many machines | yes |
//!
//! All of them keep the contract of [`SessionStore`](stayput_core::SessionStore), which the conformance kit of
//! `stayput-testkit` checks; none of them reads what a record holds.

#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlite")]
mod sqlite;
mod url;

#[cfg(feature = "redis")]
pub use crate::redis::{RedisConfig, RedisStore, RedisUrlError};
#[cfg(feature = "memory")]
pub use memory::MemoryStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
#[cfg(feature = "redis")]
pub use url::RedisUrl;
pub use url::{StoreUrl, StoreUrlError};
