//! Servers that never say a word.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::localhost;

/// An address that says nothing to whoever connects, until it is [let go](Silent::answer): its queue is full.
pub(crate) struct Silent {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl Silent {
    pub(crate) fn new() -> Self {
        use socket2::{Domain, Socket, Type};
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&localhost().into()).unwrap();
        socket.listen(0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
        Self { address, _queue: std::iter::from_fn(connect).collect(), listener }
    }

    /// From now on each connection's first bytes are answered with this; says what they were.
    pub(crate) fn answer(&self, answer: &'static str) -> std::sync::mpsc::Receiver<String> {
        let (listener, (tell, told)) = (self.listener.try_clone().unwrap(), std::sync::mpsc::channel());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let tell = tell.clone();
                thread::spawn(move || {
                    let mut bytes = [0; 1024];
                    let n = stream.read(&mut bytes).unwrap_or(0);
                    let _ = tell.send(String::from_utf8_lossy(&bytes[..n]).into_owned());
                    let _ = stream.write_all(answer.as_bytes());
                });
            }
        });
        told
    }
}
