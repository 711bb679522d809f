//! As much of an HTTP/1.1 client as the drill needs: a connection that is kept, one request at a time. A proper one would take more
//! of the machine than the servers do.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Its `Set-Cookie` headers.
    pub(super) cookies: Vec<String>,
    pub(super) body: String,
    pub(super) is_last: bool,
}

pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(1024) })
    }

    pub(super) async fn ask(&mut self, method: &str, path: &str, cookies: &str) -> io::Result<Answer> {
        let length = if method == "POST" { "content-length: 0\r\n" } else { "" };
        let cookie = if cookies.is_empty() { String::new() } else { format!("cookie: {cookies}\r\n") };
        let request = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{length}{cookie}\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(at) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let (mut answer, length) = parse(&self.buffer[..head])?;
        while self.buffer.len() < head + length {
            self.more().await?;
        }
        answer.body = String::from_utf8_lossy(&self.buffer[head..]).into_owned();
        Ok(answer)
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The answer without its body, and how long that is.
fn parse(head: &[u8]) -> io::Result<(Answer, usize)> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    let (mut answer, mut length) =
        (Answer { status, cookies: Vec::new(), body: String::new(), is_last: false }, 0);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(io::Error::other)?,
            "set-cookie" => answer.cookies.push(value.to_owned()),
            "connection" => answer.is_last = value.eq_ignore_ascii_case("close"),
            "transfer-encoding" => {
                return Err(io::Error::other("the drill's application has no chunked answers"));
            }
            _ => {}
        }
    }
    Ok((answer, length))
}
