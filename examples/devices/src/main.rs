//! A page of devices: where a user is logged in, with "remember me", the end of one session, of the others, and of all.
//!
//! ```sh
//! cargo run -p example-devices                # on port 3000; the sessions end with the process
//! cargo run -p example-devices -- 3000 DIR    # the sessions stay in DIR/sessions.db, under DIR/keyring
//! ```
//!
//! Ending all sessions asks for the password again unless it was given just now. What ends nobody is a GET: followed links
//! carry the cookies, other sites' forms don't (`SameSite=Lax`).

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use askama::Template;
use axum::extract::{ConnectInfo, Form};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, serve};
use serde::Deserialize;
use stayput::{
    CookiePolicy, Keyring, Login, Policy, Session, SessionInfo, Sessions, SharedKeyring, Subject,
    SystemRandom,
};
use stayput_stores::SqliteStore;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().map_or(Ok(3000), |port| port.parse())?;
    let scratch = tempfile::tempdir()?;
    let (directory, keyring) = match arguments.next().map(PathBuf::from) {
        Some(directory) => (directory.clone(), SharedKeyring::from_file(directory.join("keyring"))?),
        None => (scratch.path().to_owned(), Keyring::generate(&SystemRandom).into()),
    };
    // Without Secure, for plain http on one's own machine only; leave it out everywhere else.
    let policy = Policy { cookie: CookiePolicy::default().danger_plain_http(), ..Policy::web() };
    let store = SqliteStore::open(directory.join("sessions.db")).await?;
    let sessions = Sessions::builder(store)
        .keyring(keyring)
        .policy(policy)
        // The address that the page shows. Behind a proxy see docs/proxies.md.
        .peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()))
        .build()?;
    sessions.check_keyring().await?;
    let app = app(&sessions).into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener, app).with_graceful_shutdown(ctrl_c()).await?;
    Ok(())
}

fn app(sessions: &Sessions) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/login", post(login))
        .route("/confirm", get(Html(CONFIRM_PAGE)).post(confirm))
        .route("/end", post(end))
        .route("/end-others", post(end_others))
        .route("/end-all", post(end_all))
        .layer(sessions.layer())
}

async fn page(session: Session) -> Result<Response, stayput::Error> {
    let Some(user) = session.subject().await? else { return Ok(Html(LOGIN_PAGE).into_response()) };
    let page = DevicesPage { user: user.as_str(), devices: session.list().await? };
    let html = page.render().expect("the template writes to a string");
    // The next user of the browser must not find it by the back button.
    Ok(([(CACHE_CONTROL, "no-store")], Html(html)).into_response())
}

#[derive(Deserialize)]
struct Credentials {
    user: String,
    password: String,
    remember: Option<String>, // browsers send a checkbox only if it is checked
}

async fn login(session: Session, Form(form): Form<Credentials>) -> Result<Response, stayput::Error> {
    if !is_password_of(&form.user, &form.password) {
        return Ok((StatusCode::UNAUTHORIZED, "no such user and password").into_response());
    }
    // Remembered sessions outlive the browser, and last for `Policy::remember`.
    let login = Login::new(Subject::new(form.user)).remembered(form.remember.is_some());
    session.login(login).await?;
    Ok(Redirect::to("/").into_response())
}

#[derive(Deserialize)]
struct Device {
    handle: String,
}

/// A handle names a session to its own user only: somebody else's ends nothing.
async fn end(session: Session, Form(device): Form<Device>) -> Result<Response, stayput::Error> {
    let Ok(handle) = device.handle.parse() else { return Ok(StatusCode::BAD_REQUEST.into_response()) };
    session.end(&handle).await?; // `false` if it had ended already, which is as good
    Ok(Redirect::to("/").into_response())
}

async fn end_others(session: Session) -> Result<Redirect, stayput::Error> {
    session.end_others().await?;
    Ok(Redirect::to("/"))
}

/// Whoever finds an open browser must not log its user out everywhere.
async fn end_all(session: Session) -> Result<Redirect, stayput::Error> {
    match session.recently_authenticated(PROOF_LASTS).await {
        Err(stayput::Error::StepUp) => Ok(Redirect::to("/confirm")),
        Err(error) => Err(error),
        Ok(_) => session.end_all().await.map(|_| Redirect::to("/")),
    }
}

#[derive(Deserialize)]
struct Proof {
    password: String,
}

async fn confirm(session: Session, Form(proof): Form<Proof>) -> Result<Response, stayput::Error> {
    let user = session.subject().await?.ok_or(stayput::Error::NotLoggedIn)?;
    if !is_password_of(user.as_str(), &proof.password) {
        return Ok((StatusCode::UNAUTHORIZED, "that is not your password").into_response());
    }
    session.elevate().await?; // the same session under a new id, proven now
    Ok(Redirect::to("/").into_response())
}

/// An example: a real application looks up the user's password hash, or asks an identity provider.
fn is_password_of(user: &str, password: &str) -> bool {
    ["alice", "bob"].contains(&user) && password == "secret"
}

async fn ctrl_c() {
    tokio::signal::ctrl_c().await.expect("signals can be listened for");
}

/// How long a password that was given is proof enough to end all sessions.
const PROOF_LASTS: Duration = Duration::from_mins(5);

/// askama escapes what users typed, and what their browsers say they are.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<title>Devices</title>
<h1>Where {{ user }} is logged in</h1>
<ul>{% for device in devices %}
<li>{% if device.agent.is_empty() %}Unknown browser{% else %}{{ device.agent }}{% endif %}
{%- if let Some(address) = device.address %} at {{ address }}{% endif %}, last seen {{ device.last_seen }}
{%- if device.is_remembered %}, remembered{% endif %}{% if device.is_this %}, this one{% endif %}
<form method="post" action="/end"><button name="handle" value="{{ device.handle }}">End</button></form></li>
{% endfor %}</ul>
<form method="post" action="/end-others"><button>End the others</button></form>
<form method="post" action="/end-all"><button>End all</button></form>"#
)]
struct DevicesPage<'a> {
    user: &'a str,
    devices: Vec<SessionInfo>,
}

const LOGIN_PAGE: &str = r#"<!doctype html>
<title>Log in</title>
<form method="post" action="/login">
<input name="user" placeholder="alice" required>
<input name="password" type="password" placeholder="secret" required>
<label><input name="remember" type="checkbox"> Remember me</label> <button>Log in</button>
</form>"#;

const CONFIRM_PAGE: &str = r#"<!doctype html>
<title>Is it you?</title>
<form method="post" action="/confirm">
<input name="password" type="password" placeholder="secret" required> <button>Confirm</button>
</form>"#;

#[cfg(test)]
mod tests;
