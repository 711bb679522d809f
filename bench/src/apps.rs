//! `/login` stores `user`, `csrf` and `n` (together 97 bytes), `/plain` ignores the session, `/read` reads `user`,
//! `/write` increments `n`.

use axum::Router;
use axum::routing::get;

const USER: &str = "alice-0123456789-0123456789-0123";
const CSRF: &str = "csrf-0123456789-0123456789-0123456789-0123456789";

pub(crate) fn tower() -> Router {
    use tower_sessions::{Expiry, MemoryStore, Session, SessionManagerLayer};
    async fn login(session: Session) {
        session.insert("user", USER).await.expect("memory");
        session.insert("csrf", CSRF).await.expect("memory");
        session.insert("n", 0u64).await.expect("memory");
    }
    async fn read(session: Session) -> String {
        session.get("user").await.expect("memory").unwrap_or_default()
    }
    async fn write(session: Session) -> String {
        let n = session.get::<u64>("n").await.expect("memory").unwrap_or_default() + 1;
        session.insert("n", n).await.expect("memory");
        n.to_string()
    }
    let layer = SessionManagerLayer::new(MemoryStore::default())
        .with_expiry(Expiry::OnInactivity(time::Duration::minutes(30)));
    routes(get(login), get(read), get(write)).layer(layer)
}

pub(crate) fn stayput(store: impl stayput::SessionStore) -> Router {
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
    let sessions = Sessions::builder(store).keyring(keyring).build().expect("the preset is valid");
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
