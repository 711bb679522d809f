//! What requests do in these histories, and what their handlers tell of the sessions they had.
//!
//! Every request writes its own number and nothing else, so that whatever is seen anywhere says who wrote it. The
//! application judges nothing.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex};

use axum::http::{Request, Response};
use stayput::{Error, Session, Sessions, Subject};
use tower::util::BoxCloneSyncService;
use tower::{Layer, service_fn};

use crate::gates::{Gates, Place};

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Has nothing to do with its session.
    Plain,
    /// Reads all values.
    Look,
    /// Reads all values from the store, past any copy.
    Fresh,
    /// Reads all values, and then again from the store.
    Refresh,
    /// Adds its number to the list of marks, atomically.
    Mark,
    /// Adds one to the count, atomically.
    Add,
    /// Sets a value to its number, when its handler has returned.
    Set(&'static str),
    /// Removes a value, when its handler has returned.
    Remove(&'static str),
    /// Takes a value, atomically.
    Take(&'static str),
    /// Logs in as that user.
    Login(u32),
    /// Changes the id.
    Elevate,
    /// Logs out.
    Logout,
    /// Ends all sessions of that user, as an administrator does.
    EndAll(u32),
}

/// The keys of single values.
pub(crate) const VALUES: [&str; 2] = [CART, TICKET];
pub(crate) const CART: &str = "cart";
pub(crate) const TICKET: &str = "ticket";

/// The key of the list of marks, which a login carries over.
pub(crate) const MARKS: &str = "marks";

/// The key of the count.
pub(crate) const COUNT: &str = "count";

/// What a handler saw of its session at one time.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The number of the request that made the session; `None` if there is no session.
    pub(crate) name: Option<u32>,
    pub(crate) subject: Option<u32>,
    pub(crate) marks: Vec<u32>,
    pub(crate) values: [Option<u32>; VALUES.len()],
    pub(crate) count: u32,
    /// Whether the application was told that this is what was known before the store was out.
    pub(crate) is_adrift: bool,
}

impl fmt::Debug for Seen {
    /// `5 of user 1: marks [3, 4], values [None, Some(2)]`, or `nothing`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name, self.subject) {
            (None, _) => return f.write_str("nothing"),
            (Some(name), None) => write!(f, "{name}")?,
            (Some(name), Some(user)) => write!(f, "{name} of user {user}")?,
        }
        write!(f, ": marks {:?}, values {:?}", self.marks, self.values)?;
        if self.count > 0 {
            write!(f, ", count {}", self.count)?;
        }
        f.write_str(if self.is_adrift { " adrift" } else { "" })
    }
}

/// A request's orders, and what its handler saw.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) number: u32,
    pub(crate) action: Action,
    /// Whether the handler takes its time, before and after it acts.
    pub(crate) is_slow: bool,
    pub(crate) report: Arc<Mutex<Report>>,
}

/// What a handler tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// What it saw, in this order.
    pub(crate) seen: Vec<Seen>,
    /// The step at which it had seen the session and began to act on it.
    pub(crate) acted: Option<u32>,
    /// What [`Action::Take`] got.
    pub(crate) taken: Option<u32>,
}

pub(crate) type Server = BoxCloneSyncService<Request<()>, Response<()>, Infallible>;

/// A server: the sessions' layer around the one handler, which takes its orders from the request.
pub(crate) fn server(sessions: &Sessions, gates: Arc<Gates>) -> Server {
    let layer = sessions.layer();
    let sessions = sessions.clone();
    let handler = service_fn(move |request: Request<()>| {
        let (gates, sessions) = (gates.clone(), sessions.clone());
        async move {
            let session = request.extensions().get::<Session>().expect("the layer puts it there").clone();
            let task = request.extensions().get::<Task>().expect("the browser puts it there").clone();
            let mut response = Response::new(());
            let outcome = match task.action {
                Action::Plain => Ok(()),
                Action::EndAll(user) => sessions.end_all(&Subject::new(user.to_string())).await.map(|_| ()),
                _ => task.act(&session, &gates).await,
            };
            if let Err(error) = outcome {
                *response.status_mut() = error.status();
            }
            Ok::<_, Infallible>(response)
        }
    });
    BoxCloneSyncService::new(layer.layer(handler))
}

impl Task {
    async fn act(&self, session: &Session, gates: &Gates) -> Result<(), Error> {
        if self.action == Action::Fresh {
            session.fresh().await?;
        }
        let before = self.see(session).await?;
        if self.is_slow {
            gates.wait(Place::Handler).await;
        }
        self.report.lock().unwrap().acted = Some(gates.step());
        self.act_on(session, before.name).await?;
        if self.is_slow {
            gates.wait(Place::Handler).await;
        }
        Ok(())
    }

    async fn act_on(&self, session: &Session, name: Option<u32>) -> Result<(), Error> {
        match self.action {
            Action::Plain | Action::EndAll(_) | Action::Look | Action::Fresh => {}
            Action::Refresh => {
                session.fresh().await?;
                self.see(session).await?;
            }
            Action::Mark => {
                self.name_if_new(session, name)?;
                session.update(MARKS, |marks: &mut Vec<u32>| marks.push(self.number)).await?;
                self.see(session).await?;
            }
            Action::Add => {
                self.name_if_new(session, name)?;
                session.update(COUNT, |count: &mut u32| *count += 1).await?;
                self.see(session).await?;
            }
            Action::Set(key) => {
                self.name_if_new(session, name)?;
                session.insert(key, self.number)?;
            }
            Action::Remove(key) => session.remove(key)?,
            Action::Take(key) => {
                let taken = session.take(key).await?;
                self.report.lock().unwrap().taken = taken;
                self.see(session).await?;
            }
            Action::Login(user) => {
                session.insert("name", self.number)?;
                let subject = Subject::new(user.to_string());
                self.renamed(session, name, session.login(subject).await).await?;
            }
            Action::Elevate => {
                session.insert("name", self.number)?;
                self.renamed(session, name, session.elevate().await).await?;
            }
            Action::Logout => session.logout().await?,
        }
        Ok(())
    }

    /// The first to write to a session names it.
    fn name_if_new(&self, session: &Session, name: Option<u32>) -> Result<(), Error> {
        if name.is_none() { session.insert("name", self.number) } else { Ok(()) }
    }

    /// Looks at the new session or, if there is none, takes back the name that was meant for it.
    async fn renamed(
        &self,
        session: &Session,
        old: Option<u32>,
        outcome: Result<(), Error>,
    ) -> Result<(), Error> {
        if outcome.is_err() {
            match old {
                Some(name) => session.insert("name", name)?,
                None => session.remove("name")?,
            }
            return outcome;
        }
        self.see(session).await.map(|_| ())
    }

    async fn see(&self, session: &Session) -> Result<Seen, Error> {
        let subject = session.subject().await?;
        let mut values = [None; VALUES.len()];
        for (value, key) in values.iter_mut().zip(VALUES) {
            // A lifeboat doesn't have all.
            *value = match session.get(key).await {
                Err(Error::Adrift) if key == TICKET => None,
                value => value?,
            };
        }
        let seen = Seen {
            name: session.get("name").await?,
            subject: subject.map(|subject| subject.as_str().parse().expect("users have numbers")),
            marks: session.get(MARKS).await?.unwrap_or_default(),
            values,
            count: session.get(COUNT).await?.unwrap_or_default(),
            is_adrift: session.is_adrift().await?,
        };
        self.report.lock().unwrap().seen.push(seen.clone());
        Ok(seen)
    }
}
