//! What the `metrics` facade hears of. A test of its own, since a process has one recorder.
#![cfg(feature = "metrics")]

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{Request, Response};
use axum::routing::post;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use stayput::{Keyring, Session, Sessions, Subject, SystemRandom};
use stayput_stores::MemoryStore;
use tower::ServiceExt;

#[tokio::test]
async fn loads_commits_refusals_and_store_latencies_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();
    let sessions =
        Sessions::builder(MemoryStore::default()).keyring(Keyring::generate(&SystemRandom)).build().unwrap();
    let app =
        Router::new()
            .route(
                "/login",
                post(|session: Session| async move { session.login(Subject::new("alice")).await }),
            )
            .route(
                "/count",
                post(|session: Session| async move {
                    session.update("n", |n: &mut u32| *n += 1).await.map(|_| ())
                }),
            )
            .layer(sessions.layer());

    let login = send(&app, "/login", "none").await;
    let cookie = login.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    send(&app, "/count", &cookie).await;
    send(&app, "/count", "__Host-stayput-session=made-up").await;

    let counted = counters(&snapshotter);
    for (metric, count) in [
        ("stayput_events_total event=logged_in reason=", 1),
        ("stayput_events_total event=created reason=", 1),
        ("stayput_events_total event=refused reason=malformed", 1),
        ("stayput_loads_total found=yes", 1),
        ("stayput_loads_total found=no", 2),
        ("stayput_commits_total", 2),
        ("stayput_store_seconds operation=load outcome=ok store=memory", 1),
        ("stayput_store_seconds operation=create outcome=ok store=memory", 2),
        ("stayput_store_seconds operation=admit outcome=ok store=memory", 1),
    ] {
        assert_eq!(counted.get(metric), Some(&count), "{metric} in {counted:#?}");
    }
    let value = cookie.split_once('=').unwrap().1;
    assert!(!counted.keys().any(|name| name.contains(value) || name.contains("alice")), "{counted:#?}");
}

async fn send(app: &Router, path: &str, cookie: &str) -> Response<Body> {
    let request = Request::post(path).header(COOKIE, cookie).body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap()
}

/// Counts by name and labels; of histograms, how many values there are.
fn counters(snapshotter: &Snapshotter) -> BTreeMap<String, u64> {
    let all = snapshotter.snapshot().into_vec().into_iter();
    let counted = all.filter_map(|(key, _, _, value)| {
        let count = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Histogram(values) => values.len() as u64,
            DebugValue::Gauge(_) => return None,
        };
        let (name, labels) = key.key().clone().into_parts();
        let mut labels: Vec<_> =
            labels.iter().map(|label| format!(" {}={}", label.key(), label.value())).collect();
        labels.sort();
        Some((format!("{}{}", name.as_str(), labels.concat()), count))
    });
    counted.collect()
}
