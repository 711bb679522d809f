//! Sessions for axum and tower applications: no failure logs a user out, no parallel request loses an update.
//!
//! The library never takes a store's error for "not logged in".
//!
//! # From nothing to a logged-in user
//!
//! In the `Cargo.toml` of a new crate (`cargo new shop`):
//!
//! ```toml
//! [dependencies] # not on crates.io yet: by path
//! axum = "0.8"
//! serde = { version = "1", features = ["derive"] }
//! stayput = { path = "…/crates/stayput" }
//! stayput-stores = { path = "…/crates/stayput-stores", features = ["sqlite"] }
//! tokio = { version = "1", features = ["full"] }
//! ```
//!
//! Make the keyring, which signs cookies and seals what is stored. All servers of an application have the same one, in a
//! file that only they can read (from a clone of Stayput: `cargo run -- keys new --keyring …/shop/keyring`):
//!
//! ```sh
//! stayput keys new --keyring keyring
//! ```
//!
//! All of `src/main.rs`:
//!
//! ```no_run
//! use axum::extract::{Form, Path};
//! use axum::routing::{get, post};
//! use axum::{Json, Router};
//! use stayput::{CookiePolicy, Policy, Session, Sessions, SharedKeyring, Subject};
//! use stayput_stores::SqliteStore;
//! use tokio::net::TcpListener;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let policy = Policy {
//!         // What a visitor keeps at login; everything else begins anew.
//!         carry: vec!["cart".into()],
//!         // Browsers keep `Secure` cookies over https only. Leave this line out everywhere but on your own machine.
//!         cookie: CookiePolicy::default().danger_plain_http(),
//!         ..Policy::web()
//!     };
//!     let sessions = Sessions::builder(SqliteStore::open("sessions.db").await?)
//!         .keyring(SharedKeyring::from_file("keyring")?)
//!         .policy(policy)
//!         .build()?;
//!     sessions.check_keyring().await?; // an error if the store's sessions were written with another one
//!
//!     let app = Router::new()
//!         .route("/", get(me))
//!         .route("/cart/{item}", post(add))
//!         .route("/login", post(login))
//!         .route("/logout", post(logout))
//!         .layer(sessions.layer());
//!     axum::serve(TcpListener::bind("127.0.0.1:3000").await?, app).await?;
//!     Ok(())
//! }
//!
//! async fn me(session: Session) -> Result<String, stayput::Error> {
//!     let cart: Vec<String> = session.get("cart").await?.unwrap_or_default();
//!     let user = session.subject().await?;
//!     let user = user.as_ref().map_or("a visitor", Subject::as_str);
//!     Ok(format!("{user} with {cart:?}\n"))
//! }
//!
//! async fn add(session: Session, Path(item): Path<String>) -> Result<Json<Vec<String>>, stayput::Error> {
//!     // Atomic: run again on whatever a parallel request wrote in between.
//!     Ok(Json(session.update("cart", |cart: &mut Vec<String>| cart.push(item.clone())).await?))
//! }
//!
//! #[derive(serde::Deserialize)]
//! struct Credentials {
//!     user: String,
//! }
//!
//! async fn login(session: Session, Form(form): Form<Credentials>) -> Result<(), stayput::Error> {
//!     // After checking who it is: a password's hash, or an identity provider's word.
//!     session.login(Subject::new(form.user)).await
//! }
//!
//! async fn logout(session: Session) -> Result<(), stayput::Error> {
//!     session.logout().await
//! }
//! ```
//!
//! Run it (`cargo run`), and in another terminal:
//!
//! ```sh
//! curl -c jar -b jar -X POST 127.0.0.1:3000/cart/tea       # ["tea"]
//! curl -c jar -b jar -d user=alice 127.0.0.1:3000/login
//! curl -c jar -b jar 127.0.0.1:3000                        # alice with ["tea"]
//! ```
//!
//! Kill the server (`kill -9`) and start it again: she is still logged in, with her cart. At last
//! `curl -c jar -b jar -X POST 127.0.0.1:3000/logout`: that cookie opens nothing any more, whoever kept a copy.
//!
//! # What to use for what
//!
//! | for | there is |
//! |---|---|
//! | values of any `serde` type | [`Session::get`]; [`insert`](Session::insert) and [`remove`](Session::remove), committed once, when the handler has returned |
//! | what parallel requests change | [`Session::update`], [`update_with`](Session::update_with), [`try_update`](Session::try_update), [`take`](Session::take): atomic |
//! | one type for the whole session | [`Typed`] as a handler's argument, [`TypedSession`] |
//! | messages for the next page | [`Session::flash`], [`flashes`](Session::flashes) |
//! | login and logout | [`Session::login`], [`subject`](Session::subject), [`logout`](Session::logout); what a login takes over: [`Policy::carry`] |
//! | "remember me" | [`Login::remembered`], [`Policy::remember`] |
//! | asking again before what matters | [`Session::recently_authenticated`], then [`elevate`](Session::elevate) |
//! | a page of devices | [`Session::list`], [`end`](Session::end), [`end_others`](Session::end_others), [`end_all`](Session::end_all) |
//! | a limit of sessions per user | [`Policy::session_limit`] |
//! | administration | [`Sessions::list`], [`Sessions::end`], [`Sessions::end_all`] |
//! | sockets and event streams that outlive their answer | [`Session::ended`] |
//! | audit and alarms | [`Builder::on_event`], [`Event`]; counters with the feature `metrics` |
//! | keys, exchanged under running servers | [`SharedKeyring::from_file`], [`SharedKeyring::from_env`], [`Sessions::check_keyring`] |
//! | a proxy in front | [`Builder::peer_address`], [`Builder::trusted_proxies`], [`Session::client`] |
//! | time-outs, sizes, cookies | [`Policy`], from [`Policy::web`], [`internal`](Policy::internal), [`bank_aal2`](Policy::bank_aal2) or [`bank_aal3`](Policy::bank_aal3); [`CookiePolicy`] |
//! | what went wrong, and what to answer | [`Error`] is a response by itself; [`Error::status`], [`Error::retry_after`] |
//! | tests | [`Builder::clock`], [`Builder::random`] |
//! | frameworks other than axum | [`SessionLayer`] for any tower service, [`Session::of`] |
//!
//! The repository's `examples/` are complete applications: `cart`, `devices`, `typed`, and `behind-nginx`.
//!
//! # Errors and statuses
//!
//! | status | when | the client |
//! |---|---|---|
//! | 503 | the store fails, servers' keyrings differ, too many writers at once | is still logged in, and tries again |
//! | 409 | the session ended, or got a new id, under the request | comes back with the cookie it has by then |
//! | 401 | it takes a login | logs in |
//! | 403 | it takes a newer login, or there are too many | proves who it is, or ends a session elsewhere |
//! | 413 | the session would hold more than [`Policy::max_data`] or [`Policy::max_values`] | |
//! | 429 | its address makes up cookies | waits |
//! | 500 | the application or the record is at fault: the log says how | |
//!
//! # What it costs
//!
//! A request that doesn't touch its session costs no store access; one that reads it costs one, one that writes it two.

mod answer;
mod call;
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
mod fresh;
mod guesses;
mod keys;
mod layer;
mod lifeboat;
mod login;
mod meter;
mod near;
mod outage;
mod renewal;
mod session;
mod sessions;
mod sweeper;
mod typed;
mod verified;

pub use client::{Client, NotANetwork, TrustedProxies};
pub use devices::SessionInfo;
pub use error::Error;
pub use events::{EndReason, Event, EventHook, EventKind, Refusal, Unreplayed};
#[cfg(feature = "axum")]
pub use extract::MissingLayer;
pub use flash::{Flash, FlashLevel};
pub use fresh::{FreshLayer, FreshService};
pub use keys::{KeyringSourceError, SharedKeyring};
pub use layer::{SessionFuture, SessionLayer, SessionService};
pub use lifeboat::{Journal, Written};
pub use login::Login;
pub use near::NearCache;
pub use session::Session;
pub use sessions::{Builder, Sessions};
pub use stayput_core::{
    Activity, Clock, CookiePolicy, Keyring, KeyringError, LifeboatKey, LogTag, Merge, OnWiped, Outage,
    Overflow, Policy, PolicyError, Random, RecordFormat, Remember, SameSite, SessionHandle, SessionLimit,
    SessionStore, StoreError, StoreErrorKind, Subject, SystemClock, SystemRandom, Timestamp,
};
pub use typed::{Typed, TypedSession};

/// The README's example compiles.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
