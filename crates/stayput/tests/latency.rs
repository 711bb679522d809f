//! A store that does its work when it is called, as SQLite's reads do, is measured too.
#![cfg(feature = "metrics")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::routing::post;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use stayput::{Session, SessionStore, Sessions, Subject};
use stayput_core::{
    Admission, Admitted, Created, Epoch, Record, Replaced, StorageKey, StoreFuture, SubjectKey, Timestamp,
    Touched, Version,
};
use stayput_stores::MemoryStore;
use tower::ServiceExt;

#[derive(Debug)]
struct Eager(MemoryStore);

impl SessionStore for Eager {
    fn name(&self) -> &'static str {
        "eager"
    }
    fn create(&self, key: StorageKey, record: Record) -> StoreFuture<'_, Created> {
        self.0.create(key, record)
    }
    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Arc<Record>>> {
        std::thread::sleep(Duration::from_millis(50));
        self.0.load(key)
    }
    fn replace(&self, key: StorageKey, record: Record, expected: Version) -> StoreFuture<'_, Replaced> {
        self.0.replace(key, record, expected)
    }
    fn touch(&self, key: StorageKey, expires: Timestamp) -> StoreFuture<'_, Touched> {
        self.0.touch(key, expires)
    }
    fn remove(&self, key: StorageKey) -> StoreFuture<'_, ()> {
        self.0.remove(key)
    }
    fn admit(&self, subject: SubjectKey, key: StorageKey, admission: Admission) -> StoreFuture<'_, Admitted> {
        self.0.admit(subject, key, admission)
    }
    fn subject_sessions(&self, subject: SubjectKey) -> StoreFuture<'_, Vec<StorageKey>> {
        self.0.subject_sessions(subject)
    }
    fn end_subject(&self, subject: SubjectKey, except: Option<StorageKey>) -> StoreFuture<'_, Option<usize>> {
        self.0.end_subject(subject, except)
    }
    fn subject_epoch(&self, subject: SubjectKey) -> StoreFuture<'_, Epoch> {
        self.0.subject_epoch(subject)
    }
    fn sweep(&self, limit: usize) -> StoreFuture<'_, usize> {
        self.0.sweep(limit)
    }
}

#[tokio::test]
async fn a_load_that_took_fifty_milliseconds_is_measured_as_such() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();
    let sessions = Sessions::builder(Eager(MemoryStore::default())).build().unwrap();
    let app = Router::new()
        .route("/login", post(|session: Session| async move { session.login(Subject::new("alice")).await }))
        .route("/who", post(|session: Session| async move { session.subject().await.map(|_| ()) }))
        .layer(sessions.layer());
    let login = app.clone().oneshot(Request::post("/login").body(Body::empty()).unwrap()).await.unwrap();
    let cookie = login.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let request = Request::post("/who").header(COOKIE, cookie).body(Body::empty()).unwrap();
    app.oneshot(request).await.unwrap();
    let mut loads = Vec::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        if let DebugValue::Histogram(values) = value
            && key.key().labels().any(|label| label.value() == "load")
        {
            loads.extend(values.iter().map(|value| **value));
        }
    }
    assert!(!loads.is_empty() && loads.iter().all(|seconds| *seconds >= 0.05), "{loads:?}");
}
