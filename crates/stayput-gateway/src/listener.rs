//! The listening sockets, one per worker on one port.
//!
//! It never shares a port with another process by accident, which `SO_REUSEPORT` alone would do silently.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted, per socket; the kernel has a limit of its own.
const BACKLOG: i32 = 4096;

/// Binds `count` sockets to one address. Port 0 takes any free port.
pub(crate) fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    // Fails if anybody listens there. Only then is the port opened for the others.
    let first = listen(address, false)?;
    first.set_reuse_port(true)?;
    let address = first.local_addr()?.as_socket().expect("it was bound to an IP address");
    let others = (1..count).map(|_| listen(address, true));
    std::iter::once(Ok(first)).chain(others).map(|socket| socket.map(Into::into)).collect()
}

fn listen(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.set_nonblocking(true)?;
    // Those that are accepted inherit it, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
