//! One connection through the proxy: two directions, and the weather.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::Weather;

/// Passes bytes on until either side closes or the weather ends it.
pub(super) async fn run(
    mut client: TcpStream,
    mut server: TcpStream,
    mut weather: watch::Receiver<Weather>,
    mut rng: fastrand::Rng,
) {
    // The weather of the beginning is a change like any other.
    weather.mark_changed();
    let ended = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let request = Way { weather: weather.clone(), rng: rng.fork(), cut: None, is_answer: false };
        let cut = cut(&weather.borrow(), &mut rng);
        let answer = Way { weather, rng, cut, is_answer: true };
        tokio::select! {
            ended = request.relay(from_client, to_server) => ended,
            ended = answer.relay(from_server, to_client) => ended,
        }
    };
    if ended.is_err() {
        reset(&client);
        reset(&server);
    }
}

/// Has the connection end with a reset instead of an orderly close when it is dropped.
pub(super) fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// One direction of a connection.
struct Way {
    weather: watch::Receiver<Weather>,
    rng: fastrand::Rng,
    /// How many bytes are left until the connection is cut.
    cut: Option<u64>,
    is_answer: bool,
}

impl Way {
    /// Passes bytes on until the source closes; an error means that the connection is to be reset.
    async fn relay(mut self, mut source: ReadHalf<'_>, mut target: WriteHalf<'_>) -> io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = tokio::select! {
                changed = self.weather.changed() => {
                    changed.map_err(io::Error::other)?;
                    self.change(&mut target).await?;
                    continue;
                }
                length = source.read(&mut buffer) => length?,
            };
            self.pass().await?;
            let length = self.take(length);
            target.write_all(&buffer[..length]).await?;
            if self.cut == Some(0) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if length == 0 {
                return Ok(());
            }
        }
    }

    /// What a change of weather does to a connection that is open.
    async fn change(&mut self, target: &mut WriteHalf<'_>) -> io::Result<()> {
        let weather = self.weather.borrow().clone();
        self.cut = if self.is_answer { cut(&weather, &mut self.rng) } else { None };
        match weather {
            Weather::Reset => Err(io::ErrorKind::ConnectionReset.into()),
            Weather::HalfClose if self.is_answer => target.shutdown().await,
            _ => Ok(()),
        }
    }

    /// Returns when what was read may be passed on.
    async fn pass(&mut self) -> io::Result<()> {
        loop {
            let weather = self.weather.borrow_and_update().clone();
            match weather {
                Weather::Slow(range) => {
                    match duration(&range, &mut self.rng) {
                        brief if brief < Duration::from_millis(1) => yield_now().await,
                        long => sleep(long).await,
                    }
                    return Ok(());
                }
                Weather::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
                Weather::Hang => self.weather.changed().await.map_err(io::Error::other)?,
                Weather::Mute | Weather::HalfClose if self.is_answer => {
                    self.weather.changed().await.map_err(io::Error::other)?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// How many of `length` bytes may still be passed on.
    fn take(&mut self, length: usize) -> usize {
        let Some(left) = &mut self.cut else { return length };
        let taken = length.min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= taken as u64;
        taken
    }
}

fn cut(weather: &Weather, rng: &mut fastrand::Rng) -> Option<u64> {
    match weather {
        Weather::CutAfter(bytes) => Some(*bytes),
        Weather::CutWithin(range) => Some(rng.u64(range.clone())),
        _ => None,
    }
}

fn duration(range: &std::ops::Range<Duration>, rng: &mut fastrand::Rng) -> Duration {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rng.u64(nanos(range.start)..=nanos(range.end)))
}
