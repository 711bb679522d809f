//! Connections to upstreams: made, or not, and whose fault that is.
//!
//! It sets no deadline: its callers have one.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
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
