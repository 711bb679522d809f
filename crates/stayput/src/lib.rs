//! Sessions for axum and tower applications: no failure logs a user out, no parallel request loses an update.
//!
//! ```no_run
//! use axum::{Json, Router, extract::Path, routing::post};
//! use stayput::{Keyring, Policy, Session, Sessions, Subject, SystemRandom};
//!
//! # async fn run(store: impl stayput::SessionStore) -> Result<(), Box<dyn std::error::Error>> {
//! let sessions = Sessions::builder(store)
//!     .keyring(Keyring::generate(&SystemRandom)) // in production: the same one on every server, from a file
//!     .policy(Policy { carry: vec!["cart".into()], ..Policy::web() })
//!     .build()?;
//! sessions.check_keyring().await?; // an error if the store's sessions were written with another one
//! let app: Router = Router::new()
//!     .route("/cart/{item}", post(add))
//!     .route("/login", post(login))
//!     .layer(sessions.layer());
//! # Ok(()) }
//!
//! async fn add(session: Session, Path(item): Path<u32>) -> Result<Json<Vec<u32>>, stayput::Error> {
//!     // Atomic: run again on whatever a parallel request wrote in between.
//!     Ok(Json(session.update("cart", |cart: &mut Vec<u32>| cart.push(item)).await?))
//! }
//!
//! async fn login(session: Session) -> Result<(), stayput::Error> {
//!     session.login(Subject::new("alice")).await // after checking who it is
//! }
//! ```
//!
//! A request that doesn't touch its session costs no store access; one that reads it costs one, one that writes it
//! two. Keys, cookies, times and limits are in [`Policy`]; what may go wrong is in [`Error`]. The library never takes
//! a store's error for "not logged in".

mod answer;
mod canary;
mod client;
mod commit;
mod cookies;
mod data;
mod device;
mod devices;
mod ended;
mod endings;
mod error;
mod events;
#[cfg(feature = "axum")]
mod extract;
mod flash;
mod guesses;
mod keys;
mod layer;
mod login;
mod meter;
mod renewal;
mod session;
mod sessions;
mod sweeper;
mod typed;

pub use client::{Client, NotANetwork, TrustedProxies};
pub use devices::SessionInfo;
pub use error::Error;
pub use events::{EndReason, Event, EventHook, EventKind, Refusal};
#[cfg(feature = "axum")]
pub use extract::MissingLayer;
pub use flash::{Flash, FlashLevel};
pub use keys::{KeyringSourceError, SharedKeyring};
pub use layer::{SessionFuture, SessionLayer, SessionService};
pub use login::Login;
pub use session::Session;
pub use sessions::{Builder, Sessions};
pub use stayput_core::{
    Activity, Clock, CookiePolicy, Keyring, KeyringError, LogTag, Overflow, Policy, PolicyError, Random,
    Remember, SameSite, SessionHandle, SessionLimit, SessionStore, StoreError, StoreErrorKind, Subject,
    SystemClock, SystemRandom, Timestamp,
};
pub use typed::{Typed, TypedSession};

/// The README's example compiles.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
