//! What tests of sessions need: a conformance kit for stores with a plain-map model as its oracle, time that the
//! test moves, chance that replays from a seed, stores that fail on demand, real servers that can be stopped and cut off,
//! and a client that behaves like a browser.
//!
//! Nothing in here waits for a time to pass; tests wait for conditions.
//!
//! # A store of your own
//!
//! It is tested by these lines in a file of its `tests` folder, which make a test of each promise of the contract:
//!
//! ```
//! # use stayput_testkit::ModelStore as MyStore;
//! use std::sync::Arc;
//!
//! use stayput_core::SessionStore;
//! use stayput_testkit::{ManualClock, store_conformance};
//!
//! store_conformance!(|clock: Arc<ManualClock>| async move {
//!     Arc::new(MyStore::new(clock)) as Arc<dyn SessionStore>
//! });
//! # fn main() {}
//! ```
//!
//! Its `[dev-dependencies]` are this crate and `tokio` with `macros` and `rt-multi-thread`. The folder `examples/own-store` has
//! all of it. [`store_conformance!`] says what to do about a store in a directory, one whose server tells the time by itself, and one whose
//! server deletes by itself; [`conformance`] what is promised. The kit's own tests put it to stores with one fault each.

#[cfg(feature = "browser")]
mod browser;
mod chance;
pub mod conformance;
mod fault;
mod former;
mod model;
#[cfg(feature = "servers")]
mod proxy;
mod records;
#[cfg(feature = "servers")]
pub mod servers;
mod telling;
mod time;

#[cfg(feature = "browser")]
pub use browser::{Browser, Reply};
pub use chance::{Seed, SeededRandom};
pub use fault::{Fault, FaultyStore};
pub use former::FormerStore;
pub use model::{ModelState, ModelStore};
#[cfg(feature = "servers")]
pub use proxy::{FaultProxy, Weather};
pub use records::Records;
pub use telling::{Cause, Change, Ear, TellingStore};
pub use time::ManualClock;
