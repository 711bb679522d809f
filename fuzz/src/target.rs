//! What a fuzz target is. It knows nothing of a fuzzer.

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
