//! What the admin interface can be asked for. Paths have a version; a change within one only adds.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Extension, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router, middleware};
use serde::{Deserialize, Serialize};

use super::answer::Problem;
use super::gate::{self, Gate, Peer};
use super::status::{Status, Upstream};
use super::{AdminToken, LARGEST_BODY, Reload, ReloadError};
use crate::config::{UpstreamAddress, UpstreamConfig};
use crate::control::Control;
use crate::metrics;

struct Admin {
    control: Control,
    reload: Option<Reload>,
}

type Shared = State<Arc<Admin>>;
type Named = Path<(String, String)>;
type Body = Result<Bytes, BytesRejection>;

pub(super) fn router(token: AdminToken, control: Control, reload: Option<Reload>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/metrics", get(metrics_now))
        .route("/v1/reload", post(reload_now))
        .route("/v1/pools/{pool}/upstreams/{upstream}", put(put_upstream).patch(change).delete(remove))
        .fallback(async || {
            Problem::new(StatusCode::NOT_FOUND, "there is nothing here").way_out(DOCUMENTATION)
        })
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this can't be done here").way_out(DOCUMENTATION)
        })
        .with_state(Arc::new(Admin { control, reload }))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(Arc::new(Gate::new(token)), gate::guard))
}

async fn status(State(admin): Shared) -> Json<Status> {
    Json(Status::of(&admin.control))
}

async fn metrics_now(State(admin): Shared) -> ([(HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::render(&admin.control))
}

#[derive(Serialize)]
struct ReloadAnswer {
    undone: Vec<String>,
    needs_restart: Vec<String>,
}

async fn reload_now(
    State(admin): Shared,
    Extension(Peer(client)): Extension<Peer>,
) -> Result<Response, Problem> {
    let Some(reload) = admin.reload.clone() else {
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "this gateway has nothing to reload"));
    };
    let control = admin.control.clone();
    // It reads files, and makes tables that may take a second.
    let outcome = tokio::task::spawn_blocking(move || reload(&control)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(ReloadError(vec!["the reload failed; see the log".into()])));
    audit(client, "reload", &format!("{outcome:?}"));
    let done = outcome?;
    let undone = done.undone.iter().map(ToString::to_string).collect();
    Ok(Json(ReloadAnswer { undone, needs_restart: done.needs_restart }).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    address: String,
    weight: Option<u16>,
}

async fn put_upstream(
    State(admin): Shared,
    Path((pool, name)): Named,
    Extension(Peer(client)): Extension<Peer>,
    body: Body,
) -> Result<Response, Problem> {
    let wanted: Put = read(body, PUT)?;
    let address: UpstreamAddress = wanted.address.parse().map_err(|_| {
        let error = format!("{:?} is no address", wanted.address);
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error).way_out(PUT)
    })?;
    if address.port() == 0 {
        let error = format!("nobody can be connected to at port 0, as in {address}");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error).way_out(PUT));
    }
    let before = admin.control.upstreams().into_iter().find(|its| *its.pool == *pool && *its.name == *name);
    let weight = wanted.weight.or(before.map(|before| before.weight)).unwrap_or(1);
    let what = format!("{pool}/{name} at {address}, weight {weight}");
    let upstream = UpstreamConfig { weight, ..UpstreamConfig::new(&name, address) };
    let (control, of) = (admin.control.clone(), pool.clone());
    // It may look up a name.
    let put = tokio::task::spawn_blocking(move || control.put_upstream(&of, upstream)).await;
    let is_new = put.expect("changing a gateway does not panic")?;
    audit(client, "put", &what);
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, upstream_now(&admin, &pool, &name)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    weight: Option<u16>,
    draining: Option<bool>,
    deadline_seconds: Option<u64>,
}

async fn change(
    State(admin): Shared,
    Path((pool, name)): Named,
    Extension(Peer(client)): Extension<Peer>,
    body: Body,
) -> Result<Response, Problem> {
    let wanted: Change = read(body, PATCH)?;
    if wanted.deadline_seconds.is_some() && wanted.draining != Some(true) {
        let error = "a deadline is for draining";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error).way_out(PATCH));
    }
    let control = &admin.control;
    // First of all what may be refused, so that nothing is half done.
    if let Some(weight) = wanted.weight {
        control.set_weight(&pool, &name, weight)?;
        audit(client, "weight", &format!("{pool}/{name}: {weight}"));
    }
    match wanted.draining {
        Some(true) => {
            control.drain(&pool, &name, wanted.deadline_seconds.map(Duration::from_secs))?;
            audit(client, "drain", &format!("{pool}/{name}, deadline {:?} s", wanted.deadline_seconds));
        }
        Some(false) => {
            control.stop_draining(&pool, &name)?;
            audit(client, "undrain", &format!("{pool}/{name}"));
        }
        None if wanted.weight.is_none() => {
            return Err(
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "there is nothing to change").way_out(PATCH)
            );
        }
        None => {}
    }
    Ok(upstream_now(&admin, &pool, &name).into_response())
}

async fn remove(
    State(admin): Shared,
    Path((pool, name)): Named,
    Extension(Peer(client)): Extension<Peer>,
) -> Result<Response, Problem> {
    let last = upstream_now(&admin, &pool, &name);
    admin.control.remove_upstream(&pool, &name)?;
    audit(client, "remove", &format!("{pool}/{name}"));
    Ok(last.into_response())
}

fn upstream_now(admin: &Admin, pool: &str, name: &str) -> Json<Option<Upstream>> {
    Json(Upstream::named(&admin.control, pool, name))
}

fn read<T: for<'de> Deserialize<'de>>(body: Body, form: &str) -> Result<T, Problem> {
    let body =
        body.map_err(|rejected| Problem::new(rejected.status(), rejected.body_text().to_lowercase()))?;
    serde_json::from_slice(&body).map_err(|error| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the body can't be read: {error}"))
            .way_out(form)
    })
}

/// Every change is told, and who made it.
fn audit(client: std::net::SocketAddr, action: &str, what: &str) {
    tracing::info!(target: "stayput::audit", %client, action, what, "changed through the admin interface");
}

const PUT: &str = r#"send JSON such as {"address": "10.0.0.1:3000", "weight": 1}"#;
const PATCH: &str = r#"send JSON such as {"weight": 2} or {"draining": true, "deadline_seconds": 600}"#;
const DOCUMENTATION: &str = "docs/gateway.md lists what there is";
