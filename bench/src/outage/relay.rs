//! A relay to Redis that can tell the connections on which it tells of changes from those that calls go to, and spoil them alone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of messages of changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Messages {
    Pass,
    /// Their connections fall silent, as when the network swallows what is sent on them.
    Silent,
    /// They alone are lost, while the same connections answer: nobody can notice.
    Lost,
}

/// It ends with the program.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    pub(super) messages: watch::Sender<Messages>,
}

impl Relay {
    pub(super) async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (messages, watch) = watch::channel(Messages::Pass);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, server, watch.clone()));
            }
        });
        Ok(Self { address, messages })
    }
}

async fn relay(client: TcpStream, server: SocketAddr, messages: watch::Receiver<Messages>) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let tells = Arc::<AtomicBool>::default();
    tokio::select! {
        ended = calls(from_client, to_server, &tells) => ended,
        ended = answers(from_server, to_client, &tells, messages) => ended,
    }
}

async fn calls(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, tells: &AtomicBool) -> io::Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let length = match from.read(&mut bytes).await? {
            0 => return Ok(()),
            length => length,
        };
        if bytes[..length].windows(8).any(|word| word == b"TRACKING") {
            tells.store(true, Ordering::Relaxed);
        }
        to.write_all(&bytes[..length]).await?;
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    tells: &AtomicBool,
    mut messages: watch::Receiver<Messages>,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        if from.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        if !tells.load(Ordering::Relaxed) {
            to.write_all(&bytes).await?;
            bytes.clear();
            continue;
        }
        messages.wait_for(|messages| *messages != Messages::Silent).await.map_err(io::Error::other)?;
        let are_lost = *messages.borrow() == Messages::Lost;
        while let Some(length) = frame(&bytes) {
            if !(are_lost && bytes[0] == b'>') {
                to.write_all(&bytes[..length]).await?;
            }
            bytes.drain(..length);
        }
    }
}

/// How long the RESP3 value is that the bytes begin with, if it is all there.
fn frame(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|end| end == b"\r\n")? + 2;
    let count = || std::str::from_utf8(&bytes[1..line - 2]).ok()?.parse::<usize>().ok();
    let values = match bytes[0] {
        // A length below zero is the null of older versions, and has nothing after it.
        b'$' | b'=' | b'!' => {
            return count()
                .map_or(Some(line), |length| Some(line + length + 2))
                .filter(|all| *all <= bytes.len());
        }
        b'*' | b'~' | b'>' => count().unwrap_or_default(),
        b'%' => 2 * count().unwrap_or_default(),
        _ => 0,
    };
    (0..values).try_fold(line, |at, _| Some(at + frame(&bytes[at..])?))
}
