//! The lifeboat's value, any bytes, beside a genuine session cookie: while the store is out only what a server of ours
//! handed out for that session is taken for it, and while it is there nothing that stands in it counts.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderValue, Request, Response, StatusCode};
use stayput::{Error, LifeboatKey, Merge, Outage, Policy, Session, Sessions, Subject};
use stayput_core::{Created, Record, SessionStore, StorageKey};
use stayput_testkit::{Fault, FaultyStore, ManualClock, ModelStore};
use tower::{Layer, ServiceExt, service_fn};

use super::Target;
use super::exchange::{block_on, name_and_value};
use super::known::{Counting, KEYRING, LIFEBOAT, NAMES};

/// See the module.
pub const TARGET: Target = Target { name: "lifeboat", check, seeds, words };

/// What our servers handed out.
struct Genuine {
    session: String,
    key: StorageKey,
    record: Record,
    /// As it was after the login.
    boat: String,
    /// That of somebody else.
    strange: String,
}

fn check(data: &[u8]) -> bool {
    // It would begin another cookie; that is another target's business.
    if data.contains(&b';') {
        return false;
    }
    let genuine = &*GENUINE;
    let pair = [LIFEBOAT.as_bytes(), b"=", data].concat();
    let Ok(lifeboat) = HeaderValue::from_bytes(&pair) else { return false };
    let session = HeaderValue::try_from(format!("{}={}", NAMES[0], genuine.session));
    let cookies = vec![session.expect("cookies are text"), lifeboat];
    let is_genuine = data.trim_ascii_end() == genuine.boat.as_bytes();

    let server = Server::with(genuine);
    server.store.break_down(Fault::Before);
    let out = server.answer(cookies.clone());
    let expected = if is_genuine { (StatusCode::OK, true) } else { (StatusCode::SERVICE_UNAVAILABLE, false) };
    assert_eq!((out.status, out.is_alice), expected);
    assert_eq!(out.cookies.len(), 0, "an answer in an outage touches a cookie");

    let server = Server::with(genuine);
    let up = server.answer(cookies);
    assert_eq!((up.status, up.is_alice), (StatusCode::OK, true), "the store has the session");
    assert!(up.cookies.iter().all(|(name, _)| name == LIFEBOAT), "it touches another cookie");
    let found = block_on(server.store.load(genuine.key)).expect("the model never fails");
    assert_eq!(found.as_deref(), Some(&genuine.record), "what stands in a lifeboat changed the session");
    is_genuine
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let [alice, strange] = ["alice", "mallory"].map(|name| {
        let server = Server::empty(if name == "alice" { 1 } else { 500 });
        let answer = server.log_in(name);
        let cookie = |name: &str| {
            let found = answer.cookies.iter().find(|cookie| cookie.0 == name);
            found.expect("a login sets it").1.clone()
        };
        (server, cookie(NAMES[0]), cookie(LIFEBOAT))
    });
    let (server, session, boat) = alice;
    let decoded = stayput_core::CookieValue::decode(NAMES[0], session.as_bytes(), &KEYRING);
    let key = decoded.expect("the cookie is ours").value.id.storage_key();
    let found = block_on(server.store.load(key)).expect("the model never fails");
    let record = Arc::unwrap_or_clone(found.expect("a session has a record"));
    Genuine { session, key, record, boat, strange: strange.2 }
});

/// A server whose store may be out.
struct Server {
    sessions: Sessions,
    store: Arc<FaultyStore>,
}

/// What came of a request.
struct Answer {
    status: StatusCode,
    is_alice: bool,
    cookies: Vec<(String, String)>,
}

impl Server {
    fn empty(first_draw: u64) -> Self {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(FaultyStore::new(Arc::new(ModelStore::new(clock.clone()))));
        let lifeboat = vec![LifeboatKey::written("visits", Merge::Add), LifeboatKey::read("missing")];
        let sessions = Sessions::builder_shared(store.clone())
            .policy(Policy { outage: Outage::Lifeboat, lifeboat, ..Policy::web() })
            .keyring(KEYRING.clone())
            .clock(clock)
            .random(Arc::new(Counting::from(first_draw)))
            .build()
            .expect("the policy is valid");
        Self { sessions, store }
    }

    fn with(genuine: &Genuine) -> Self {
        let server = Self::empty(1000);
        let created = block_on(server.store.create(genuine.key, genuine.record.clone()));
        assert!(matches!(created, Ok(Created::Created)), "the store is empty");
        server
    }

    fn log_in(&self, name: &'static str) -> Answer {
        self.serve(Vec::new(), Some(name))
    }

    fn answer(&self, cookies: Vec<HeaderValue>) -> Answer {
        self.serve(cookies, None)
    }

    fn serve(&self, cookies: Vec<HeaderValue>, logs_in: Option<&'static str>) -> Answer {
        let mut request = Request::new(());
        for cookie in cookies {
            request.headers_mut().append(COOKIE, cookie);
        }
        let handler = service_fn(move |request: Request<()>| async move {
            let session = request.extensions().get::<Session>().expect("the layer adds it");
            let mut response = Response::new(false);
            match act(session, logs_in).await {
                Ok(is_alice) => *response.body_mut() = is_alice,
                Err(error) => *response.status_mut() = error.status(),
            }
            Ok::<_, Infallible>(response)
        });
        let response = block_on(self.sessions.layer().layer(handler).oneshot(request));
        let (head, is_alice) = response.unwrap_or_else(|error| match error {}).into_parts();
        let cookies = head.headers.get_all(SET_COOKIE).iter().map(name_and_value).collect();
        Answer { status: head.status, is_alice, cookies }
    }
}

async fn act(session: &Session, logs_in: Option<&str>) -> Result<bool, Error> {
    if let Some(name) = logs_in {
        session.insert("visits", 1)?;
        session.login(Subject::new(name)).await?;
    }
    Ok(session.subject().await?.is_some_and(|subject| subject.as_str() == "alice"))
}

fn seeds() -> Vec<Vec<u8>> {
    let Genuine { boat, strange, .. } = &*GENUINE;
    let (label, sealed) = boat.rsplit_once('.').expect("a label stands in front");
    let numbers = "18446744073709551616.4294967296.18446744073709551615";
    let texts = [
        boat.clone(),
        strange.clone(),
        String::new(),
        format!("ended.{sealed}"),
        format!("{label}."),
        format!("{}.{numbers}.{sealed}", &boat[..8]),
    ];
    texts.map(String::into_bytes).to_vec()
}

fn words() -> Vec<String> {
    let label = GENUINE.boat.rsplit_once('.').expect("a label stands in front").0;
    vec![label.to_owned(), "ended.".to_owned()]
}
