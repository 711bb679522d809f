//! As much of HTTP/1.1 as both ends of this run speak: heads, and bodies with a length.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A message that has come whole.
pub struct Message {
    pub head: String,
    pub body: String,
}

impl Message {
    /// The values of a field.
    pub fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(':'));
        pairs.filter(move |(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The cookies that a request brings.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields("cookie").flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='))
    }

    pub fn closes(&self) -> bool {
        self.fields("connection").any(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A connection and what has been read of it.
pub struct Connection {
    pub stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    pub async fn send(&mut self, text: &str) -> Result<()> {
        self.stream.write_all(text.as_bytes()).await
    }

    /// The next message; `None` at an end before its first byte.
    pub async fn receive(&mut self) -> Result<Option<Message>> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill().await? {
                return if self.read.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        };
        let head = String::from_utf8_lossy(&self.read[..end]).into_owned();
        let mut message = Message { head, body: String::new() };
        let length = message.fields("content-length").next().map_or(Ok(0), str::parse::<usize>);
        let whole = end + length.map_err(Error::other)?;
        while self.read.len() < whole {
            if !self.fill().await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        message.body = String::from_utf8_lossy(&self.read[end..whole]).into_owned();
        self.read.drain(..whole);
        Ok(Some(message))
    }

    /// Whether the other side has begun to answer.
    pub fn has_begun(&self) -> bool {
        !self.read.is_empty()
    }

    async fn fill(&mut self) -> Result<bool> {
        Ok(self.stream.read_buf(&mut self.read).await? > 0)
    }
}
