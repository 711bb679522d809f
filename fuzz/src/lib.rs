//! What must hold for every byte that a client, or who can write to a store, may send: the fuzz targets' bodies.
//!
//! They know nothing of a fuzzer: the library's own tests include this file and replay the kept corpus through it. Those of
//! the gateway are in `gateway/`, which the gateway's tests include: the two crates know nothing of each other.

pub mod cookie_header;
pub mod lifeboat;
pub mod sealed_record;
pub mod session_cookie;

mod exchange;
mod known;
mod target;

pub use self::target::Target;

/// Every target.
pub const TARGETS: [Target; 4] =
    [cookie_header::TARGET, lifeboat::TARGET, session_cookie::TARGET, sealed_record::TARGET];
