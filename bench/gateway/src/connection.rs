//! A client's connection: one request at a time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::answer::Incoming;

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) asked: Option<Asked>,
}

/// A request that is under way.
pub(crate) struct Asked {
    pub(crate) client: usize,
    /// When it was to be sent.
    pub(crate) due: Instant,
    pub(crate) answer: Incoming,
    /// The answer is whole; only the connection's end is to come.
    pub(crate) is_whole: bool,
}

pub(crate) enum Arrived {
    Part,
    Whole,
    End,
}

impl Connection {
    pub(crate) fn open(target: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, asked: None })
    }

    pub(crate) fn ask(&mut self, client: usize, due: Instant, request: &[u8]) -> io::Result<()> {
        self.asked = Some(Asked { client, due, answer: Incoming::default(), is_whole: false });
        self.stream.write_all(request)
    }

    pub(crate) fn read(&mut self, scratch: &mut [u8]) -> io::Result<Arrived> {
        let n = match self.stream.read(scratch) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Arrived::Part),
            result => result?,
        };
        match &mut self.asked {
            _ if n == 0 => Ok(Arrived::End),
            None => Err(io::Error::other("bytes that nobody asked for")),
            Some(asked) => {
                asked.is_whole = asked.answer.take(&scratch[..n]);
                Ok(if asked.is_whole { Arrived::Whole } else { Arrived::Part })
            }
        }
    }
}
