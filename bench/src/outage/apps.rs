//! The application of the drill: `/login/{user}` logs in, `/read` says who is logged in and how much they counted, `/write` counts
//! one more, `/logout` ends it. Who isn't logged in is answered 401, and nothing is written for them.
//!
//! A session layer's error is answered with a 5xx, whatever it is; no layer's error is taken for "logged out".

use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, get, post};

/// The layer by its name, as `outage.py` lists them.
pub(super) async fn app(layer: &str, url: &str) -> Router {
    match layer {
        "tower-sessions" => tower(tower_store(url, None).await),
        "tower-sessions-tuned" => tower(tower_store(url, Some(Duration::from_secs(1))).await),
        "stayput-refuse" => stayput(url, stayput::Outage::Refuse).await,
        "stayput-read_only" => stayput(url, stayput::Outage::ReadOnly).await,
        "stayput-lifeboat" => stayput(url, stayput::Outage::Lifeboat).await,
        _ => panic!("no such layer"),
    }
}

use tower_sessions_redis_store::{RedisStore, fred::prelude::Pool};

/// As its documentation has it; or, with a limit, as somebody would set it up who had thought of outages: every command has that
/// long, a connection that is silent for as long is given up, and lost ones are made again.
async fn tower_store(url: &str, limit: Option<Duration>) -> RedisStore<Pool> {
    use tower_sessions_redis_store::fred::prelude::*;
    use tower_sessions_redis_store::fred::types::config::UnresponsiveConfig;
    let config = Config::from_url(url).expect("a Redis URL");
    let performance =
        limit.map(|limit| PerformanceConfig { default_command_timeout: limit, ..Default::default() });
    let connection = limit.map(|limit| ConnectionConfig {
        connection_timeout: limit,
        internal_command_timeout: limit,
        unresponsive: UnresponsiveConfig { max_timeout: Some(limit), interval: limit / 4 },
        ..Default::default()
    });
    let reconnect = limit.map(|_| ReconnectPolicy::new_exponential(0, 50, 500, 2));
    let pool = Pool::new(config, performance, connection, reconnect, 6).expect("a pool");
    pool.connect();
    pool.wait_for_connect().await.expect("a Redis server at the URL");
    RedisStore::new(pool)
}

fn tower(store: RedisStore<Pool>) -> Router {
    use tower_sessions_0_14::session::Error;
    use tower_sessions_0_14::{Expiry, Session, SessionManagerLayer};
    fn failed(_: Error) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }
    async fn login(session: Session, Path(user): Path<String>) -> Result<(), StatusCode> {
        session.insert("n", 0u64).await.map_err(failed)?;
        session.insert("user", user).await.map_err(failed)
    }
    async fn read(session: Session) -> Result<String, StatusCode> {
        let user: Option<String> = session.get("user").await.map_err(failed)?;
        let n: Option<u64> = session.get("n").await.map_err(failed)?;
        answer(user, n)
    }
    async fn write(session: Session) -> Result<String, StatusCode> {
        let user: Option<String> = session.get("user").await.map_err(failed)?;
        let Some(user) = user else { return Err(StatusCode::UNAUTHORIZED) };
        let n = session.get::<u64>("n").await.map_err(failed)?.unwrap_or_default() + 1;
        session.insert("n", n).await.map_err(failed)?;
        answer(Some(user), Some(n))
    }
    async fn logout(session: Session) -> Result<(), StatusCode> {
        session.flush().await.map_err(failed)
    }
    let layer =
        SessionManagerLayer::new(store).with_expiry(Expiry::OnInactivity(time::Duration::minutes(30)));
    routes(get(login), get(read), post(write), post(logout)).layer(layer)
}

async fn stayput(url: &str, outage: stayput::Outage) -> Router {
    use stayput::{
        Error, Journal, LifeboatKey, Merge, Outage, Policy, Session, Sessions, SharedKeyring, Subject,
    };
    async fn login(session: Session, Path(user): Path<String>) -> Result<(), Error> {
        session.login(Subject::new(user.clone())).await?;
        session.insert("n", 0u64)?;
        session.insert("user", user)
    }
    async fn read(session: Session) -> Result<Result<String, StatusCode>, Error> {
        Ok(answer(session.get("user").await?, session.get("n").await?))
    }
    async fn write(session: Session) -> Result<Result<String, StatusCode>, Error> {
        let user: Option<String> = session.get("user").await?;
        let Some(user) = user else { return Ok(Err(StatusCode::UNAUTHORIZED)) };
        let n = session.update("n", |n: &mut u64| *n += 1).await?;
        Ok(answer(Some(user), Some(n)))
    }
    async fn logout(session: Session) -> Result<(), Error> {
        session.logout().await
    }
    let store = stayput_stores::RedisStore::connect(url).await.expect("a Redis server at the URL");
    let keyring = SharedKeyring::from_env("BENCH_KEYRING").expect("the drill's keyring");
    // A lifeboat carries both values; what is counted in an outage is added to what the store has.
    let lifeboat = match outage {
        Outage::Lifeboat => vec![LifeboatKey::read("user"), LifeboatKey::written("n", Merge::Add)],
        _ => Vec::new(),
    };
    let policy = Policy { outage, lifeboat, ..Policy::web() };
    let mut sessions = Sessions::builder(store).policy(policy).keyring(keyring);
    if outage == Outage::Lifeboat {
        let journals = std::env::var("BENCH_JOURNALS").expect("the drill's directory");
        let journal = Journal::open(format!("{journals}/{}", std::process::id())).expect("a journal");
        sessions = sessions.journal(journal);
    }
    let sessions = sessions.build();
    let sessions = sessions.expect("the preset is valid");
    routes(get(login), get(read), post(write), post(logout)).layer(sessions.layer())
}

fn answer(user: Option<String>, n: Option<u64>) -> Result<String, StatusCode> {
    let user = user.ok_or(StatusCode::UNAUTHORIZED)?;
    Ok(format!("{user} {}", n.unwrap_or_default()))
}

fn routes(login: MethodRouter, read: MethodRouter, write: MethodRouter, logout: MethodRouter) -> Router {
    Router::new()
        .route("/login/{user}", login)
        .route("/read", read)
        .route("/write", write)
        .route("/logout", logout)
}
