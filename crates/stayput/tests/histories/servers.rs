//! Three servers over one store: built, and built again when they crash.
//!
//! Those with near caches have clocks of their own, and are told of changes by streams of their own.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stayput::{
    Builder, Clock, Event, EventKind, Journal, Keyring, LifeboatKey, LogTag, Merge, NearCache, OnWiped,
    Outage, Overflow, Policy, SessionLimit, SessionStore, Sessions, Timestamp, Unreplayed,
};
use stayput_core::Marker;
use stayput_testkit::{ManualClock, Seed, SeededRandom, TellingStore};

use crate::application::{CART, COUNT, MARKS, Server, server};
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
    /// Where the journals are, if there are any.
    journals: Option<tempfile::TempDir>,
    /// What the servers said that they couldn't bring into the store.
    unreplayed: Arc<Mutex<Vec<(LogTag, Unreplayed)>>>,
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
        servers.running = (0..SERVERS).map(|at| servers.start(at, clock.clone())).collect();
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
        for at in 0..SERVERS {
            let skewed = ManualClock::default();
            // They were not booted together.
            skewed.advance(Duration::from_secs(rng.u64(..10_000)));
            skewed.set(clock.now().before(SKEW).after(SKEW.mul_f64(2.0 * rng.f64())));
            let running = servers.start(at, Arc::new(skewed));
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
            ..Policy::web()
        };
        let has_lifeboats = outage == Outage::Lifeboat;
        let policy = if has_lifeboats { with_lifeboats(policy) } else { policy };
        let journals = has_lifeboats.then(journals);
        let (gates, running, unreplayed) = (Arc::<Gates>::default(), Vec::new(), Arc::default());
        if has_lifeboats {
            gates.mark(Marker::generate(&*random));
        }
        Self { gates, keyring, policy, random, store, telling, running, processes: 0, journals, unreplayed }
    }

    fn start(&mut self, at: usize, clock: Arc<ManualClock>) -> Running {
        self.processes += 1;
        let gated = GatedStore::new(self.store.clone(), self.gates.clone(), self.processes);
        let builder = Sessions::builder(gated)
            .near_cache(self.telling.as_ref().map(|_| NearCache::default()))
            .keyring(self.keyring.clone())
            .policy(self.policy.clone())
            .clock(clock.clone())
            .random(self.random.clone());
        let sessions = self.equip(at, builder).build().expect("the rules are sound");
        let stream = self.telling.as_ref().map(|telling| Stream::new(telling.newest_ear()));
        let service = server(&sessions, self.gates.clone());
        Running { sessions, service, process: self.processes, clock, stream }
    }

    /// Gives a server what it needs for lifeboats, if there are any.
    fn equip(&self, at: usize, builder: Builder) -> Builder {
        let Some(journals) = &self.journals else { return builder };
        let unreplayed = self.unreplayed.clone();
        let builder = builder.readmit(|_, _| async { true }).on_event(move |event: &Event<'_>| {
            if let (EventKind::NotReplayed(why), Some(tag)) = (event.kind, event.session) {
                unreplayed.lock().unwrap().push((tag, why));
            }
        });
        if has_journal(at) { builder.journal(open(&journals.path().join(at.to_string()))) } else { builder }
    }

    /// Starts the server number `at` anew, with nothing in its memory. Of what the one before did nothing is left.
    pub(crate) fn restart(&mut self, at: usize) {
        let clock = self.running[at].clock.clone();
        self.running[at] = self.start(at, clock);
    }

    /// Ends the process of the server number `at`: its calls come to nothing, and it answers nobody.
    pub(crate) fn kill(&mut self, at: usize) {
        self.gates.kill(self.running[at].process);
        let idle = Sessions::builder_shared(self.store.clone())
            .policy(Policy::web())
            .random(self.random.clone())
            .build()
            .expect("the rules are sound");
        self.running[at].service = server(&idle, self.gates.clone());
        self.running[at].sessions = idle;
    }

    /// Whether nothing is left of the process that was the server number `at`.
    pub(crate) fn has_let_go(&self, at: usize) -> bool {
        let Some(journals) = self.journals.as_ref().filter(|_| has_journal(at)) else { return true };
        Journal::open(journals.path().join(at.to_string())).is_ok()
    }

    /// Whether some servers write journals.
    pub(crate) fn keep_journals(&self) -> bool {
        self.journals.is_some()
    }

    /// Whether nothing waits for the store, of those that write it down.
    pub(crate) fn have_empty_journals(&self) -> bool {
        let Some(journals) = &self.journals else { return true };
        let is_empty = |at: usize| {
            let journal = std::fs::metadata(journals.path().join(at.to_string()));
            journal.is_ok_and(|journal| journal.len() == 0)
        };
        (0..SERVERS).filter(|at| has_journal(*at)).all(is_empty)
    }

    /// What they said since that they couldn't bring into the store.
    pub(crate) fn unreplayed(&self) -> Vec<(LogTag, Unreplayed)> {
        std::mem::take(&mut *self.unreplayed.lock().unwrap())
    }

    /// The store is another one from here on, if it ever told which one it is.
    pub(crate) fn mark_anew(&self) {
        if self.journals.is_some() {
            self.gates.mark(Marker::generate(&*self.random));
        }
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

/// What browsers carry over an outage: all but the ticket. A user has few sessions.
fn with_lifeboats(policy: Policy) -> Policy {
    let lifeboat = vec![
        LifeboatKey::read("name"),
        LifeboatKey::written(MARKS, Merge::Union),
        LifeboatKey::written(COUNT, Merge::Add),
        LifeboatKey::written(CART, Merge::IfUnchanged),
    ];
    let most = NonZeroU32::new(MOST_SESSIONS).expect("it is more than none");
    let session_limit = Some(SessionLimit { most, overflow: Overflow::EndOldest });
    Policy { lifeboat, session_limit, on_wiped: OnWiped::Restore, ..policy }
}

/// Most sessions of a user, where there is a limit.
pub(crate) const MOST_SESSIONS: u32 = 2;

/// Whether the server number `at` has a journal, where any has: one must do without.
pub(crate) fn has_journal(at: usize) -> bool {
    at < 2
}

/// A place that is fast to write to, if there is one.
fn journals() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    dir.expect("temporary files can be made")
}

/// The journal of a server.
fn open(path: &std::path::Path) -> Journal {
    Journal::open(path).expect("the process before has let it go").without_thread()
}
