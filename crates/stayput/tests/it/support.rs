//! A small application over the public library, and browsers that keep its cookies. No network.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{Request, Response, StatusCode, header};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use stayput::{
    Builder, Event, FreshLayer, Keyring, Login, Policy, Session, SessionStore, Sessions, SharedKeyring,
    Subject, SystemRandom, TrustedProxies,
};
use stayput_stores::MemoryStore;
use stayput_testkit::{FaultyStore, ManualClock};
use tower::ServiceExt;

/// A server over a store that can be made to fail, on a clock that the test moves.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) app: Router,
    pub(crate) sessions: Sessions,
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) keyring: SharedKeyring,
    /// What the hook heard of: kind and reason.
    pub(crate) events: Arc<Mutex<Vec<String>>>,
}

/// The address at the other end of a test's connection.
#[derive(Clone, Copy)]
struct Peer(IpAddr);

impl Server {
    pub(crate) fn new() -> Self {
        Self::with_policy(Policy { carry: vec!["cart".into()], ..Policy::web() })
    }

    pub(crate) fn with_policy(policy: Policy) -> Self {
        let clock = Arc::new(ManualClock::default());
        let memory = MemoryStore::default().with_clock(clock.clone());
        let store = Arc::new(FaultyStore::new(Arc::new(memory)));
        Self::over(store, clock, Keyring::generate(&SystemRandom), policy)
    }

    /// Another server with the same store and clock.
    pub(crate) fn beside(&self, keyring: impl Into<SharedKeyring>) -> Self {
        Self::over(self.store.clone(), self.clock.clone(), keyring, self.sessions.policy().clone())
    }

    pub(crate) fn over(
        store: Arc<FaultyStore>,
        clock: Arc<ManualClock>,
        keyring: impl Into<SharedKeyring>,
        policy: Policy,
    ) -> Self {
        let keyring = keyring.into();
        let events = Arc::<Mutex<Vec<String>>>::default();
        let sessions = Sessions::builder_shared(store.clone() as Arc<dyn SessionStore>)
            .keyring(keyring.clone())
            .policy(policy)
            .clock(clock.clone())
            .peer_address(|extensions| extensions.get::<Peer>().map(|peer| peer.0))
            .trusted_proxies(TrustedProxies::new(["10.0.0.0/8"]).unwrap())
            .on_event(hear(&events))
            .build()
            .unwrap();
        Self { app: application().layer(sessions.layer()), sessions, store, clock, keyring, events }
    }

    /// A server whose near cache is in front of `remote`, which is made to fail by `store`.
    pub(crate) fn near(
        remote: Arc<dyn SessionStore>,
        store: Arc<FaultyStore>,
        clock: Arc<ManualClock>,
        keyring: impl Into<SharedKeyring>,
        set: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let (keyring, events) = (keyring.into(), Arc::<Mutex<Vec<String>>>::default());
        let builder = Sessions::builder_shared(remote).keyring(keyring.clone()).clock(clock.clone());
        let sessions = set(builder.on_event(hear(&events))).build().unwrap();
        Self { app: application().layer(sessions.layer()), sessions, store, clock, keyring, events }
    }

    /// The same server, whose handlers all read their sessions from the store.
    pub(crate) fn guarded(&self) -> Self {
        let app = application().layer(FreshLayer).layer(self.sessions.layer());
        Self { app, ..self.clone() }
    }

    /// The events since the last time this was asked.
    pub(crate) fn take_events(&self) -> Vec<String> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    /// The same server with a handler of the test's own at `POST /own`.
    pub(crate) fn handling<F, Fut>(&self, handler: F) -> Self
    where
        F: Fn(Session) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), stayput::Error>> + Send + 'static,
    {
        let own = Router::new().route("/own", post(move |session: Session| handler(session)));
        Self { app: own.layer(self.sessions.layer()), ..self.clone() }
    }

    pub(crate) fn browser(&self) -> Browser {
        self.browser_with(Arc::default())
    }

    /// A browser with another one's cookies.
    pub(crate) fn browser_with(&self, jar: Arc<Mutex<BTreeMap<String, String>>>) -> Browser {
        Browser { app: self.app.clone(), jar, peer: None, headers: Vec::new() }
    }
}

/// Writes down kind and reason of what happens.
fn hear(events: &Arc<Mutex<Vec<String>>>) -> impl Fn(&Event<'_>) + Send + Sync + 'static {
    let events = Arc::clone(events);
    move |event| {
        let text = format!("{} {}", event.kind.name(), event.kind.reason());
        events.lock().unwrap().push(text.trim_end().to_owned());
    }
}

fn application() -> Router {
    async fn read(session: Session, Path(key): Path<String>) -> Result<String, stayput::Error> {
        Ok(session.get(&key).await?.unwrap_or_default())
    }
    async fn count(session: Session) -> Result<String, stayput::Error> {
        Ok(session.update("n", |n: &mut u32| *n += 1).await?.to_string())
    }
    Router::new()
        .route("/plain", get(|| async { "plain" }))
        .route("/read/{key}", get(read))
        .route(
            "/number/{key}",
            get(|session: Session, Path(key): Path<String>| async move {
                session.get::<u32>(&key).await.map(|n| n.unwrap_or_default().to_string())
            }),
        )
        .route(
            "/set/{key}/{value}",
            post(|session: Session, Path((key, value)): Path<(String, String)>| async move {
                session.insert(&key, value)
            }),
        )
        .route("/count", post(count))
        .route(
            "/who",
            get(|session: Session| async move {
                let subject = session.subject().await?;
                Ok::<_, stayput::Error>(
                    subject.map_or_else(|| "nobody".to_owned(), |s| s.as_str().to_owned()),
                )
            }),
        )
        .route(
            "/login/{user}",
            post(|session: Session, Path(user): Path<String>| async move {
                session.login(Subject::new(user)).await
            }),
        )
        .route(
            "/remember/{user}",
            post(|session: Session, Path(user): Path<String>| async move {
                session.login(Login::new(Subject::new(user)).remembered(true)).await
            }),
        )
        .route("/elevate", post(|session: Session| async move { session.elevate().await }))
        .route(
            "/client",
            get(|session: Session| async move {
                let client = session.client();
                format!("{:?} {:?} {:?}", client.address(), client.is_https(), client.agent())
            }),
        )
        .route("/logout", post(|session: Session| async move { session.logout().await }))
}

/// Keeps cookies as a browser does; clones share them.
#[derive(Clone)]
pub(crate) struct Browser {
    app: Router,
    pub(crate) jar: Arc<Mutex<BTreeMap<String, String>>>,
    peer: Option<Peer>,
    headers: Vec<(&'static str, String)>,
}

pub(crate) const SESSION: &str = "__Host-stayput-session";
pub(crate) const ANONYMOUS: &str = "__Host-stayput-anonymous";
pub(crate) const SPARE: &str = "__Host-stayput-spare";

impl Browser {
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path).await
    }

    pub(crate) async fn post(&self, path: &str) -> Reply {
        self.send("POST", path).await
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.jar.lock().unwrap().get(name).cloned()
    }

    /// A browser that sends exactly `cookies`.
    pub(crate) fn sending(&self, cookies: &[(&str, &str)]) -> Self {
        let jar = cookies.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { jar: Arc::new(Mutex::new(jar)), ..self.clone() }
    }

    /// Another tab: it sends what this browser sends now, and keeps its answers to itself.
    pub(crate) fn tab(&self) -> Self {
        let jar = self.jar.lock().unwrap().clone();
        Self { jar: Arc::new(Mutex::new(jar)), ..self.clone() }
    }

    /// The same browser at another address.
    pub(crate) fn from(&self, address: &str) -> Self {
        Self { peer: Some(Peer(address.parse().unwrap())), ..self.clone() }
    }

    /// The same browser with another header field.
    pub(crate) fn with(&self, name: &'static str, value: &str) -> Self {
        let mut browser = self.clone();
        browser.headers.retain(|(kept, _)| *kept != name);
        browser.headers.push((name, value.to_owned()));
        browser
    }

    /// The same cookies at another server.
    pub(crate) fn at(&self, server: &Server) -> Self {
        Self { app: server.app.clone(), ..self.clone() }
    }

    async fn send(&self, method: &str, path: &str) -> Reply {
        let pairs: Vec<_> =
            self.jar.lock().unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = Request::builder().method(method).uri(path);
        if !pairs.is_empty() {
            request = request.header(header::COOKIE, pairs.join("; "));
        }
        if let Some(peer) = self.peer {
            request = request.extension(peer);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let response = self.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let reply = Reply::of(response).await;
        for cookie in &reply.cookies {
            self.keep(cookie);
        }
        reply
    }

    /// Does what a `Set-Cookie` says.
    pub(crate) fn keep(&self, cookie: &str) {
        let (name, rest) = cookie.split_once('=').unwrap();
        let value = rest.split(';').next().unwrap();
        let mut jar = self.jar.lock().unwrap();
        if cookie.contains("Max-Age=0") {
            jar.remove(name);
        } else {
            jar.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// A new keyring.
pub(crate) fn keyring() -> Keyring {
    Keyring::generate(&SystemRandom)
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    pub(crate) cookies: Vec<String>,
    pub(crate) headers: axum::http::HeaderMap,
}

impl Reply {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let cookies = parts.headers.get_all(header::SET_COOKIE).iter();
        let cookies = cookies.map(|cookie| cookie.to_str().unwrap().to_owned()).collect();
        Self { status: parts.status, text, cookies, headers: parts.headers }
    }
}
