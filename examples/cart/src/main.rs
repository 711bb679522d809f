//! A shop whose visitors fill a cart first and log in later: the cart comes along, and nothing else does.
//!
//! ```sh
//! cargo run -p example-cart                # on port 3000; the sessions end with the process
//! cargo run -p example-cart -- 3000 DIR    # the sessions stay in DIR/sessions.db, under DIR/keyring
//! ```
//!
//! `stayput keys new --keyring DIR/keyring` makes the keyring. Nothing here changes on GET: other sites' forms don't carry
//! the cookies (`SameSite=Lax`), but followed links do.

use std::error::Error;
use std::path::PathBuf;

use askama::Template;
use axum::extract::Form;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, serve};
use serde::Deserialize;
use stayput::{CookiePolicy, Keyring, Policy, Session, Sessions, SharedKeyring, Subject, SystemRandom};
use stayput_stores::SqliteStore;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // What goes wrong with sessions is in the log; clients are told less.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().map_or(Ok(3000), |port| port.parse())?;
    let scratch = tempfile::tempdir()?;
    let (directory, keyring) = match arguments.next().map(PathBuf::from) {
        // The same keyring on every server, and after every restart.
        Some(directory) => (directory.clone(), SharedKeyring::from_file(directory.join("keyring"))?),
        None => (scratch.path().to_owned(), Keyring::generate(&SystemRandom).into()),
    };
    let policy = Policy {
        carry: vec![CART.into()], // all that a login takes over from the anonymous session
        // Browsers keep Secure cookies over https only. This is for plain http on one's own machine; leave it out
        // everywhere else.
        cookie: CookiePolicy::default().danger_plain_http(),
        ..Policy::web()
    };
    let store = SqliteStore::open(directory.join("sessions.db")).await?;
    let sessions = Sessions::builder(store).keyring(keyring).policy(policy).build()?;
    sessions.check_keyring().await?; // better not to start than to take everybody for logged out

    let app = Router::new()
        .route("/", get(page))
        .route("/cart", post(add))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .layer(sessions.layer());
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener, app).with_graceful_shutdown(ctrl_c()).await?;
    Ok(())
}

/// Every `?` in these handlers is an honest answer: a store that fails is a 503 that says so, never an empty cart or a
/// page for strangers.
async fn page(session: Session) -> Result<Response, stayput::Error> {
    let user = session.subject().await?;
    let cart = session.get(CART).await?.unwrap_or_default();
    let page = Page { user: user.as_ref().map(Subject::as_str), cart };
    let html = page.render().expect("the template writes to a string");
    // The next user of the browser must not find it by the back button.
    Ok(([(CACHE_CONTROL, "no-store")], Html(html)).into_response())
}

#[derive(Deserialize)]
struct Item {
    item: String,
}

async fn add(session: Session, Form(Item { item }): Form<Item>) -> Result<Response, stayput::Error> {
    if item.is_empty() || item.len() > 100 {
        return Ok((StatusCode::BAD_REQUEST, "an item has 1 to 100 bytes").into_response());
    }
    // Atomic: run again on whatever a parallel request, on this or another server, wrote in between.
    let add = |cart: &mut Vec<String>| cart.push(item.clone());
    session.update(CART, add).await?;
    Ok(Redirect::to("/").into_response())
}

#[derive(Deserialize)]
struct Credentials {
    user: String,
    password: String,
}

async fn login(session: Session, Form(form): Form<Credentials>) -> Result<Response, stayput::Error> {
    if !is_password_of(&form.user, &form.password) {
        return Ok((StatusCode::UNAUTHORIZED, "no such user and password").into_response());
    }
    // Under a new id: whoever planted or saw the old one gains nothing.
    session.login(Subject::new(form.user)).await?;
    Ok(Redirect::to("/").into_response())
}

/// An example: a real application looks up the user's password hash, or asks an identity provider.
fn is_password_of(user: &str, password: &str) -> bool {
    ["alice", "bob"].contains(&user) && password == "secret"
}

async fn logout(session: Session) -> Result<Redirect, stayput::Error> {
    session.logout().await?; // when this returns it is over on every server
    Ok(Redirect::to("/"))
}

async fn ctrl_c() {
    tokio::signal::ctrl_c().await.expect("signals can be listened for");
}

/// Key of the cart among the session's values.
const CART: &str = "cart";

/// askama escapes what users typed.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<title>Cart</title>
<h1>{% if let Some(user) = user %}{{ user }}'s cart{% else %}Your cart{% endif %}</h1>
<ul>{% for item in cart %}<li>{{ item }}</li>{% endfor %}</ul>
<form method="post" action="/cart"><input name="item" required maxlength="100"> <button>Add</button></form>
{% if user.is_some() %}<form method="post" action="/logout"><button>Log out</button></form>
{% else %}<form method="post" action="/login">
<input name="user" placeholder="alice" required>
<input name="password" type="password" placeholder="secret" required> <button>Log in</button>
</form>{% endif %}"#
)]
struct Page<'a> {
    user: Option<&'a str>,
    cart: Vec<String>,
}
