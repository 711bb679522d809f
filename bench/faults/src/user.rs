//! A user with a browser: one connection that is kept, a jar of cookies, a request every now and then.
//!
//! Like a browser it repeats a read whose kept connection had ended before any answer, once, and never a write.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{Connection, Message};
use crate::outcome::{Failure, Kind, Outcome};

/// After this a user gives up.
const PATIENCE: Duration = Duration::from_secs(15);

pub struct User {
    name: String,
    gateways: Vec<SocketAddr>,
    /// The one that answered last.
    gateway: usize,
    connection: Option<Connection>,
    jar: BTreeMap<String, String>,
    server: Option<String>,
    written: usize,
}

impl User {
    pub fn new(number: usize, gateways: &[SocketAddr]) -> Self {
        let name = format!("user-{number}");
        let jar = BTreeMap::from([("sid".to_owned(), name.clone())]);
        let gateway = number % gateways.len();
        Self { name, gateways: gateways.to_vec(), gateway, connection: None, jar, server: None, written: 0 }
    }

    /// Comes as somebody new to the gateways, still logged in.
    pub fn start_anew(&mut self) {
        self.jar.retain(|name, _| name == "sid");
        self.server = None;
    }

    /// Makes a request; gives the operation as well, if it is a write.
    pub async fn ask(&mut self, kind: Kind) -> (Outcome, Option<String>) {
        let operation = (kind == Kind::Write).then(|| {
            self.written += 1;
            format!("{}.{}", self.name, self.written)
        });
        let request = self.request(operation.as_deref());
        let started = Instant::now();
        let answer = timeout(PATIENCE, self.answer(&request, kind)).await;
        if !matches!(answer, Ok(Ok(_))) {
            self.connection = None;
        }
        let answer = answer.unwrap_or(Err(Failure::TooLate));
        let cookie_deleted = answer.as_ref().is_ok_and(|answer| self.keep_cookies(answer));
        let result = answer.and_then(|answer| self.judge(&answer));
        let took = started.elapsed();
        let has_moved = match (&result, &self.server) {
            (Ok(now), Some(before)) => now != before,
            _ => false,
        };
        if let Ok(server) = &result {
            self.server = Some(server.clone());
        }
        (Outcome { kind, took, result, has_moved, cookie_deleted }, operation)
    }

    fn request(&self, operation: Option<&str>) -> String {
        let cookies: Vec<_> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let common = format!(
            "Host: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
             Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, br\r\nCookie: {}\r\n",
            cookies.join("; ")
        );
        match operation {
            None => format!("GET /read HTTP/1.1\r\n{common}\r\n"),
            Some(operation) => {
                format!("POST /write HTTP/1.1\r\n{common}X-Op: {operation}\r\nContent-Length: 5\r\n\r\nhello")
            }
        }
    }

    async fn answer(&mut self, request: &str, kind: Kind) -> Result<Message, Failure> {
        for _ in 0..=self.gateways.len() {
            let (mut connection, was_kept) = match self.connection.take() {
                Some(connection) => (connection, true),
                None => (self.connect().await?, false),
            };
            let answer = match connection.send(request).await {
                Ok(()) => connection.receive().await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(Some(answer)) => {
                    self.connection = (!answer.closes()).then_some(connection);
                    return Ok(answer);
                }
                _ if connection.has_begun() => return Err(Failure::Broken),
                // One more try through a new connection, as browsers do; to another gateway if this one is gone.
                _ if kind == Kind::Read && (was_kept || self.gateways.len() > 1) => {}
                _ => return Err(Failure::Broken),
            }
        }
        Err(Failure::Broken)
    }

    /// Connects to the gateway of before, else to the others in turn.
    async fn connect(&mut self) -> Result<Connection, Failure> {
        for _ in 0..self.gateways.len() {
            let stream = TcpStream::connect(self.gateways[self.gateway]).await;
            if let Ok(connection) = stream.and_then(Connection::new) {
                return Ok(connection);
            }
            self.gateway = (self.gateway + 1) % self.gateways.len();
        }
        Err(Failure::Unreachable)
    }

    /// Says whether the session's cookie was taken away.
    fn keep_cookies(&mut self, answer: &Message) -> bool {
        for set in answer.fields("set-cookie") {
            if let Some((name, value)) = set.split(';').next().and_then(|pair| pair.split_once('=')) {
                self.jar.insert(name.to_owned(), value.to_owned());
            }
        }
        self.jar.get("sid").is_none_or(|sid| *sid != self.name)
    }

    fn judge(&self, answer: &Message) -> Result<String, Failure> {
        let status = answer.head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        if status != 200 {
            return Err(Failure::Status(status));
        }
        match answer.body.split_once(' ') {
            Some((server, user)) if user == self.name => Ok(server.to_owned()),
            _ => Err(Failure::LoggedOut),
        }
    }
}
