//! Clients that send any bytes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::PATIENCE;

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
