//! The shop's routes: JSON for programs, a page for browsers.

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use serde::{Deserialize, Serialize};
use stayput::{Session, Subject, Written};

use super::page::Page;
use crate::cli::ReachedBy;

/// Key of the session's counter of visits.
pub(super) const VISITS: &str = "visits";
/// Key of the session's cart.
pub(super) const CART: &str = "cart";

/// One of the shop's servers.
#[derive(Debug)]
pub(super) struct Shop {
    name: String,
    pid: u32,
    reached_by: ReachedBy,
}

impl Shop {
    pub(super) fn new(name: String, reached_by: ReachedBy) -> Arc<Self> {
        Arc::new(Self { name, pid: std::process::id(), reached_by })
    }
}

pub(super) fn router(shop: Arc<Shop>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .route("/me", get(me))
        .route("/visits", post(visit))
        .route("/cart", post(add_to_cart))
        .route("/server", get(server))
        .with_state(shop)
}

async fn page(State(shop): State<Arc<Shop>>, session: Session) -> Result<Response, ShopError> {
    let user = session.subject().await?;
    let page = Page {
        user: user.as_ref().map(Subject::as_str),
        server: &shop.name,
        pid: shop.pid,
        visits: session.get(VISITS).await?.unwrap_or_default(),
        cart: session.get(CART).await?.unwrap_or_default(),
        cookies_are_dropped: shop.reached_by == ReachedBy::PlainHttp,
    };
    let headers = [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"),
    ];
    Ok((headers, Html(page.html())).into_response())
}

#[derive(Deserialize)]
struct Login {
    user: String,
}

#[derive(Serialize)]
struct LoggedIn<'a> {
    user: &'a str,
    server: &'a str,
}

/// A sample: whoever says a name is believed. A real application checks a password or asks an identity provider.
async fn login(
    State(shop): State<Arc<Shop>>,
    wants: Wants,
    session: Session,
    Form(form): Form<Login>,
) -> Result<Response, ShopError> {
    let user = within(&form.user, 64)?;
    session.login(Subject::new(user)).await?;
    Ok(wants.answer(Json(LoggedIn { user, server: &shop.name })))
}

#[derive(Serialize)]
struct LoggedOut {
    user: Option<&'static str>,
}

async fn logout(wants: Wants, session: Session) -> Result<Response, ShopError> {
    session.logout().await?;
    Ok(wants.answer(Json(LoggedOut { user: None })))
}

#[derive(Serialize)]
struct Me<'a> {
    user: &'a str,
    server: &'a str,
    visits: u64,
    cart: Vec<String>,
}

async fn me(State(shop): State<Arc<Shop>>, session: Session) -> Result<Response, ShopError> {
    let Some(user) = session.subject().await? else { return Err(ShopError::NotLoggedIn) };
    let visits = session.get(VISITS).await?.unwrap_or_default();
    let cart = session.get(CART).await?.unwrap_or_default();
    let me = Me { user: user.as_str(), server: &shop.name, visits, cart };
    Ok(([(CACHE_CONTROL, "no-store")], Json(me)).into_response())
}

#[derive(Serialize)]
struct Visits {
    visits: u64,
}

async fn visit(wants: Wants, session: Session) -> Result<Response, ShopError> {
    let visits = session.update(VISITS, |visits: &mut u64| *visits += 1).await?;
    Ok(wants.answer(Json(Visits { visits })))
}

#[derive(Deserialize)]
struct Item {
    item: String,
}

#[derive(Serialize)]
struct Cart {
    cart: Vec<String>,
}

async fn add_to_cart(wants: Wants, session: Session, Form(form): Form<Item>) -> Result<Response, ShopError> {
    let item = within(&form.item, 100)?;
    let add = |cart: &mut Vec<String>| {
        if cart.len() >= FULL_CART {
            return Err(ShopError::Refused("the cart is full"));
        }
        cart.push(item.to_owned());
        Ok(cart.clone())
    };
    let cart = session.try_update(CART, add).await?;
    Ok(wants.answer(Json(Cart { cart })))
}

/// The stored cart, and what was put into it while the store was out. A set would forget that somebody wants two of a thing.
pub(super) fn merge_carts(written: Written<Vec<String>>) -> Option<Vec<String>> {
    let put_in = written.after?.into_iter().skip(written.before.unwrap_or_default().len());
    let mut cart = written.stored.unwrap_or_default();
    cart.extend(put_in);
    cart.truncate(FULL_CART);
    Some(cart)
}

#[derive(Serialize)]
struct Server<'a> {
    server: &'a str,
    pid: u32,
}

async fn server(State(shop): State<Arc<Shop>>) -> Response {
    Json(Server { server: &shop.name, pid: shop.pid }).into_response()
}

fn within(text: &str, most: usize) -> Result<&str, ShopError> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > most {
        return Err(ShopError::Refused("that is empty or too long"));
    }
    Ok(text)
}

const FULL_CART: usize = 50;

/// What the client reads: a browser is sent back to the page after it posted a form.
#[derive(Clone, Copy)]
enum Wants {
    Page,
    Json,
}

impl Wants {
    fn answer(self, json: impl IntoResponse) -> Response {
        match self {
            Self::Page => Redirect::to("/").into_response(),
            Self::Json => json.into_response(),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Wants {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let accept = parts.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        Ok(if accept.contains("text/html") { Self::Page } else { Self::Json })
    }
}

#[derive(Debug)]
enum ShopError {
    NotLoggedIn,
    Refused(&'static str),
    Session(stayput::Error),
}

impl From<stayput::Error> for ShopError {
    fn from(error: stayput::Error) -> Self {
        Self::Session(error)
    }
}

#[derive(Serialize)]
struct ErrorText {
    error: String,
}

impl IntoResponse for ShopError {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::NotLoggedIn => (StatusCode::UNAUTHORIZED, "not logged in".to_owned()),
            Self::Refused(reason) => (StatusCode::BAD_REQUEST, reason.to_owned()),
            Self::Session(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "session error");
                (error.status(), error.to_string())
            }
        };
        let mut response = (status, Json(ErrorText { error })).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
