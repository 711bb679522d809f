//! The application's sessions: store, keyring, rules, put together once and shared by all requests.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stayput_core::{
    Clock, Header, Keyring, Outage, Policy, PolicyError, Random, SessionStore, State, StorageKey, Subject,
    SystemClock, SystemRandom, Timestamp,
};

use crate::client::{Reach, TrustedProxies};
use crate::endings::Endings;
use crate::events::{Event, EventHook, EventKind, Events};
use crate::guesses::Guesses;
use crate::lifeboat::{Equipment, Journal, Lifeboat, Written};
use crate::near::{Near, NearCache};
use crate::outage::{Breaker, KnownMarker};
use crate::session::is_unfinished;
use crate::verified::Verified;
use crate::{SessionLayer, SharedKeyring, keys, outage, sweeper};

/// All sessions of an application. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn SessionStore>,
    /// That store, if it keeps copies.
    pub(crate) near: Option<Arc<Near>>,
    pub(crate) breaker: Breaker,
    pub(crate) marker: KnownMarker,
    /// `None` unless the policy wants it.
    pub(crate) lifeboat: Option<Lifeboat>,
    pub(crate) keyring: SharedKeyring,
    pub(crate) policy: Policy,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) names: CookieNames,
    pub(crate) events: Events,
    pub(crate) reach: Reach,
    pub(crate) guesses: Guesses,
    pub(crate) endings: Endings,
    pub(crate) verified: Verified,
}

impl Inner {
    /// Whether a session is there for its user, going by a header that a store has: what a rotation or a logout has left behind stays
    /// longer than it is answered, so that no lifeboat puts it back; and what a lifeboat put there is none before it is finished.
    pub(crate) fn answers(&self, header: &Header, now: Timestamp) -> bool {
        let is_left_behind = header.state == State::Remainder && self.lifeboat.is_some();
        header.absolute > now
            && !is_unfinished(header)
            && !(is_left_behind && now >= header.renewed.after(self.policy.grace))
    }
}

/// The cookies' names and attributes, rendered once.
pub(crate) struct CookieNames {
    /// What all of them begin with.
    pub(crate) stem: String,
    pub(crate) session: String,
    pub(crate) anonymous: String,
    pub(crate) spare: String,
    pub(crate) version: String,
    pub(crate) lifeboat: String,
    pub(crate) attributes: String,
    pub(crate) clears_all: bool,
}

impl CookieNames {
    /// The cookie of a session with a subject, or of an anonymous one.
    pub(crate) fn of(&self, with_subject: bool) -> &str {
        if with_subject { &self.session } else { &self.anonymous }
    }
}

impl Sessions {
    /// Begins to build sessions over `store`.
    pub fn builder(store: impl SessionStore) -> Builder {
        Self::builder_shared(Arc::new(store))
    }

    /// The same over a store chosen at run time.
    pub fn builder_shared(store: Arc<dyn SessionStore>) -> Builder {
        Builder {
            near_cache: store.is_remote().then(NearCache::default),
            store,
            keyring: None,
            policy: Policy::web(),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            events: Events::default(),
            reach: Reach::default(),
            equipment: Equipment::default(),
        }
    }

    /// The tower layer that gives every request its [`Session`](crate::Session).
    pub fn layer(&self) -> SessionLayer {
        SessionLayer::new(self.clone())
    }

    /// The rules.
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    /// Tells who listens what happened.
    pub(crate) fn emit(
        &self,
        kind: EventKind,
        session: Option<StorageKey>,
        subject: Option<&Subject>,
        address: Option<IpAddr>,
    ) {
        let session = session.map(|key| self.inner.keyring.load().log_tag(&key));
        self.inner.events.emit(&Event { kind, session, subject, address });
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("store", &self.inner.store).finish_non_exhaustive()
    }
}

/// Builds [`Sessions`].
#[must_use]
pub struct Builder {
    store: Arc<dyn SessionStore>,
    near_cache: Option<NearCache>,
    keyring: Option<SharedKeyring>,
    policy: Policy,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    events: Events,
    reach: Reach,
    equipment: Equipment,
}

impl Builder {
    /// The rules; [`Policy::web`] unless set.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The keys that sign cookies and seal records. All servers of an application share one keyring, and keep it
    /// across restarts; without this call a new one is made, and a restart logs everybody out.
    ///
    /// A [`Keyring`], or a [`SharedKeyring`] that can change while the server runs.
    pub fn keyring(mut self, keyring: impl Into<SharedKeyring>) -> Self {
        self.keyring = Some(keyring.into());
        self
    }

    /// Copies of sessions in this process, by which most requests do without a call of the store: [`NearCache`], or `None`
    /// for no copies. In front of a store in another process there are some unless this is called.
    ///
    /// Whoever waits for an answer reads their own writes, whichever server they come to next. What is changed in parallel,
    /// or by somebody else, shows within milliseconds if the store tells of changes, and within the lease in any case.
    /// [`Session::fresh`](crate::Session::fresh) asks the store.
    pub fn near_cache(mut self, near_cache: impl Into<Option<NearCache>>) -> Self {
        self.near_cache = near_cache.into();
        self
    }

    /// How a value that was written while the store was out is brought together with the one that the store has when it is back,
    /// for a key that [`Policy::lifeboat`] declares with [`Merge::Own`](crate::Merge::Own). What it gives is stored; it may be called
    /// again when that is beaten by another write, so it must have no effect.
    pub fn merge<T, M>(mut self, key: impl Into<String>, merge: M) -> Self
    where
        T: Serialize + DeserializeOwned,
        M: Fn(Written<T>) -> Option<T> + Send + Sync + 'static,
    {
        self.equipment.merges.add_own(key.into(), merge);
        self
    }

    /// Where logouts and writes are kept that are accepted while the store is out, so that the end of this process doesn't undo them.
    /// Each process needs one of its own. Without it, such writes are in memory only, and nobody can log out while the store is out.
    pub fn journal(mut self, journal: Journal) -> Self {
        self.equipment.journal = Some(journal);
        self
    }

    /// Asks whether a user whose session a wiped store has lost may have it back: who it is, and when they proved that. For
    /// [`OnWiped::Restore`](crate::OnWiped::Restore); a user who was disabled meanwhile, or whose password was changed, may not.
    pub fn readmit<F, Fut>(mut self, readmit: F) -> Self
    where
        F: Fn(Subject, Timestamp) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send + 'static,
    {
        self.equipment.readmit =
            Some(Arc::new(move |subject, authenticated| Box::pin(readmit(subject, authenticated))));
        self
    }

    /// Tells `hook` what happens to sessions: a function of an [`Event`], or an implementation of [`EventHook`].
    pub fn on_event(mut self, hook: impl EventHook) -> Self {
        self.events = Events::to(hook);
        self
    }

    /// Where a request's extensions hold the address at the other end of its connection. With axum, served with
    /// `into_make_service_with_connect_info::<SocketAddr>()`:
    ///
    /// ```ignore
    /// .peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()))
    /// ```
    ///
    /// Without it, sessions don't know from where they are used, and who guesses cookies isn't slowed.
    pub fn peer_address(mut self, peer: fn(&http::Extensions) -> Option<IpAddr>) -> Self {
        self.reach.peer = Some(peer);
        self
    }

    /// Proxies that may say in `X-Forwarded-For` and `X-Forwarded-Proto` who the client is. Needs
    /// [`Builder::peer_address`], by which they are recognised.
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.reach.proxies = proxies;
        self
    }

    /// Tells the time by `clock` instead of the system's. For tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Draws ids and nonces from `random` instead of the system's. For tests.
    pub fn random(mut self, random: Arc<dyn Random>) -> Self {
        self.random = random;
        self
    }

    /// Checks the rules and puts the sessions together. Inside a tokio runtime it also starts the tasks that sweep
    /// expired records out of the store and follow the keyring's file, which end with the last clone of the sessions.
    ///
    /// # Errors
    ///
    /// All mistakes in the policy, and in what else it takes.
    pub fn build(self) -> Result<Sessions, PolicyError> {
        self.policy.validate()?;
        let cookie = &self.policy.cookie;
        let names = CookieNames {
            stem: cookie.stem(),
            session: cookie.session_name(),
            anonymous: cookie.anonymous_name(),
            spare: cookie.spare_name(),
            version: cookie.version_name(),
            lifeboat: cookie.lifeboat_name(),
            attributes: cookie.attributes(),
            clears_all: cookie.clears_all(),
        };
        let keyring = self.keyring.unwrap_or_else(|| {
            tracing::warn!("no keyring given: sessions end when this process does");
            Keyring::generate(&*self.random).into()
        });
        let Self { mut store, near_cache, policy, clock, random, events, reach, equipment, .. } = self;
        let has_lifeboat = policy.outage == Outage::Lifeboat;
        if !has_lifeboat && equipment.journal.is_some() {
            let mistake = "journal takes outage = lifeboat: else nothing that it has is ever replayed";
            return Err(PolicyError::new(vec![mistake.to_owned()]));
        }
        let lifeboat = has_lifeboat.then(|| Lifeboat::new(equipment, &policy, &keyring.load(), &*random));
        let lifeboat = lifeboat.transpose().map_err(PolicyError::new)?;
        let near = near_cache.map(|config| Near::start(Arc::clone(&store), Arc::clone(&clock), config));
        let breaker = if store.is_remote() { Breaker::default() } else { Breaker::of_local_store() };
        if let Some(near) = &near {
            store = Arc::clone(near) as Arc<dyn SessionStore>;
        }
        let (guesses, endings) = (Guesses::default(), Endings::default());
        let inner = Arc::new(Inner {
            store,
            near,
            breaker,
            marker: KnownMarker::default(),
            lifeboat,
            keyring,
            policy,
            clock,
            random,
            names,
            events,
            reach,
            guesses,
            endings,
            verified: Verified::default(),
        });
        sweeper::start(&inner);
        keys::start(&inner);
        outage::start(&inner);
        Ok(Sessions { inner })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("store", &self.store).finish_non_exhaustive()
    }
}
