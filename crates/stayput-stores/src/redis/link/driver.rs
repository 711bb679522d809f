//! The task behind a connection: it sends what callers have left, hands out what arrives, and tells who is late.
//!
//! One message to the server carries the commands of all who came since the last one, and one timer does for all deadlines.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use redis::{PushInfo, PushKind, RedisError, RedisResult, Value};
use tokio::io::AsyncWrite;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::End;
use super::queue::Queue;
use super::replies::Replies;
use crate::redis::stream::Stream;

/// Takes what the server says without being asked.
pub(super) type Heard = Box<dyn Fn(PushInfo) + Send + Sync>;

/// Runs until the connection is over, or nobody holds it any more.
pub(super) struct Driver {
    stream: Stream,
    queue: Arc<Queue>,
    end: Arc<End>,
    /// What is done with messages that nobody asked for.
    heard: Option<Heard>,
    replies: Replies,
    sending: Vec<u8>,
    sent: usize,
    is_flushed: bool,
    alarm: Pin<Box<Sleep>>,
    /// When the alarm goes off, if it is set.
    alarmed: Option<Instant>,
    /// Whom it wakes, if it was polled since.
    alarmed_for: Option<Waker>,
}

impl Driver {
    pub(super) fn new(stream: Stream, queue: Arc<Queue>, end: Arc<End>, heard: Option<Heard>) -> Self {
        Self {
            stream,
            queue,
            end,
            heard,
            replies: Replies::new(),
            sending: Vec::new(),
            sent: 0,
            is_flushed: true,
            alarm: Box::pin(sleep_until(Instant::now())),
            alarmed: None,
            alarmed_for: None,
        }
    }

    fn turn(&mut self, context: &mut Context<'_>) -> RedisResult<()> {
        self.receive(context)?;
        loop {
            if let Poll::Ready(outcome) = self.poll_send(context) {
                outcome?;
            }
            let mut state = self.queue.lock();
            if !self.is_idle() || state.unsent.is_empty() {
                state.rest(context.waker());
                let soonest = state.soonest();
                drop(state);
                self.watch(soonest, context);
                return Ok(());
            }
            std::mem::swap(&mut self.sending, &mut state.unsent);
        }
    }

    /// Hands out all answers that are there.
    fn receive(&mut self, context: &mut Context<'_>) -> RedisResult<()> {
        while let Poll::Ready(length) = self.replies.poll_fill(Pin::new(&mut self.stream), context) {
            if length? == 0 {
                return Err(
                    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection").into()
                );
            }
            while let Some(value) = self.replies.next()? {
                match value {
                    // A subscription's answer looks like a message.
                    Value::Push { kind, data } if kind != PushKind::Subscribe => {
                        if let Some(heard) = &self.heard {
                            heard(PushInfo { kind, data });
                        }
                    }
                    value => self.queue.answer(value)?,
                }
            }
        }
        Ok(())
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.sending.len() {
            let rest = &self.sending[self.sent..];
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.sent += length,
            }
            self.is_flushed = false;
        }
        self.sent = 0;
        self.sending.clear();
        // What one burst took is given back.
        self.sending.shrink_to(ROOM);
        if !self.is_flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether there is nothing to send but what callers leave.
    fn is_idle(&self) -> bool {
        self.sending.is_empty() && self.is_flushed
    }

    /// Has whoever is late told, now or when the time has come.
    fn watch(&mut self, mut soonest: Option<Instant>, context: &mut Context<'_>) {
        while let Some(deadline) = soonest {
            if self.alarmed != soonest {
                self.alarm.as_mut().reset(deadline);
                (self.alarmed, self.alarmed_for) = (soonest, None);
            }
            // Polled once, it wakes this task when it goes off.
            let is_set = self.alarmed_for.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
            if is_set && !self.alarm.is_elapsed() {
                return;
            }
            // A turn that has used up what a task may do at a time would be told to wait, and nobody would wake it when it is time.
            if Pin::new(&mut unconstrained(self.alarm.as_mut())).poll(context).is_pending() {
                self.alarmed_for = Some(context.waker().clone());
                return;
            }
            self.queue.expire(Instant::now());
            (self.alarmed, self.alarmed_for) = (None, None);
            soonest = self.queue.lock().soonest();
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.turn(context) {
            Ok(()) => Poll::Pending,
            Err(error) => {
                self.queue.end(&error);
                Poll::Ready(())
            }
        }
    }
}

/// However it ends: nobody waits for it any more.
impl Drop for Driver {
    fn drop(&mut self) {
        self.queue.end(&ended());
        self.end.come();
    }
}

fn ended() -> RedisError {
    io::Error::new(io::ErrorKind::BrokenPipe, "the connection was closed").into()
}

/// How much room is kept for commands.
const ROOM: usize = 64 * 1024;
