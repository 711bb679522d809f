//! A connection's bytes: TCP, TLS over it, or a Unix socket; and when the last of them arrived.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use redis::RedisResult;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::config::{Address, RedisConfig};
use super::pulse::Pulse;
use super::tls::Tls;

/// An open stream to the server.
pub(super) struct Stream {
    inner: Box<dyn Duplex>,
    pulse: Arc<Pulse>,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl Duplex for TcpStream {}
impl Duplex for TlsStream<TcpStream> {}
impl Duplex for UnixStream {}

impl Stream {
    /// Opens one. `pulse` beats whenever something arrives.
    pub(super) async fn open(
        config: &RedisConfig,
        tls: Option<&Tls>,
        pulse: Arc<Pulse>,
    ) -> RedisResult<Self> {
        let inner: Box<dyn Duplex> = match &config.address {
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
                match tls {
                    Some(tls) => Box::new(tls.connect(host, stream).await?),
                    None => Box::new(stream),
                }
            }
            Address::Cluster(_) => unreachable!("a connection is to one of its nodes"),
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Address::Service(_) => return Err(io::Error::other("a service is no server").into()),
        };
        Ok(Self { inner, pulse })
    }
}

#[cfg(test)]
impl Stream {
    /// One to somebody in the same process.
    pub(super) fn of(inner: tokio::io::DuplexStream, pulse: Arc<Pulse>) -> Self {
        Self { inner: Box::new(inner), pulse }
    }
}

#[cfg(test)]
impl Duplex for tokio::io::DuplexStream {}

/// So that an idle connection whose other end vanished without a word is replaced before somebody needs it.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5))
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.pulse.beat();
        }
        outcome
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
