//! A session as one type of the application's, which handlers take as an argument; and messages for the next page.
//!
//! ```sh
//! cargo run -p example-typed                # on port 3000; the sessions end with the process
//! cargo run -p example-typed -- 3000 DIR    # the sessions stay in DIR/sessions.db, under DIR/keyring
//! ```
//!
//! Nobody logs in here: visitors have a session as soon as something is written to it, and none before.

use std::error::Error;
use std::path::PathBuf;

use askama::Template;
use axum::extract::Form;
use axum::response::{Html, Redirect};
use axum::routing::{get, post};
use axum::{Router, serve};
use serde::{Deserialize, Serialize};
use stayput::{
    CookiePolicy, Flash, FlashLevel, Keyring, Policy, Sessions, SharedKeyring, SystemRandom, Typed,
    TypedSession,
};
use stayput_stores::SqliteStore;
use tokio::net::TcpListener;

/// What the application knows of a visitor. It is stored by its fields' names, so the type can change while sessions live:
/// a new field needs a default, one that is gone is skipped.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Reader {
    name: Option<String>,
    is_large_type: bool,
    pages_read: u32,
}

impl TypedSession for Reader {
    const KEY: &'static str = "reader";
}

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
    let sessions = Sessions::builder(store).keyring(keyring).policy(policy).build()?;
    sessions.check_keyring().await?;

    let app = Router::new()
        .route("/", get(page))
        .route("/settings", post(change_settings))
        .route("/turn", post(turn_page))
        .layer(sessions.layer());
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener, app).with_graceful_shutdown(ctrl_c()).await?;
    Ok(())
}

/// Shows the messages, which thereby are gone: of several tabs one gets each of them.
async fn page(reader: Typed<Reader>) -> Result<Html<String>, stayput::Error> {
    let flashes = reader.session().flashes().await?;
    let page = Page { reader: &reader, flashes };
    Ok(Html(page.render().expect("the template writes to a string")))
}

#[derive(Deserialize)]
struct Settings {
    name: String,
    large: Option<String>, // browsers send a checkbox only if it is checked
}

/// Post, redirect, get: the message waits in the session for the page that the redirect leads to.
async fn change_settings(
    mut reader: Typed<Reader>,
    Form(settings): Form<Settings>,
) -> Result<Redirect, stayput::Error> {
    let name: String = settings.name.trim().chars().take(40).collect();
    let change = |reader: &mut Reader| {
        reader.name = Some(name.clone()).filter(|name| !name.is_empty());
        reader.is_large_type = settings.large.is_some();
    };
    reader.update(change).await?;
    let (level, text) = match &reader.name {
        Some(name) => (FlashLevel::Success, format!("Welcome, {name}.")),
        None => (FlashLevel::Warning, "You go without a name.".to_owned()),
    };
    reader.session().flash(level, text).await?;
    Ok(Redirect::to("/"))
}

/// Atomic: a parallel request's page is not lost, nor is its change to another field.
async fn turn_page(mut reader: Typed<Reader>) -> Result<Redirect, stayput::Error> {
    reader.update(|reader| reader.pages_read += 1).await?;
    Ok(Redirect::to("/"))
}

async fn ctrl_c() {
    tokio::signal::ctrl_c().await.expect("signals can be listened for");
}

/// askama escapes what users typed, in messages as well.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<title>A book</title>
{% for flash in flashes %}<p role="status" class="{% if flash.level == FlashLevel::Success %}good{% else %}bad{% endif %}">{{ flash.text }}</p>{% endfor %}
<p{% if reader.is_large_type %} style="font-size: 2em"{% endif %}>
{%- if let Some(name) = reader.name %}{{ name }}, you{% else %}You{% endif %} have read {{ reader.pages_read }} pages.</p>
<form method="post" action="/turn"><button>Turn the page</button></form>
<form method="post" action="/settings">
<input name="name" placeholder="Your name" maxlength="40">
<label><input name="large" type="checkbox"> Large type</label> <button>Save</button>
</form>"#
)]
struct Page<'a> {
    reader: &'a Reader,
    flashes: Vec<Flash>,
}
