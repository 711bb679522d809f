//! A gateway under test, clients that send any bytes, and upstreams that record every byte.
//!
//! Nothing here sleeps to let something happen: it waits for the condition itself.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use stayput_core::{Keyring, SystemRandom};
use stayput_gateway::{Config, Control, Gateway, Running, UpstreamConfig, UpstreamStatus};

/// Longer than anything takes; reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited too long until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn localhost() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

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

/// A gateway with one worker in front of upstreams named `s0`, `s1`, ….
pub(crate) struct TestGateway {
    running: Option<Running>,
    pub(crate) address: SocketAddr,
    /// The keys of its keyring, the primary first.
    keys: Vec<String>,
}

impl TestGateway {
    pub(crate) fn new(upstreams: &[&Upstream]) -> Self {
        Self::with(upstreams, |_| {})
    }

    pub(crate) fn with(upstreams: &[&Upstream], configure: impl FnOnce(&mut Config)) -> Self {
        let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
        Self::at(&addresses, configure)
    }

    pub(crate) fn at(addresses: &[SocketAddr], configure: impl FnOnce(&mut Config)) -> Self {
        let keys = [(); 2].map(|()| Keyring::generate(&SystemRandom).danger_to_text());
        Self::with_keys(keys.into(), named(addresses), configure)
    }

    /// Another one with the same keyring, which has these upstreams.
    pub(crate) fn sibling(
        &self,
        upstreams: Vec<UpstreamConfig>,
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        Self::with_keys(self.keys.clone(), upstreams, configure)
    }

    fn with_keys(
        keys: Vec<String>,
        upstreams: Vec<UpstreamConfig>,
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::new(localhost(), upstreams);
        config.workers = 1;
        configure(&mut config);
        let keyring = Keyring::parse(&keys.concat()).unwrap();
        let running = Gateway::bind(config, keyring).unwrap().start().unwrap();
        Self { address: running.local_addr(), running: Some(running), keys }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    pub(crate) fn ask(&self, request: &str) -> Answer {
        let mut client = self.connect();
        client.send(request);
        client.answer()
    }

    /// `GET /` with these further field lines.
    pub(crate) fn get(&self, fields: &str) -> Answer {
        self.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    }

    pub(crate) fn control(&self) -> &Control {
        self.running.as_ref().unwrap().control()
    }

    /// A keyring like its own.
    pub(crate) fn keyring(&self) -> Keyring {
        Keyring::parse(&self.keys.concat()).unwrap()
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn status(&self, index: usize) -> UpstreamStatus {
        self.running.as_ref().unwrap().upstreams().swap_remove(index)
    }

    /// The affinity cookie for an upstream, as a field line.
    pub(crate) fn cookie(&self, name: &str) -> String {
        Self::cookie_under(self.keys.clone(), name)
    }

    /// The affinity cookie that it would have been when the older key was the primary one.
    pub(crate) fn old_cookie(&self, name: &str) -> String {
        Self::cookie_under(self.keys[1..].into(), name)
    }

    /// What a gateway says that knows no other upstream.
    fn cookie_under(keys: Vec<String>, name: &str) -> String {
        let upstream = Upstream::ok();
        let upstreams = vec![UpstreamConfig::new(name, upstream.address.into())];
        Self::with_keys(keys, upstreams, |_| {}).get("").set_cookie().unwrap()
    }

    /// Shuts down in the background.
    pub(crate) fn shut_down(mut self, grace: Duration) -> thread::JoinHandle<()> {
        let running = self.running.take().unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(running.shutdown(grace));
        })
    }
}

pub(crate) fn named(addresses: &[SocketAddr]) -> Vec<UpstreamConfig> {
    let named =
        |(index, &address): (usize, &SocketAddr)| UpstreamConfig::new(format!("s{index}"), address.into());
    addresses.iter().enumerate().map(named).collect()
}

/// A raw client.
pub(crate) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn has(&self, line: &str) -> bool {
        self.head.lines().any(|its| its.eq_ignore_ascii_case(line))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The affinity cookie that it sets, as a field line of a request.
    pub(crate) fn set_cookie(&self) -> Option<String> {
        let value = self.head.lines().find_map(|line| line.strip_prefix("Set-Cookie: stayput-affinity="))?;
        Some(format!("Cookie: stayput-affinity={}\r\n", value.split(';').next().unwrap()))
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends what may be refused half-way.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The same connection, to send by while answers are read.
    pub(crate) fn another_hand(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    pub(crate) fn half_close(&mut self) {
        match self.stream.shutdown(Shutdown::Write) {
            // The gateway has broken the connection off already; what it had to say is judged by its answer.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            closed => closed.unwrap(),
        }
    }

    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.answer_head();
        let length = answer.head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if answer.has("Transfer-Encoding: chunked") {
            while !answer.body.ends_with(b"0\r\n\r\n") {
                let next = self.take(1);
                answer.body.extend(next);
            }
        } else if let Some(length) = length {
            answer.body = self.take(length.trim().parse().unwrap());
        } else if answer.status != 204 && answer.status != 304 {
            answer.body = self.rest().unwrap();
        }
        answer
    }

    /// An answer of which only the head is expected now.
    pub(crate) fn answer_head(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert_ne!(self.read_more().unwrap(), 0, "closed in a head: {:?}", self.seen());
        };
        let head = String::from_utf8(self.take(end)).unwrap();
        let status = head[9..12].parse().unwrap();
        Answer { status, head, body: Vec::new() }
    }

    /// Waits for an answer, whole or not.
    pub(crate) fn answer_head_or_end(&mut self) {
        let is_head = |read: &[u8]| read.windows(4).any(|window| window == b"\r\n\r\n");
        while !is_head(&self.read) && self.read_more().is_ok_and(|n| n > 0) {}
    }

    /// Exactly so many bytes.
    pub(crate) fn take(&mut self, n: usize) -> Vec<u8> {
        while self.read.len() < n {
            assert_ne!(self.read_more().unwrap(), 0, "closed in a body: {:?}", self.seen());
        }
        self.read.drain(..n).collect()
    }

    /// Everything up to a clean end; the error of an unclean one.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.read_more()? > 0 {}
        Ok(std::mem::take(&mut self.read))
    }

    pub(crate) fn is_closed(&mut self) -> bool {
        self.rest().is_ok_and(|rest| rest.is_empty())
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 4096];
        let n = self.stream.read(&mut bytes)?;
        self.read.extend(&bytes[..n]);
        Ok(n)
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }
}

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
