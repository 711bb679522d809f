//! Reading and writing without a system call too many.
//!
//! Always through tokio's `poll_read`: unlike `try_read` it learns from a short read that the socket is drained and
//! saves the call that would only answer "would block". No function here waits longer than its caller's deadline:
//! none has one.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::buffer::{Buffer, Buffers};

/// Reads once into the buffer's room, which must not be empty; 0 is the end of the stream.
pub(crate) async fn read(from: &mut ReadHalf<'_>, buffer: &mut Buffer) -> io::Result<usize> {
    poll_fn(|cx| poll_read(from, buffer, cx)).await
}

/// As [`read`], but the buffer is lent only for what has come: who waits holds none, and what comes finds the one that was used
/// last, which is the one that the processor still has at hand.
pub(crate) async fn read_lent(
    from: &mut ReadHalf<'_>,
    buffer: &mut Buffer,
    buffers: &Buffers,
) -> io::Result<usize> {
    poll_fn(|cx| poll_read_lent(from, buffer, buffers, cx)).await
}

/// As [`read_lent`], for those who wait for other things, too.
pub(crate) fn poll_read_lent(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut Buffer,
    buffers: &Buffers,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    buffers.lend(buffer);
    buffer.reserve(1);
    let read = poll_read(from, buffer, cx);
    buffers.give_if_empty(buffer);
    read
}

/// As [`read`], for those who wait for other things, too.
fn poll_read(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut Buffer,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut room = ReadBuf::new(buffer.room());
    debug_assert!(room.remaining() > 0, "a read needs room, or it looks like the end");
    let read = Pin::new(from).poll_read(cx, &mut room);
    let n = room.filled().len();
    buffer.filled_up(n);
    read.map_ok(|()| n)
}

/// Writes all of `bytes`, reporting each step.
pub(crate) async fn write_all(
    to: &mut WriteHalf<'_>,
    mut bytes: &[u8],
    mut wrote: impl FnMut(usize),
) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = poll_fn(|cx| Pin::new(&mut *to).poll_write(cx, bytes)).await?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        wrote(n);
        bytes = &bytes[n..];
    }
    Ok(())
}

/// Says "no more from here" while reading goes on.
pub(crate) async fn shut_down_writing(stream: &mut TcpStream) {
    // It fails when the peer is gone already; there is nothing left to tell it then.
    let _ = poll_fn(|cx| Pin::new(&mut *stream).poll_shutdown(cx)).await;
}

/// Closes so that the peer sees an error, not an end: whatever was being sent is not whole.
pub(crate) fn abort(stream: &TcpStream) {
    // It fails only on a socket that is broken already, which is what is wanted.
    let _ = stream.set_zero_linger();
}

/// Whether an idle connection is still as it was left. Costs no system call unless something has happened to it.
pub(crate) fn is_untouched(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Whether bytes wait in the kernel that the runtime may not have heard of yet.
pub(crate) fn has_unread(stream: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    matches!(socket2::SockRef::from(stream).peek(&mut byte), Ok(1..))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn who_waits_holds_no_buffer_and_what_comes_finds_one() {
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let mut stream = listener.accept().await.unwrap().0;
            let (buffers, mut buffer) = (Buffers::default(), Buffer::default());
            let poll = poll_fn(|cx| {
                Poll::Ready(poll_read_lent(&mut stream, &mut buffer, &buffers, cx).map(Result::unwrap))
            });
            assert!(poll.await.is_pending());
            assert_eq!(buffer.spare(), 0);
            write_all(&mut sender.split().1, b"hello", |_| {}).await.unwrap();
            let (mut from, _) = stream.split();
            assert_eq!(read_lent(&mut from, &mut buffer, &buffers).await.unwrap(), 5);
            assert_eq!(buffer.filled(), b"hello");
        });
    }
}
