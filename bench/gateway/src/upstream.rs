//! Upstreams: any number of addresses in one thread, and answers that were made before.
//!
//! It reads no more of a request than its path and its end: requests with bodies it doesn't know.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;

use crate::poller::Poller;

const SMALL: usize = 200;
const LARGE: usize = 64 * 1024;

struct Connection {
    stream: TcpStream,
    answers: Rc<Answers>,
    /// What has come of a request that is not whole.
    begun: Vec<u8>,
    /// How much of the large answer has been sent, while it is being sent.
    sent: Option<usize>,
}

struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
}

/// Serves until it is killed.
pub(crate) fn serve(count: usize, first: SocketAddr) -> io::Result<()> {
    let mut poller = Poller::new()?;
    let listeners: Vec<_> = (0..count).map(|n| listen(nth(first, n), n)).collect::<io::Result<_>>()?;
    for (id, (listener, _)) in listeners.iter().enumerate() {
        poller.watch_reading(listener, id)?;
    }
    let addresses: Vec<_> = (0..count).map(|n| nth(first, n).to_string()).collect();
    crate::say(&format!("ready {}", addresses.join(" ")))?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free = Vec::new();
    let (mut ids, mut scratch) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        poller.wait(None, &mut ids)?;
        for &id in &ids {
            if let Some((listener, answers)) = listeners.get(id) {
                let slot = free.pop().unwrap_or_else(|| {
                    connections.push(None);
                    connections.len() - 1
                });
                let stream = listener.accept()?.0;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                poller.watch_reading(&stream, count + slot)?;
                connections[slot] =
                    Some(Connection { stream, answers: Rc::clone(answers), begun: Vec::new(), sent: None });
            } else {
                let slot = id - count;
                let connection = connections[slot].as_mut().expect("a connection that is watched");
                if connection.go_on(&poller, id, &mut scratch).is_err() {
                    connections[slot] = None;
                    free.push(slot);
                }
            }
        }
    }
}

fn listen(address: SocketAddr, n: usize) -> io::Result<(TcpListener, Rc<Answers>)> {
    let listener = TcpListener::bind(address)?;
    let answers = Answers { small: answer(n, SMALL), large: answer(n, LARGE) };
    Ok((listener, Rc::new(answers)))
}

/// The address `n` further on, leaving out those that end in 0 or 255.
fn nth(first: SocketAddr, n: usize) -> SocketAddr {
    let IpAddr::V4(ip) = first.ip() else { panic!("an IPv4 address") };
    let [a, b, c, d] = ip.octets();
    let n = n + usize::from(d) - 1;
    let step = |n: usize| u8::try_from(n).expect("an address within the network");
    SocketAddr::from((Ipv4Addr::new(a, b, c + step(n / 250), step(n % 250 + 1)), first.port()))
}

fn answer(upstream: usize, length: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: upstream\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\n\
         Content-Type: text/html; charset=utf-8\r\nX-Upstream: {upstream:05}\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.into_bytes(), vec![b'x'; length]].concat()
}

impl Connection {
    /// An error is its end, too.
    fn go_on(&mut self, poller: &Poller, id: usize, scratch: &mut [u8]) -> io::Result<()> {
        if self.sent.is_some() {
            return self.send_large(poller, id);
        }
        let n = self.stream.read(scratch)?;
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let whole = self.begun.is_empty() && scratch[..n].ends_with(b"\r\n\r\n");
        if !whole {
            self.begun.extend_from_slice(&scratch[..n]);
            if !self.begun.ends_with(b"\r\n\r\n") {
                return Ok(());
            }
        }
        let request = if whole { &scratch[..n] } else { &self.begun[..] };
        if request.starts_with(b"GET /large ") {
            self.sent = Some(0);
        }
        self.begun.clear();
        match self.sent {
            Some(_) => self.send_large(poller, id),
            None => self.stream.write_all(&self.answers.small),
        }
    }

    fn send_large(&mut self, poller: &Poller, id: usize) -> io::Result<()> {
        let sent = self.sent.expect("a large answer that is being sent");
        let n = match self.stream.write(&self.answers.large[sent..]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            result => result?,
        };
        let is_done = sent + n == self.answers.large.len();
        // Which of the two is being waited for changes only if the first send did not take everything.
        if (sent == 0) != is_done {
            poller.watch_writing(&self.stream, id, !is_done)?;
        }
        self.sent = if is_done { None } else { Some(sent + n) };
        Ok(())
    }
}
