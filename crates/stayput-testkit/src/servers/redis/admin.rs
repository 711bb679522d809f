//! Just enough of Redis' protocol to ask a server for something and wait. It knows no pushes and no pipelines.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Such as `OK`.
    Status(String),
    /// Such as `ERR unknown command`.
    Error(String),
    /// A number.
    Integer(i64),
    /// A string of bytes.
    Bytes(Vec<u8>),
    /// Nothing there.
    Nil,
    /// Several.
    Array(Vec<Reply>),
}

pub(super) struct Admin {
    stream: BufReader<UnixStream>,
}

impl Admin {
    pub(super) fn connect(socket: &Path, password: Option<&str>) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut admin = Self { stream: BufReader::new(stream) };
        if let Some(password) = password {
            admin.run(&["AUTH", password])?;
        }
        Ok(admin)
    }

    pub(super) fn run<W: AsRef<[u8]>>(&mut self, command: &[W]) -> io::Result<Reply> {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for word in command {
            let word = word.as_ref();
            bytes.extend(format!("${}\r\n", word.len()).bytes());
            bytes.extend([word, b"\r\n"].concat());
        }
        self.stream.get_mut().write_all(&bytes)?;
        self.reply()
    }

    /// From now on [`Admin::reply`] waits as long as it takes; until the stream that this gives is shut down.
    pub(super) fn wait_for_ever(&self) -> io::Result<UnixStream> {
        let stream = self.stream.get_ref();
        stream.set_read_timeout(None)?;
        stream.try_clone()
    }

    pub(super) fn reply(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let (kind, rest) = line.trim_end().split_at_checked(1).ok_or(io::ErrorKind::UnexpectedEof)?;
        let number = || rest.parse::<i64>().map_err(|_| io::ErrorKind::InvalidData);
        match kind {
            "+" => Ok(Reply::Status(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => Ok(Reply::Integer(number()?)),
            "$" => self.bytes(number()?),
            "*" => (0..number()?).map(|_| self.reply()).collect::<Result<_, _>>().map(Reply::Array),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn bytes(&mut self, length: i64) -> io::Result<Reply> {
        let Ok(length) = usize::try_from(length) else { return Ok(Reply::Nil) };
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(Reply::Bytes(bytes))
    }
}
