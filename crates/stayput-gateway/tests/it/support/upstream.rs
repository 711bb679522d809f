//! Upstreams that record every byte.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use super::{localhost, wait_until};

/// What an upstream has seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// How many connections were made.
    pub(crate) connections: usize,
    /// Whole requests.
    pub(crate) requests: Vec<Request>,
    /// Requests that broke off.
    pub(crate) broken: Vec<Vec<u8>>,
}

#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) head: String,
    /// As it came, coding included.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// What its `X-Request-Id` says.
    pub(crate) fn id(&self) -> String {
        let line = self.head.lines().find_map(|line| line.strip_prefix("X-Request-Id: "));
        line.unwrap_or_else(|| panic!("no id in {}", self.head)).to_owned()
    }
}

/// A recording upstream; goes away when dropped.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    is_over: Arc<AtomicBool>,
}

/// One connection of an upstream.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// Counted from 0.
    pub(crate) number: usize,
    seen: Arc<Mutex<Seen>>,
    read: Vec<u8>,
}

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Upstream {
    /// Answers every request like this.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::custom(move |mut connection| {
            while connection.request().is_some() {
                if connection.stream.write_all(&answer).is_err() {
                    return;
                }
            }
        })
    }

    pub(crate) fn ok() -> Self {
        Self::answering(OK)
    }

    pub(crate) fn custom(serve: impl Fn(Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(localhost()).unwrap();
        let address = listener.local_addr().unwrap();
        let upstream =
            Self { address, seen: Arc::default(), streams: Arc::default(), is_over: Arc::default() };
        let (seen, streams, is_over) =
            (upstream.seen.clone(), upstream.streams.clone(), upstream.is_over.clone());
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if is_over.load(SeqCst) {
                    return;
                }
                streams.lock().unwrap().push(stream.try_clone().unwrap());
                let number = {
                    let mut seen = seen.lock().unwrap();
                    seen.connections += 1;
                    seen.connections - 1
                };
                let connection = Connection { stream, number, seen: seen.clone(), read: Vec::new() };
                let serve = serve.clone();
                thread::spawn(move || {
                    let stream = connection.stream.try_clone().unwrap();
                    serve(connection);
                    // Its copy in `streams` would keep it open.
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        upstream
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub(crate) fn request(&self, index: usize) -> Request {
        self.seen().requests[index].clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen().requests.len()
    }

    pub(crate) fn has_seen_nothing(&self) -> bool {
        let seen = self.seen();
        seen.requests.is_empty() && seen.broken.is_empty()
    }

    /// As `kill -9` would: nobody listens any more, all connections end. Returns when that is so.
    pub(crate) fn kill(&self) {
        if !self.is_over.swap(true, SeqCst) {
            // Wakes the thread that accepts, which then drops its listener.
            drop(TcpStream::connect(self.address));
            wait_until("nobody listens", || TcpStream::connect(self.address).is_err());
            for stream in self.streams.lock().unwrap().iter() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Connection {
    /// The next whole request, recorded; `None` at the end.
    pub(crate) fn request(&mut self) -> Option<Request> {
        let head = self.head()?;
        let field = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()))
        };
        let body = if field("Transfer-Encoding:").is_some() {
            self.until(b"0\r\n\r\n")
        } else {
            let length = field("Content-Length:").map_or(0, |length| length.parse().unwrap());
            self.take(length)
        };
        let Some(body) = body else {
            let broken = [head.as_bytes(), &self.read].concat();
            self.seen.lock().unwrap().broken.push(broken);
            return None;
        };
        let request = Request { head, body };
        self.seen.lock().unwrap().requests.push(request.clone());
        Some(request)
    }

    /// The next head.
    pub(crate) fn head(&mut self) -> Option<String> {
        let Some(head) = self.until(b"\r\n\r\n") else {
            if !self.read.is_empty() {
                self.seen.lock().unwrap().broken.push(self.read.clone());
            }
            return None;
        };
        Some(String::from_utf8(head).unwrap())
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The other side may be gone; then the test sees that elsewhere.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    pub(crate) fn take(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.read.len() < n {
            self.more()?;
        }
        Some(self.read.drain(..n).collect())
    }

    fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end) {
                return Some(self.read.drain(..at + end.len()).collect());
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> Option<()> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(n @ 1..) => self.read.extend(&bytes[..n]),
            Ok(0) | Err(_) => return None,
        }
        Some(())
    }
}
