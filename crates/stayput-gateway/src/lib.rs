//! The affinity gateway: an HTTP/1.1 data plane that keeps each client on one server and loses nobody when servers
//! fail.
//!
//! A request flows through one task on one thread, without a channel, lock or allocation of its own (its line in the
//! access log apart):
//!
//! ```text
//! client ──> head (scanned, parsed, judged) ──> request (rewritten as bytes) ─┐
//!                                                                             v
//!            upload   (head and body, checked as they pass)  <── exchange (whom to ask, and again?)
//!            download (answer's head rewritten, its body checked)             │
//! client <───────────────────────────────────────────────────────────────────┘
//! ```
//!
//! | to learn | read |
//! |---|---|
//! | what is refused, and where bodies end | `head`, `framing`, `chunked`, `request`, `answer` |
//! | which upstream a client gets | `affinity` (what the rules find), `pool` (who can take it), `upstream` |
//! | how a route gets into links, and off addresses | `links` (what they are), `affinity::url` (what they say) |
//! | which application a request is for | `authority`, `directory` |
//! | who a client is | `origin` |
//! | when a request is sent again | `exchange`, `retry`, `waiting` |
//! | who fails, and who is taken out for it | `health`, `upstream::health`, `pool::floor` |
//! | how bytes move, both ways at once | `transfer`, `body`, `buffer`, `io` |
//! | where upstreams are | `names`, `upstream::addresses`, `connect` |
//! | how connections live and end | `client`, `idle`, `closing`, `watch` |
//! | what can change while it runs, and how | `site`, `control`, `admin` |
//! | what is counted, and how it is told | `metrics`, `access_log` |
//! | threads, sockets, shutdown | `gateway`, `worker`, `listener` |
//!
//! It never opens a session: it sees cookies pass, takes off its own, and leaves the others as they are. Ambiguous
//! HTTP is refused and never forwarded.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use stayput_core::{Keyring, SystemRandom};
//! use stayput_gateway::{Config, Gateway, UpstreamConfig};
//!
//! let keyring = Keyring::generate(&SystemRandom);
//! let upstream = UpstreamConfig::new("shop-1", "10.0.0.1:3000".parse()?);
//! let gateway = Gateway::bind(Config::new("127.0.0.1:8080".parse()?, vec![upstream]), keyring)?.start()?;
//! // … until it is time to go:
//! gateway.shutdown(Duration::from_secs(30)).await;
//! # Ok(())
//! # }
//! ```

mod access_log;
mod admin;
mod affinity;
mod answer;
mod authority;
mod body;
mod buffer;
mod chunked;
mod client;
mod closing;
mod config;
mod connect;
mod control;
mod date;
mod directory;
mod exchange;
mod framing;
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod head;
mod health;
mod idle;
mod io;
mod links;
mod listener;
mod metrics;
mod names;
mod origin;
mod pool;
mod refusal;
mod request;
mod request_id;
mod retry;
mod site;
mod transfer;
mod upstream;
mod waiting;
mod watch;
mod worker;

pub use admin::{AdminConfig, AdminToken, BadToken, Reload, ReloadError, Reloaded};
pub use config::{
    AccessLog, AffinityConfig, BadAddress, Check, CheckKind, Config, ConfigMistake, CookieRule, HealthConfig,
    Limits, LogFormat, OnReturn, PoolConfig, RequestIds, Rule, SessionFormat, SessionRule, SiteConfig,
    Timeouts, UpstreamAddress, UpstreamConfig, UrlPlace, UrlRule,
};
pub use control::{ChangeError, Control, Undoing, Undone, UnknownUpstream};
pub use gateway::{BindError, Gateway, Running};
pub use names::{Resolve, SystemResolver};
pub use upstream::{CheckStatus, UpstreamStatus};
