//! The same small application with different session layers, for `bench/run`.
//!
//! `stayput-bench LAYER serve ADDR` serves it on one thread; `stayput-bench LAYER count ROUTE N` calls it N times without
//! a network, to be counted under callgrind, and `base` the same application without a layer with the same requests.
//! `stayput-bench fill WHAT N` puts N sessions into the Redis at BENCH_STORE; `stayput-bench outage …` is for `bench/outage.py`
//! and `bench/spread.py`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{COOKIE, HeaderValue, SET_COOKIE};
use axum::http::{Request, StatusCode};
use axum::routing::get;
use stayput::NearCache;
use tower::ServiceExt;

mod apps;
mod fill;
mod outage;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["outage", ref args @ ..] => outage::main(args),
        _ => one_thread().block_on(run(&args)),
    }
}

/// A runtime on this thread alone: what is measured takes one core.
fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn run(args: &[&str]) {
    match args[..] {
        [layer, "serve", address] => serve(app(layer).await, address).await,
        [layer, "count", route, times] => {
            let app = app(layer).await;
            count(app.clone(), app, route, times.parse().expect("a number")).await;
        }
        [layer, "base", route, times] => {
            count(app(layer).await, app("none").await, route, times.parse().expect("a number")).await;
        }
        ["fill", what, count] => fill::fill(what, count.parse().expect("a number"), &store()).await,
        _ => panic!(
            "usage: stayput-bench fill tower|plain|anonymous|SESSIONS-A-SUBJECT N | none|tower|stayput|stayput-near|stayput-sqlite|tower-redis|tower-redis-sliding|stayput-redis|stayput-redis-near serve ADDR | count ROUTE N | base ROUTE N"
        ),
    }
}

async fn app(layer: &str) -> Router {
    match layer {
        "none" => Router::new()
            .route("/plain", get(|| async { "plain" }))
            .route("/read", get(|| async { "alice" }))
            .route("/write", get(|| async { "1" })),
        "tower" => apps::tower(),
        "stayput" => apps::stayput(stayput_stores::MemoryStore::default(), None),
        // What a hit costs, with a lease that lasts for as long as it is counted.
        "stayput-near" => {
            let near_cache = NearCache { short_lease: Duration::from_hours(1), ..NearCache::default() };
            apps::stayput(stayput_stores::MemoryStore::default(), Some(near_cache))
        }
        "stayput-sqlite" => {
            let path = std::env::temp_dir().join(format!("stayput-bench-{}.db", std::process::id()));
            apps::stayput(stayput_stores::SqliteStore::open(path).await.expect("a temporary file"), None)
        }
        "tower-redis" => apps::tower_redis(&store(), false).await,
        "tower-redis-sliding" => apps::tower_redis(&store(), true).await,
        "stayput-redis" => apps::stayput(redis().await, None),
        "stayput-redis-near" => apps::stayput(redis().await, Some(NearCache::default())),
        _ => panic!("no such layer"),
    }
}

async fn redis() -> stayput_stores::RedisStore {
    stayput_stores::RedisStore::connect(&store()).await.expect("a Redis server at BENCH_STORE")
}

/// The URL of the store, for layers that have one.
fn store() -> String {
    std::env::var("BENCH_STORE").expect("BENCH_STORE is the store's URL")
}

async fn serve(app: Router, address: &str) {
    let listener = tokio::net::TcpListener::bind(address).await.expect("a free address");
    println!("ready");
    axum::serve(listener, app).await.expect("the server runs");
}

/// Calls `app` with the cookies that a login and a few reads at `cookies` give.
async fn count(cookies: Router, app: Router, route: &str, times: usize) {
    let mut jar = BTreeMap::new();
    for route in ["/login", "/read", "/read"] {
        let answer =
            cookies.clone().oneshot(request(route, header(&jar).as_ref())).await.expect("infallible");
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let text = cookie.to_str().expect("text");
            let (name, value) = text.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
            if value.is_empty() {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    let cookie = header(&jar);
    for _ in 0..times {
        let answer = app.clone().oneshot(request(route, cookie.as_ref())).await.expect("infallible");
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

/// As hyper makes it: a part of the connection's buffer, which clones share.
fn header(jar: &BTreeMap<String, String>) -> Option<HeaderValue> {
    let pairs: Vec<_> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let text = Bytes::from(pairs.join("; "));
    (!text.is_empty()).then(|| HeaderValue::from_maybe_shared(text).expect("a header's value"))
}

fn request(route: &str, cookie: Option<&HeaderValue>) -> Request<Body> {
    let request = Request::builder().uri(route).header("accept", "*/*").header("host", "127.0.0.1");
    let request = match cookie {
        Some(cookie) => request.header(COOKIE, cookie),
        None => request,
    };
    request.body(Body::empty()).expect("a valid request")
}
