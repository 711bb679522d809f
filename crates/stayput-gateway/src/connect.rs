//! Connections to upstreams: made, or not, and whose fault that is.
//!
//! It asks no name; it tries what addresses are known, and remembers which one worked.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::upstream::Addresses;

/// A connection to the first of these that can be connected to. Each one gets its part of the time that is left, so that none
/// that is silent keeps the others from being tried.
pub(crate) async fn connect(addresses: &Addresses, limit: Duration) -> io::Result<TcpStream> {
    let (all, deadline) = (addresses.all(), Instant::now() + limit);
    let mut failure = io::Error::new(io::ErrorKind::HostUnreachable, "its name has no known address");
    let mut gravity = 0;
    for (&address, left) in all.iter().zip((1..=u32::try_from(all.len()).unwrap_or(u32::MAX)).rev()) {
        let part = deadline.saturating_duration_since(Instant::now()) / left;
        let late = |_| Err(io::ErrorKind::TimedOut.into());
        match timeout(part, connect_to(address)).await.unwrap_or_else(late) {
            Ok(stream) => {
                addresses.prefer(address);
                return Ok(stream);
            }
            Err(error) if how_grave(&error) > gravity => (gravity, failure) = (how_grave(&error), error),
            Err(_) => {}
        }
    }
    Err(failure)
}

/// What an upstream of several addresses is judged by: one that is silent says more than one that refuses.
fn how_grave(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => 2,
        _ if is_ours(error) => 1,
        _ => 3,
    }
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Without a listener, connecting to a local port of the ephemeral range may meet itself (simultaneous open).
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether the cause is here: no descriptor, memory or port is left, or no such address can be connected to.
pub(crate) fn is_ours(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, NotConnected, TimedOut,
    };
    !matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable | NotConnected | TimedOut
    )
}
