//! What must hold for every byte that a client may send to the gateway: its fuzz targets' bodies.
//!
//! They know nothing of a fuzzer: the gateway's own tests include this folder, and replay the kept corpus through it.

pub mod chunked_body;
pub mod proxy;
pub mod recorder;
pub mod request_head;
pub mod strict;

mod split;
#[path = "../target.rs"]
mod target;

pub use self::target::Target;

/// Every target.
pub const TARGETS: [Target; 3] = [chunked_body::TARGET, proxy::TARGET, request_head::TARGET];
