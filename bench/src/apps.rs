//! `/login` stores `user`, `csrf` and `n` (together 97 bytes), `/plain` ignores the session, `/read` reads `user`,
//! `/write` increments `n`.

use axum::Router;
use axum::routing::get;

pub(crate) const USER: &str = "alice-0123456789-0123456789-0123";
pub(crate) const CSRF: &str = "csrf-0123456789-0123456789-0123456789-0123456789";

/// The application over a version of tower-sessions: the Redis store is made for the one before the newest.
macro_rules! tower_routes {
    ($tower_sessions:ident) => {{
        use $tower_sessions::Session;
        async fn login(session: Session) {
            session.insert("user", USER).await.expect("the store works");
            session.insert("csrf", CSRF).await.expect("the store works");
            session.insert("n", 0u64).await.expect("the store works");
        }
        async fn read(session: Session) -> String {
            session.get("user").await.expect("the store works").unwrap_or_default()
        }
        async fn write(session: Session) -> String {
            let n = session.get::<u64>("n").await.expect("the store works").unwrap_or_default() + 1;
            session.insert("n", n).await.expect("the store works");
            n.to_string()
        }
        routes(get(login), get(read), get(write))
    }};
}

pub(crate) fn tower() -> Router {
    use tower_sessions::{Expiry, MemoryStore, SessionManagerLayer};
    let layer = SessionManagerLayer::new(MemoryStore::default())
        .with_expiry(Expiry::OnInactivity(time::Duration::minutes(30)));
    tower_routes!(tower_sessions).layer(layer)
}

pub(crate) async fn tower_redis(url: &str, is_sliding: bool) -> Router {
    use tower_sessions_0_14::{Expiry, SessionManagerLayer};
    use tower_sessions_redis_store::RedisStore;
    use tower_sessions_redis_store::fred::prelude::*;
    let config = Config::from_url(url).expect("a Redis URL");
    // As many connections as its own example has.
    let pool = Pool::new(config, None, None, None, 6).expect("a pool");
    pool.connect();
    pool.wait_for_connect().await.expect("a Redis server at the URL");
    let layer = SessionManagerLayer::new(RedisStore::new(pool))
        .with_expiry(Expiry::OnInactivity(time::Duration::minutes(30)))
        .with_always_save(is_sliding);
    tower_routes!(tower_sessions_0_14).layer(layer)
}

/// Over `store`, with or without copies in front of it.
pub(crate) fn stayput(store: impl stayput::SessionStore, near_cache: Option<stayput::NearCache>) -> Router {
    use stayput::{Session, Sessions, Subject};
    async fn login(session: Session) -> Result<(), stayput::Error> {
        session.insert("user", USER)?;
        session.insert("csrf", CSRF)?;
        session.insert("n", 0u64)?;
        session.login(Subject::new("alice")).await
    }
    async fn read(session: Session) -> Result<String, stayput::Error> {
        Ok(session.get("user").await?.unwrap_or_default())
    }
    async fn write(session: Session) -> Result<String, stayput::Error> {
        Ok(session.update("n", |n: &mut u64| *n += 1).await?.to_string())
    }
    let keyring = stayput::Keyring::generate(&stayput::SystemRandom);
    let sessions = Sessions::builder(store)
        .near_cache(near_cache)
        .keyring(keyring)
        .build()
        .expect("the preset is valid");
    routes(get(login), get(read), get(write)).layer(sessions.layer())
}

type Route = axum::routing::MethodRouter;

fn routes(login: Route, read: Route, write: Route) -> Router {
    Router::new()
        .route("/login", login)
        .route("/plain", get(|| async { "plain" }))
        .route("/read", read)
        .route("/write", write)
}
