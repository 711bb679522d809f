//! A worker: one thread, one runtime, its own listener, connections and buffers.
//!
//! It shares nothing with the other workers but counters and configuration, and waits for nobody.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout_at};

use crate::access_log::LogSender;
use crate::buffer::Buffers;
use crate::client;
use crate::closing::{Closing, Place};
use crate::metrics::{Tallies, WorkerTally};
use crate::names::AddressBook;
use crate::pool::{Chance, Pool};
use crate::request_id::IdMaker;
use crate::retry::RetryBudget;
use crate::site::{LocalSite, Published};
use crate::waiting::Waiting;
use crate::watch::Clock;

/// How many clients are told at the same time that there is no room; more are just closed.
const MAX_SHEDDING: usize = 64;
/// The wait after an accept that failed, usually for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often idle connections to upstreams are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) site: Published,
    pub(crate) book: AddressBook,
    /// The gateway's own address, as a `Host`.
    pub(crate) host: String,
    /// What each worker has counted for itself.
    pub(crate) tallies: Tallies<WorkerTally>,
}

/// What the connections of one thread share.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: Option<LogSender>,
    site: RefCell<Rc<LocalSite>>,
    pub(crate) buffers: Buffers,
    pub(crate) budget: RetryBudget,
    pub(crate) ids: IdMaker,
    pub(crate) chance: Chance,
    pub(crate) closing: Rc<Closing>,
    pub(crate) clock: Clock,
    pub(crate) waiting: Waiting,
    pub(crate) tally: Arc<WorkerTally>,
    shedding: Cell<usize>,
}

/// The moment at which everything ends, once it is known.
pub(crate) type Deadline = Option<Instant>;

/// Runs a worker on this thread until it is told to stop and its connections have ended; `started` hears whether
/// it came up.
pub(crate) fn run(
    shared: Arc<Shared>,
    log: Option<LogSender>,
    listener: StdListener,
    stop: watch::Receiver<Deadline>,
    started: &mpsc::Sender<io::Result<()>>,
) {
    let up = runtime().and_then(|runtime| {
        let _context = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        Ok((runtime, listener))
    });
    let (result, up) = match up {
        Ok(up) => (Ok(()), Some(up)),
        Err(error) => (Err(error), None),
    };
    // If whoever waits for this has given up, there is nobody to tell.
    let _ = started.send(result);
    if let Some((runtime, listener)) = up {
        runtime.block_on(Rc::new(Worker::new(shared, log)).serve(listener, stop));
        // Dropping the runtime cuts whatever is still there.
    }
}

fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default())
}

impl Worker {
    fn new(shared: Arc<Shared>, log: Option<LogSender>) -> Self {
        let site = LocalSite::new(shared.site.generation(), shared.site.latest());
        Self {
            budget: RetryBudget::new(&site.shared.limits),
            site: RefCell::new(Rc::new(site)),
            tally: shared.tallies.join(),
            shared,
            log,
            buffers: Buffers::default(),
            ids: IdMaker::from_system(),
            chance: Chance::from_system(),
            closing: Rc::default(),
            clock: Clock::default(),
            waiting: Waiting::default(),
            shedding: Cell::new(0),
        }
    }

    /// The latest site.
    pub(crate) fn site(&self) -> Rc<LocalSite> {
        let generation = self.shared.site.generation();
        let mut site = self.site.borrow_mut();
        if site.generation != generation {
            *site = Rc::new(site.succeeded_by(generation, self.shared.site.latest()));
        }
        Rc::clone(&site)
    }

    async fn serve(self: Rc<Self>, listener: TcpListener, mut stop: watch::Receiver<Deadline>) {
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => self.welcome(stream, address.ip()),
                    Err(error) => self.accept_failed(&error).await,
                },
                _ = sweep.tick() => self.sweep(),
                // An error means that nobody is left to say when: it ends at once.
                _ = stop.changed() => break,
            }
        }
        // Whoever has been let in by the kernel is not turned away: their request is answered, too.
        while let Some(Ok((stream, address))) = accept_now(&listener) {
            self.welcome(stream, address.ip());
        }
        drop(listener);
        self.closing.begin();
        let deadline = stop.borrow().unwrap_or_else(Instant::now);
        let _ = timeout_at(deadline.into(), self.closing.all_gone()).await;
    }

    fn sweep(&self) {
        let (site, now) = (self.site(), Instant::now());
        site.sweep(now);
        self.buffers.sweep();
        self.waiting.walk((site.generation, site.shared.pools.iter().map(Pool::falls).sum()), now);
    }

    fn welcome(self: &Rc<Self>, stream: TcpStream, address: IpAddr) {
        let worker = Rc::clone(self);
        let has_room = self.closing.present() < self.site().shared.limits.connections;
        if !has_room {
            self.tally.shed.add(1);
        }
        if has_room {
            let place = Place::take(&self.closing);
            self.tally.accepted.add(1);
            tokio::task::spawn_local(async move {
                client::serve(Rc::clone(&worker), place, stream, address).await;
                worker.tally.ended.add(1);
            });
        } else if self.shedding.get() < MAX_SHEDDING {
            self.shedding.update(|n| n + 1);
            tokio::task::spawn_local(async move {
                client::shed(Rc::clone(&worker), stream, address).await;
                worker.shedding.update(|n| n - 1);
            });
        }
    }

    async fn accept_failed(&self, error: &io::Error) {
        // A client that left before it was let in.
        if error.kind() != io::ErrorKind::ConnectionAborted {
            tracing::warn!(%error, "a connection can't be accepted");
            sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// A connection that is there already.
fn accept_now(listener: &TcpListener) -> Option<io::Result<(TcpStream, std::net::SocketAddr)>> {
    match listener.poll_accept(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(accepted) => Some(accepted),
        Poll::Pending => None,
    }
}
