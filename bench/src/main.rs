//! The same small application with different session layers, for `bench/run`.
//!
//! `stayput-bench LAYER serve ADDR` serves it on one thread; `stayput-bench LAYER count ROUTE N` calls it N times without
//! a network, to be counted under callgrind, and `base` the same application without a layer with the same requests.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{COOKIE, HeaderValue, SET_COOKIE};
use axum::http::{Request, StatusCode};
use axum::routing::get;
use tower::ServiceExt;

mod apps;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [layer, "serve", address] => serve(app(layer).await, address).await,
        [layer, "count", route, times] => {
            let app = app(layer).await;
            count(app.clone(), app, route, times.parse().expect("a number")).await;
        }
        [layer, "base", route, times] => {
            count(app(layer).await, app("none").await, route, times.parse().expect("a number")).await;
        }
        _ => panic!("usage: stayput-bench none|tower|stayput|stayput-sqlite|tower-redis|tower-redis-sliding|stayput-redis serve ADDR | count ROUTE N | base ROUTE N"),
    }
}

async fn app(layer: &str) -> Router {
    match layer {
        "none" => Router::new()
            .route("/plain", get(|| async { "plain" }))
            .route("/read", get(|| async { "alice" }))
            .route("/write", get(|| async { "1" })),
        "tower" => apps::tower(),
        "stayput" => apps::stayput(stayput_stores::MemoryStore::default()),
        "stayput-sqlite" => {
            let path = std::env::temp_dir().join(format!("stayput-bench-{}.db", std::process::id()));
            apps::stayput(stayput_stores::SqliteStore::open(path).await.expect("a temporary file"))
        }
        "tower-redis" => apps::tower_redis(&store(), false).await,
        "tower-redis-sliding" => apps::tower_redis(&store(), true).await,
        "stayput-redis" => {
            let store = stayput_stores::RedisStore::connect(&store()).await;
            apps::stayput(store.expect("a Redis server at BENCH_STORE"))
        }
        _ => panic!("no such layer"),
    }
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

/// Calls `app` with the cookie that a login at `cookies` gives.
async fn count(cookies: Router, app: Router, route: &str, times: usize) {
    let login = cookies.oneshot(request("/login", None)).await.expect("infallible");
    let cookie = login.headers().get(SET_COOKIE).map(|cookie| {
        let text = cookie.to_str().expect("text");
        let pair = text.split(';').next().expect("a pair").to_owned();
        // As hyper makes it: a part of the connection's buffer, which clones share.
        HeaderValue::from_maybe_shared(Bytes::from(pair)).expect("a header's value")
    });
    for _ in 0..times {
        let answer = app.clone().oneshot(request(route, cookie.as_ref())).await.expect("infallible");
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

fn request(route: &str, cookie: Option<&HeaderValue>) -> Request<Body> {
    let request = Request::builder().uri(route).header("accept", "*/*").header("host", "127.0.0.1");
    let request = match cookie {
        Some(cookie) => request.header(COOKIE, cookie),
        None => request,
    };
    request.body(Body::empty()).expect("a valid request")
}
