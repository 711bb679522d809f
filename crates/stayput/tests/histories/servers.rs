//! Three servers over one store: built, and built again when they crash.
//!
//! Those with near caches have clocks of their own, and are told of changes by streams of their own.

use std::sync::Arc;
use std::time::Duration;

use stayput::{
    Clock, Keyring, LifeboatKey, Merge, NearCache, Outage, Policy, SessionStore, Sessions, Timestamp,
};
use stayput_testkit::{ManualClock, Seed, SeededRandom, TellingStore};

use crate::application::{MARKS, Server, VALUES, server};
use crate::gates::{GatedStore, Gates};
use crate::streams::Stream;

/// The servers and what they have in common.
pub(crate) struct Servers {
    pub(crate) gates: Arc<Gates>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) policy: Policy,
    random: Arc<SeededRandom>,
    store: Arc<dyn SessionStore>,
    /// The same store, if it tells of changes.
    telling: Option<Arc<TellingStore>>,
    running: Vec<Running>,
    processes: u32,
}

/// A server, from its start to its crash.
struct Running {
    sessions: Sessions,
    service: Server,
    process: u32,
    clock: Arc<ManualClock>,
    stream: Option<Stream>,
}

/// Three, so that two may disagree about a third.
pub(crate) const SERVERS: usize = 3;

/// The most that a server's clock is ahead of the store's or behind it.
pub(crate) const SKEW: Duration = Duration::from_millis(700);

impl Servers {
    /// Servers without near caches, which share the store's clock. Outside of a runtime, so that only the history sweeps.
    pub(crate) fn plain(seed: Seed, clock: &Arc<ManualClock>, store: Arc<dyn SessionStore>) -> Self {
        let mut servers = Self::of(seed, store, None, Outage::Refuse);
        servers.running = (0..SERVERS).map(|_| servers.start(clock.clone())).collect();
        servers
    }

    /// Servers with near caches, which do that in an outage. Inside a runtime, in which they follow the store.
    pub(crate) fn near(
        seed: Seed,
        clock: &Arc<ManualClock>,
        store: Arc<dyn SessionStore>,
        outage: Outage,
    ) -> Self {
        let telling = Arc::new(TellingStore::new(store));
        let mut servers = Self::of(seed, telling.clone(), Some(telling), outage);
        let mut rng = Seed(!seed.0).rng();
        for _ in 0..SERVERS {
            let skewed = ManualClock::default();
            // They were not booted together.
            skewed.advance(Duration::from_secs(rng.u64(..10_000)));
            skewed.set(clock.now().before(SKEW).after(SKEW.mul_f64(2.0 * rng.f64())));
            let running = servers.start(Arc::new(skewed));
            servers.running.push(running);
        }
        servers
    }

    fn of(
        seed: Seed,
        store: Arc<dyn SessionStore>,
        telling: Option<Arc<TellingStore>>,
        outage: Outage,
    ) -> Self {
        let random = Arc::new(SeededRandom::new(seed));
        let keyring = Arc::new(Keyring::generate(&*random));
        let policy = Policy {
            carry: vec![MARKS.to_owned()],
            absolute_timeout: Duration::from_mins(90),
            outage,
            max_age: MAX_AGE,
            lifeboat: if outage == Outage::Lifeboat { lifeboat() } else { Vec::new() },
            ..Policy::web()
        };
        let (gates, running) = (Arc::default(), Vec::new());
        Self { gates, keyring, policy, random, store, telling, running, processes: 0 }
    }

    fn start(&mut self, clock: Arc<ManualClock>) -> Running {
        self.processes += 1;
        let gated = GatedStore::new(self.store.clone(), self.gates.clone(), self.processes);
        let sessions = Sessions::builder(gated)
            .near_cache(self.telling.as_ref().map(|_| NearCache::default()))
            .keyring(self.keyring.clone())
            .policy(self.policy.clone())
            .clock(clock.clone())
            .random(self.random.clone())
            .build()
            .expect("the rules are sound");
        let stream = self.telling.as_ref().map(|telling| Stream::new(telling.newest_ear()));
        let service = server(&sessions, self.gates.clone());
        Running { sessions, service, process: self.processes, clock, stream }
    }

    /// Starts the server number `at` anew, with nothing in its memory.
    pub(crate) fn restart(&mut self, at: usize) {
        let clock = self.running[at].clock.clone();
        self.running[at] = self.start(clock);
    }

    pub(crate) fn service(&self, at: usize) -> Server {
        self.running[at].service.clone()
    }

    /// Which process the server number `at` is: no other one ever has that number.
    pub(crate) fn process(&self, at: usize) -> u32 {
        self.running[at].process
    }

    /// Those of whose calls so many failed lately that they may not ask the store for all that they could.
    pub(crate) fn wary(&self) -> impl Iterator<Item = u32> {
        self.running.iter().map(|running| running.process).filter(|process| self.gates.is_wary(*process))
    }

    /// Calls may have come to their time limits.
    pub(crate) fn lose_trust(&self) {
        for running in &self.running {
            self.gates.note_outcome(running.process, true);
        }
    }

    /// Every stream of changes breaks, and is made again.
    pub(crate) fn reconnect(&mut self, now: Timestamp) {
        for stream in self.running.iter_mut().filter_map(|running| running.stream.as_mut()) {
            stream.cut();
            stream.mend(now);
        }
    }

    /// Whether a server takes the store for out.
    pub(crate) fn take_store_for_out(&self) -> bool {
        self.running.iter().any(|running| running.sessions.store_is_out())
    }

    /// Moves the servers' clocks on.
    pub(crate) fn advance(&self, by: Duration) {
        for running in self.running.iter().filter(|running| running.stream.is_some()) {
            running.clock.advance(by);
        }
    }

    /// Puts on its way to every server what was changed.
    pub(crate) fn tell(&mut self, now: Timestamp) {
        for stream in self.running.iter_mut().filter_map(|running| running.stream.as_mut()) {
            stream.take(now);
        }
    }

    /// What the server number `at` is told.
    pub(crate) fn stream(&mut self, at: usize) -> &mut Stream {
        self.running[at].stream.as_mut().expect("it has a near cache")
    }
}

/// For how long sessions are served in an outage: so long that some are, and so short that some aren't any more.
const MAX_AGE: Duration = Duration::from_mins(5);

/// What browsers carry over an outage: what says which session it is, and the marks, which can be made in it.
fn lifeboat() -> Vec<LifeboatKey> {
    let read = VALUES.into_iter().chain(["name"]).map(LifeboatKey::read);
    read.chain([LifeboatKey::written(MARKS, Merge::Union)]).collect()
}
