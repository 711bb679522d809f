//! One of several servers behind nginx, which all share their users' sessions and know who their clients are.
//!
//! ```sh
//! stayput keys new --keyring DIR/keyring
//! cargo run -p example-behind-nginx -- 3001 DIR    # the sessions are in DIR/sessions.db, under DIR/keyring
//! ```
//!
//! `nginx.conf` beside this has the other half. Only nginx may say who the client is; what clients say of themselves is not
//! believed.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;

use axum::extract::{ConnectInfo, Form};
use axum::routing::{get, post};
use axum::{Router, serve};
use serde::Deserialize;
use stayput::{CookiePolicy, Policy, Session, Sessions, SharedKeyring, Subject, TrustedProxies};
use stayput_stores::SqliteStore;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().ok_or("which port?")?.parse()?;
    let directory = PathBuf::from(arguments.next().ok_or("which directory?")?);

    // Without Secure, because this nginx speaks plain http. Where it ends TLS leave this out: the browser speaks https then,
    // and so the cookies can be Secure, whatever nginx speaks with its servers.
    let policy = Policy { cookie: CookiePolicy::default().danger_plain_http(), ..Policy::web() };
    let sessions = Sessions::builder(SqliteStore::open(directory.join("sessions.db")).await?)
        .keyring(SharedKeyring::from_file(directory.join("keyring"))?)
        .policy(policy)
        // The other end of the connection, which is nginx; axum puts it there for `into_make_service_with_connect_info`.
        .peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()))
        // nginx, by the address it connects from. Nobody else on this address: whoever is trusted can claim any other.
        .trusted_proxies(TrustedProxies::new(["127.0.0.1"])?)
        .build()?;
    sessions.check_keyring().await?;

    let app = Router::new()
        .route("/", get(page))
        .route("/login", post(login))
        .route("/visits", post(visit))
        .layer(sessions.layer());
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(ctrl_c())
        .await?;
    Ok(())
}

/// Plain text, in which nothing needs to be escaped.
async fn page(session: Session) -> Result<String, stayput::Error> {
    let user = session.subject().await?;
    let user = user.as_ref().map_or("a visitor", Subject::as_str);
    let visits: u32 = session.get(VISITS).await?.unwrap_or_default();
    let client = session.client();
    let address = client.address().map_or_else(|| "nowhere".to_owned(), |address| address.to_string());
    let scheme = if client.is_https() == Some(true) { "https" } else { "http" };
    let server = std::process::id();
    Ok(format!("{user} from {address} by {scheme}, {visits} visits, answered by process {server}\n"))
}

#[derive(Deserialize)]
struct Name {
    user: String,
}

/// An example: whoever says a name is believed. The other examples ask for a password.
async fn login(session: Session, Form(name): Form<Name>) -> Result<(), stayput::Error> {
    session.login(Subject::new(name.user)).await
}

async fn visit(session: Session) -> Result<String, stayput::Error> {
    let visits = session.update(VISITS, |visits: &mut u32| *visits += 1).await?;
    Ok(format!("{visits} visits\n"))
}

async fn ctrl_c() {
    tokio::signal::ctrl_c().await.expect("signals can be listened for");
}

/// Key of the counter among the session's values.
const VISITS: &str = "visits";
