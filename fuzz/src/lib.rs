//! What must hold for every byte that a client, or who can write to a store, may send: the fuzz targets' bodies.
//!
//! They know nothing of a fuzzer: the library's own tests include this file and replay the kept corpus through it.

pub mod cookie_header;
pub mod lifeboat;
pub mod sealed_record;
pub mod session_cookie;

mod exchange;
mod known;

/// A kind of hostile bytes, and what must hold for them.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its binary and of its folder in the corpus.
    pub name: &'static str,
    /// Panics if something does not hold. Whether the bytes were genuine.
    pub check: fn(&[u8]) -> bool,
    /// Inputs to begin with: genuine ones, so that the fuzzer has something to change, and near misses.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words to put in, since a fuzzer can't guess a signature.
    pub words: fn() -> Vec<String>,
}

/// Every target.
pub const TARGETS: [Target; 4] =
    [cookie_header::TARGET, lifeboat::TARGET, session_cookie::TARGET, sealed_record::TARGET];
