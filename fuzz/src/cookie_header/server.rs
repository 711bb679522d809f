//! A server with two visitors' sessions in its store, made anew for every request. No network.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderValue, Request, Response, StatusCode};
use stayput::{Error, Session, Sessions, Subject};
use stayput_core::{CookieValue, Created, Generation, Record, SessionId, SessionStore, StorageKey};
use stayput_testkit::{ManualClock, ModelStore};
use tower::{Layer, ServiceExt, service_fn};

use super::super::exchange::{block_on, name_and_value};
use super::super::known::{Counting, FORMER_KEYRING, KEYRING, NAMES, id};

/// What a request does after it has looked whose session it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    Read,
    Write,
    LogIn,
    LogOut,
}

impl Action {
    pub(super) fn of(letter: u8) -> Self {
        match letter {
            b'w' => Self::Write,
            b'i' => Self::LogIn,
            b'o' => Self::LogOut,
            _ => Self::Read,
        }
    }
}

/// Whose session a request found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Who {
    #[default]
    Nobody,
    Guest,
    Alice,
}

/// Somebody with a session.
pub(super) struct Visitor {
    pub(super) who: Who,
    pub(super) name: &'static str,
    /// The values by which they are recognized: under the primary key, under the former one, and of a renewal that the store
    /// forgot.
    pub(super) cookies: [String; 3],
    pub(super) key: StorageKey,
    pub(super) record: Record,
}

/// Alice, who is logged in, and a guest, who is not. A session cookie goes before an anonymous one, hence the order.
pub(super) static VISITORS: LazyLock<[Visitor; 2]> = LazyLock::new(|| {
    let server = Server::empty(1);
    [server.admit(Who::Alice, NAMES[0], Action::LogIn), server.admit(Who::Guest, NAMES[1], Action::Write)]
});

/// An application over the library.
pub(super) struct Server {
    sessions: Sessions,
    store: Arc<ModelStore>,
    random: Arc<Counting>,
    first_draw: u64,
}

/// What came of a request.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) who: Who,
    /// Names and values of the cookies it sets.
    pub(super) cookies: Vec<(String, String)>,
}

impl Server {
    /// A server that draws other ids than those of the visitors, who are in its store.
    pub(super) fn with_visitors() -> Self {
        let server = Self::empty(1000);
        for visitor in &*VISITORS {
            let created = block_on(server.store.create(visitor.key, visitor.record.clone()));
            assert!(matches!(created, Ok(Created::Created)), "the store is empty");
        }
        server
    }

    fn empty(first_draw: u64) -> Self {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(ModelStore::new(clock.clone()));
        let random = Arc::new(Counting::from(first_draw));
        let sessions = Sessions::builder_shared(store.clone())
            .keyring(KEYRING.clone())
            .clock(clock)
            .random(random.clone())
            .build()
            .expect("the default policy is valid");
        Self { sessions, store, random, first_draw }
    }

    /// Begins a session and notes what there is of it.
    fn admit(&self, who: Who, name: &'static str, action: Action) -> Visitor {
        let answer = self.answer(action, Vec::new());
        let cookie =
            answer.cookies.into_iter().find(|cookie| cookie.0 == name).expect("a session has a cookie").1;
        let value = CookieValue::decode(name, cookie.as_bytes(), &KEYRING).expect("the cookie is ours").value;
        let key = value.id.storage_key();
        let record = self.load(key).expect("a session has a record");
        let renewed = CookieValue { generation: Generation(1), ..value.clone() }.encode(name, &KEYRING);
        Visitor { who, name, cookies: [cookie, value.encode(name, &FORMER_KEYRING), renewed], key, record }
    }

    /// A request with these `Cookie` headers.
    pub(super) fn answer(&self, action: Action, headers: Vec<HeaderValue>) -> Answer {
        let mut request = Request::new(());
        for header in headers {
            request.headers_mut().append(COOKIE, header);
        }
        let handler = service_fn(move |request| handle(action, request));
        let response = block_on(self.sessions.layer().layer(handler).oneshot(request));
        let (head, who) = response.unwrap_or_else(|error: Infallible| match error {}).into_parts();
        let cookies = head.headers.get_all(SET_COOKIE).iter().map(name_and_value).collect();
        Answer { status: head.status, who, cookies }
    }

    /// The record in the store.
    pub(super) fn load(&self, key: StorageKey) -> Option<Record> {
        block_on(self.store.load(key)).expect("the model never fails").map(Arc::unwrap_or_clone)
    }

    /// Whether the server drew this id itself.
    pub(super) fn drew(&self, wanted: &SessionId) -> bool {
        (self.first_draw..self.random.next()).any(|number| id(number) == *wanted)
    }
}

async fn handle(action: Action, request: Request<()>) -> Result<Response<Who>, Infallible> {
    let session = request.extensions().get::<Session>().expect("the layer adds it");
    let response = act(action, session).await.map(Response::new);
    Ok(response.unwrap_or_else(|error| {
        let mut response = Response::default();
        *response.status_mut() = error.status();
        response
    }))
}

async fn act(action: Action, session: &Session) -> Result<Who, Error> {
    let who = match session.subject().await? {
        Some(subject) => {
            assert_eq!(subject.as_str(), "alice");
            Who::Alice
        }
        None if session.get::<u32>("visits").await?.is_some() => Who::Guest,
        None => Who::Nobody,
    };
    match action {
        Action::Read => {}
        Action::Write => {
            session.update("visits", |visits: &mut u32| *visits += 1).await?;
        }
        Action::LogIn => session.login(Subject::new("alice")).await?,
        Action::LogOut => session.logout().await?,
    }
    Ok(who)
}
