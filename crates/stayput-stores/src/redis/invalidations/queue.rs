//! What waits for the reader of a stream: so much and no more.
//!
//! Nobody ever waits to put something in: that is done by the driver of a connection.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use stayput_core::{Invalidation, PULSE_LIMIT, StorageKey, Uptime};

/// Messages in order.
#[derive(Default)]
pub(super) struct Queue(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Message>,
    state: State,
    reader: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Changed(StorageKey),
    /// When the servers were asked that have answered.
    Pulse(Uptime),
    Lost,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Whatever is told is of no use: the message that everything before it is void is still to come.
    #[default]
    Silent,
    /// Every change is told.
    InForce,
    /// Some connection is missing.
    Interrupted,
    /// Nothing will be told any more.
    Ended,
}

impl Queue {
    pub(super) fn changed(&self, key: StorageKey) {
        self.lock().put(Message::Changed(key));
    }

    /// All servers that were asked at `asked` have answered.
    pub(super) fn pulse(&self, asked: Uptime) {
        let mut inner = self.lock();
        // A reader who is late needs only the last one.
        while let Some(Message::Pulse(_)) = inner.waiting.back() {
            inner.waiting.pop_back();
        }
        inner.put(Message::Pulse(asked));
    }

    /// Everything before this is void, and every change from now on is told.
    pub(super) fn begin(&self) {
        let mut inner = self.lock();
        inner.state = State::InForce;
        inner.restart();
    }

    /// Some changes may go untold from now on, until it begins again.
    pub(super) fn interrupt(&self) {
        let mut inner = self.lock();
        if inner.state == State::InForce {
            inner.state = State::Interrupted;
        }
    }

    /// The server has forgotten everything at once, and told that as one.
    pub(super) fn flushed(&self) {
        self.lock().restart();
    }

    pub(super) fn is_in_force(&self) -> bool {
        self.lock().state == State::InForce
    }

    /// Nothing comes after what is there.
    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.state = State::Ended;
        inner.wake();
    }

    /// The next message. A pulse that has waited for too long is none any more.
    pub(super) fn poll(&self, context: &mut Context<'_>, now: Uptime) -> Poll<Option<Invalidation>> {
        let mut inner = self.lock();
        while let Some(message) = inner.waiting.pop_front() {
            return Poll::Ready(Some(match message {
                Message::Changed(key) => Invalidation::Changed(key),
                Message::Lost => Invalidation::Lost,
                Message::Pulse(asked) if now.since(asked) <= PULSE_LIMIT => Invalidation::Pulse,
                Message::Pulse(_) => continue,
            }));
        }
        if inner.state == State::Ended {
            return Poll::Ready(None);
        }
        inner.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, message: Message) {
        if self.waiting.len() >= MOST {
            self.restart();
        }
        if self.state != State::Silent {
            self.waiting.push_back(message);
            self.wake();
        }
    }

    /// Has all that waits replaced by one message. While a connection is missing that has to come later, when it is true.
    fn restart(&mut self) {
        self.waiting.clear();
        match self.state {
            State::InForce => {
                self.waiting.push_back(Message::Lost);
                self.wake();
            }
            State::Interrupted => self.state = State::Silent,
            State::Silent | State::Ended => {}
        }
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// How many messages wait at most: about a second's worth on a busy server, and 160 KB.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(queue: &Queue, now: Uptime) -> Option<Invalidation> {
        match queue.poll(&mut Context::from_waker(Waker::noop()), now) {
            Poll::Ready(message) => message,
            Poll::Pending => None,
        }
    }

    fn key(number: usize) -> StorageKey {
        StorageKey::named(&number.to_string())
    }

    #[test]
    fn nothing_comes_before_the_first_loss_and_nothing_old_after_any() {
        let (queue, now) = (Queue::default(), Uptime::default());
        queue.changed(key(1));
        queue.flushed();
        assert_eq!(read(&queue, now), None);
        for number in 1..3 {
            queue.begin();
            queue.changed(key(number));
            queue.interrupt();
        }
        assert_eq!(read(&queue, now), Some(Invalidation::Lost));
        assert_eq!(read(&queue, now), Some(Invalidation::Changed(key(2))));
        queue.end();
        assert_eq!(queue.poll(&mut Context::from_waker(Waker::noop()), now), Poll::Ready(None));
    }

    #[test]
    fn what_does_not_fit_is_a_loss_unless_one_is_to_come_anyway() {
        let (queue, now) = (Queue::default(), Uptime::default());
        queue.begin();
        for number in 0..=MOST {
            queue.changed(key(number));
        }
        assert_eq!(read(&queue, now), Some(Invalidation::Lost));
        let left = std::iter::from_fn(|| read(&queue, now)).collect::<Vec<_>>();
        assert_eq!(left, [MOST - 1, MOST].map(|number| Invalidation::Changed(key(number))));
        queue.interrupt();
        for number in 0..=MOST {
            queue.changed(key(number));
        }
        assert_eq!(read(&queue, now), None);
        queue.begin();
        assert_eq!(read(&queue, now), Some(Invalidation::Lost));
    }

    #[test]
    fn a_pulse_that_waited_for_too_long_is_none() {
        let (queue, now) = (Queue::default(), Uptime::from_millis(1));
        queue.begin();
        queue.pulse(now);
        assert_eq!(read(&queue, now.after(PULSE_LIMIT)), Some(Invalidation::Lost));
        assert_eq!(read(&queue, now.after(PULSE_LIMIT)), Some(Invalidation::Pulse));
        queue.pulse(now);
        assert_eq!(read(&queue, now.after(PULSE_LIMIT + Duration::from_millis(1))), None);
        for later in 0..1000 {
            queue.pulse(now.after(Duration::from_millis(later)));
        }
        assert_eq!(read(&queue, now.after(PULSE_LIMIT)), Some(Invalidation::Pulse));
        assert_eq!(read(&queue, now.after(PULSE_LIMIT)), None);
    }
}
