//! The gateway from outside: bound, started, watched, shut down.
//!
//! It installs no signal handlers and never ends the process; that is up to whoever runs it.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use stayput_core::Keyring;
use tokio::sync::watch;

use crate::config::{Config, ConfigMistake, UpstreamAddress};
use crate::control::Control;
use crate::health;
use crate::listener;
use crate::metrics::Tallies;
use crate::names::AddressBook;
use crate::site::{Published, Site};
use crate::upstream::UpstreamStatus;
use crate::worker::{self, Deadline, Shared};
use crate::{access_log, admin};

/// A gateway whose sockets are bound: clients can connect already, and are served once it is started.
pub struct Gateway {
    address: SocketAddr,
    listeners: Vec<TcpListener>,
    admin: Option<TcpListener>,
    keyring: Arc<Keyring>,
    config: Config,
}

impl Gateway {
    /// Checks the configuration and binds the sockets. The keyring makes and recognises affinity cookies.
    ///
    /// # Errors
    ///
    /// All mistakes in the configuration together, or why the address can't be listened on.
    pub fn bind(config: Config, keyring: impl Into<Arc<Keyring>>) -> Result<Self, BindError> {
        let mistakes = config.site.mistakes(None);
        if !mistakes.is_empty() {
            return Err(BindError::Config(mistakes));
        }
        let workers = match config.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let failed = |source| BindError::Listen { address: config.listen, source };
        let listeners = listener::bind(config.listen, workers).map_err(failed)?;
        let address = listeners[0].local_addr().map_err(failed)?;
        let mistakes = config.site.mistakes(Some(address));
        if !mistakes.is_empty() {
            return Err(BindError::Config(mistakes));
        }
        let admin = config.admin.as_ref().map(|admin| {
            let failed = |source| BindError::Listen { address: admin.listen, source };
            listener::bind(admin.listen, 1).map_err(failed).map(|mut one| one.remove(0))
        });
        Ok(Self { address, listeners, admin: admin.transpose()?, keyring: keyring.into(), config })
    }

    /// Where it listens, with the port that was found if the configuration said 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Says that the upstream `name` listens at `address`, where that was not known yet when the sockets were bound.
    pub fn locate(&mut self, name: &str, address: impl Into<UpstreamAddress>) {
        let address = address.into();
        let all = self.config.site.pools.iter_mut().flat_map(|pool| &mut pool.upstreams);
        all.filter(|upstream| upstream.name == name).for_each(|upstream| upstream.address = address.clone());
    }

    /// Looks up the names of upstreams, which takes three seconds at most, and starts the threads.
    ///
    /// # Errors
    ///
    /// The operating system's, if it refuses a thread or what a thread needs; then none is left running.
    pub fn start(self) -> io::Result<Running> {
        let Config { site, clock, resolver, access_log, admin, .. } = self.config;
        let (log, log_thread) = access_log.map(access_log::start).transpose()?.unzip();
        let first = Site::new(&site, &self.keyring, &clock, None);
        let book = AddressBook { resolver, own: self.address };
        book.look_up_new(&first)?;
        let shared = Arc::new(Shared {
            site: Published::new(first),
            book,
            host: self.address.to_string(),
            tallies: Tallies::default(),
        });
        let control = Control::new(self.address, Arc::clone(&shared), clock, site, self.keyring);
        let (stop, stopped) = watch::channel(None);
        let admin_address = self.admin.as_ref().map(TcpListener::local_addr).transpose()?;
        let admin = admin
            .zip(self.admin)
            .map(|(config, listener)| admin::start(config, listener, control.clone(), stopped.clone()));
        let mut running = Running {
            address: self.address,
            admin_address,
            control,
            stop,
            workers: admin.transpose()?.into_iter().collect(),
            log_thread,
        };
        let (started, starts) = mpsc::channel();
        let workers = self.listeners.len();
        for (index, listener) in self.listeners.into_iter().enumerate() {
            let (shared, log) = (Arc::clone(&shared), log.clone());
            let (stopped, started) = (stopped.clone(), started.clone());
            let name = format!("gateway-{index}");
            let run = move || worker::run(shared, log, listener, stopped, &started);
            running.workers.push(thread::Builder::new().name(name).spawn(run)?);
        }
        running.workers.push(health::start(shared, stopped)?);
        drop((started, log));
        starts.into_iter().take(workers).collect::<io::Result<()>>()?;
        Ok(running)
    }
}

/// A gateway at work. Dropping it ends it at once, whatever is in flight; see [`shutdown`](Self::shutdown).
pub struct Running {
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    control: Control,
    stop: watch::Sender<Deadline>,
    /// The admin interface's thread is the first, if there is one; the one that checks servers is the last.
    workers: Vec<JoinHandle<()>>,
    log_thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where the admin interface listens, if there is one.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// What changes it while it runs.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Each upstream as it is now, pool by pool, in the order of the configuration.
    pub fn upstreams(&self) -> Vec<UpstreamStatus> {
        self.control.upstreams()
    }

    /// Stops accepting, closes idle connections, and lets requests in flight finish for as long as `grace`; then cuts
    /// the rest. Returns when all threads have ended and the access log is written; for a log whose output is stuck it
    /// waits `grace` once more, and no longer.
    pub async fn shutdown(self, grace: Duration) {
        let Self { stop, workers, log_thread, .. } = self;
        // A grace beyond the end of time is none.
        let grace = grace.min(LONGEST_GRACE);
        stop.send_replace(Some(Instant::now() + grace));
        // Each worker holds a receiver for as long as it serves.
        stop.closed().await;
        // They hold the log's senders, too, so the log ends with them.
        let logged = Instant::now() + grace;
        while log_thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < logged {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for thread in workers.into_iter().chain(log_thread.filter(JoinHandle::is_finished)) {
            if thread.join().is_err() {
                tracing::error!("a thread of the gateway panicked");
            }
        }
    }
}

/// A day.
const LONGEST_GRACE: Duration = Duration::from_hours(24);

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("address", &self.address).finish_non_exhaustive()
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why a gateway can't be set up.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// The configuration is wrong; all mistakes are here.
    Config(Vec<ConfigMistake>),
    /// The address can't be listened on.
    Listen {
        /// The address of the configuration.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(mistakes) => {
                let all: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
                f.write_str(&all.join("; "))
            }
            Self::Listen { address, source } => match source.kind() {
                io::ErrorKind::AddrInUse => write!(f, "{address} is taken: another process listens there"),
                io::ErrorKind::PermissionDenied => write!(f, "no permission to listen on {address}"),
                io::ErrorKind::AddrNotAvailable => write!(f, "{address} is no address of this machine"),
                _ => write!(f, "cannot listen on {address}"),
            },
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(_) => None,
            Self::Listen { source, .. } => Some(source),
        }
    }
}
