//! A TCP proxy on loopback that does to connections what networks do.
//!
//! It knows no protocol: it counts bytes and connections. What it does can be changed while it runs.

mod relay;

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::Seed;

/// What the proxy does to connections, those that are open included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Weather {
    /// It passes everything on.
    #[default]
    Fair,
    /// It passes everything on, each piece after a random delay in this range. Timers go by the millisecond: a shorter one only
    /// lets others go first.
    Slow(Range<Duration>),
    /// It accepts connections and passes nothing on, until the weather changes.
    Hang,
    /// It passes on what the client says, and none of the answers until the weather changes.
    Mute,
    /// It resets all connections, and new ones as soon as they are made.
    Reset,
    /// It passes on what the client says, and closes the way back to it: the client reads the end of the stream.
    HalfClose,
    /// It passes on this many bytes of answers on each connection, then resets it: in the middle of a reply.
    CutAfter(u64),
    /// It resets each connection after a random number of bytes of answers in this range.
    CutWithin(Range<u64>),
}

/// A proxy in front of a server, for the client under test to connect to. It ends with this value, and so do all
/// connections through it.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    connections: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// A proxy to `server` in fair weather, whose random choices come from a seed that is printed.
    ///
    /// # Errors
    ///
    /// There is no free port.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        Self::seeded(server, Seed::announce()).await
    }

    /// The same with the choices of `seed`.
    ///
    /// # Errors
    ///
    /// There is no free port.
    pub async fn seeded(server: SocketAddr, seed: Seed) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (weather, forecast) = watch::channel(Weather::default());
        let (count, connections) = watch::channel(0);
        let task = tokio::spawn(accept(listener, server, forecast, count, seed));
        Ok(Self { address, weather, connections, task })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather, at once.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// How many connections it has accepted so far.
    pub fn connections(&self) -> u64 {
        *self.connections.borrow()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    weather: watch::Receiver<Weather>,
    count: watch::Sender<u64>,
    seed: Seed,
) {
    let mut rng = seed.rng();
    // Dropped with this task, it ends the connections.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        count.send_modify(|count| *count += 1);
        let relay = connect(client, server, weather.clone(), rng.fork());
        connections.spawn(relay);
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(
    client: TcpStream,
    server: SocketAddr,
    weather: watch::Receiver<Weather>,
    rng: fastrand::Rng,
) {
    // What is small must not wait for what comes after it.
    let _ = client.set_nodelay(true);
    match TcpStream::connect(server).await {
        Ok(server) => {
            let _ = server.set_nodelay(true);
            relay::run(client, server, weather, rng).await;
        }
        // As the server would.
        Err(_) => relay::reset(&client),
    }
}
