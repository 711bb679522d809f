//! What callers leave for the driver of a connection: commands to send, and who waits for which answer.
//!
//! A command is written by its caller, behind those of others that wait, so that all of them leave in one piece; answers come
//! in the order of commands. No answer goes to anybody but who asked, whoever has stopped waiting.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use redis::{RedisError, RedisResult, Value};
use tokio::time::Instant;

use super::desk::{Desk, Place};
use crate::redis::message::Message;

/// An answer did not come by the deadline. It is not waited for any more.
#[derive(Debug)]
pub(in crate::redis) struct Late;

pub(super) type Answer = Result<RedisResult<Value>, Late>;

/// What is shared by callers and the driver.
#[derive(Default)]
pub(super) struct Queue(Mutex<State>);

#[derive(Default)]
pub(super) struct State {
    /// Commands that the driver has not taken yet.
    pub(super) unsent: Vec<u8>,
    waiting: VecDeque<Waiter>,
    desk: Desk<Answer>,
    /// No deadline of those who wait is earlier.
    soonest: Option<Instant>,
    /// The driver, if it has to be woken.
    driver: Option<Waker>,
    /// Why there are no more answers.
    end: Option<RedisError>,
}

/// One to whom an answer is due.
struct Waiter {
    /// Where it is left; `None` if it came too late.
    place: Option<Place>,
    deadline: Option<Instant>,
}

/// A command that was left, and is to be answered. Dropped, it is not waited for any more.
pub(super) struct Asked<'a> {
    queue: &'a Queue,
    /// `None` when the answer was taken.
    place: Option<Place>,
}

impl Queue {
    /// Leaves a command. Its caller is woken when it is answered.
    #[inline]
    pub(super) fn push(
        &self,
        message: Message<'_>,
        deadline: Option<Instant>,
        caller: Waker,
    ) -> RedisResult<Asked<'_>> {
        let mut state = self.open()?;
        let place = state.add(message, deadline, Some(caller));
        wake(state);
        Ok(Asked { queue: self, place: Some(place) })
    }

    /// Leaves commands that are sent with nothing in between.
    pub(super) fn push_all<'a>(
        &self,
        messages: impl IntoIterator<Item = Message<'a>>,
    ) -> RedisResult<Vec<Asked<'_>>> {
        let mut state = self.open()?;
        let add = |message| Asked { queue: self, place: Some(state.add(message, None, None)) };
        let asked = messages.into_iter().map(add).collect();
        wake(state);
        Ok(asked)
    }

    /// Gives an answer to the next who is due one.
    #[inline]
    pub(super) fn answer(&self, value: Value) -> RedisResult<()> {
        let mut state = self.lock();
        let Some(waiter) = state.waiting.pop_front() else {
            let cause = "the server answers what it was not asked";
            return Err((redis::ErrorKind::Parse, cause).into());
        };
        // Whoever was too late has been told so.
        let caller = waiter.place.and_then(|place| state.desk.leave(place, Ok(value.extract_error())));
        drop(state);
        if let Some(caller) = caller {
            caller.wake();
        }
        Ok(())
    }

    /// Tells those whose deadline has passed.
    pub(super) fn expire(&self, now: Instant) {
        let mut late = Vec::new();
        let mut state = self.lock();
        let State { waiting, desk, soonest, .. } = &mut *state;
        *soonest = None;
        for waiter in waiting {
            if waiter.deadline.is_some_and(|deadline| deadline <= now) {
                late.extend(waiter.place.take().and_then(|place| desk.leave(place, Err(Late))));
            } else if waiter.place.is_some() {
                *soonest = earlier(*soonest, waiter.deadline);
            }
        }
        drop(state);
        late.into_iter().for_each(Waker::wake);
    }

    /// Whether so many answers are due, or so many bytes unsent, that those who gave up waiting take more than their share.
    pub(super) fn is_longer_than(&self, answers: usize) -> bool {
        let state = self.lock();
        state.waiting.len() >= answers || state.unsent.len() >= UNSENT
    }

    /// Ends it: nobody waits in vain.
    pub(super) fn end(&self, error: &RedisError) {
        let mut state = self.lock();
        state.end.get_or_insert_with(|| error.clone());
        state.unsent = Vec::new();
        let waiting = std::mem::take(&mut state.waiting);
        let places = waiting.into_iter().filter_map(|waiter| waiter.place);
        let callers: Vec<_> =
            places.filter_map(|place| state.desk.leave(place, Ok(Err(error.clone())))).collect();
        drop(state);
        callers.into_iter().for_each(Waker::wake);
    }

    fn open(&self) -> RedisResult<MutexGuard<'_, State>> {
        let state = self.lock();
        match &state.end {
            Some(error) => Err(error.clone()),
            None => Ok(state),
        }
    }

    /// Never held while anybody is woken: a waker may run code of others.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Asked<'_> {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let place = self.place.expect("an answer is taken once");
        match self.queue.lock().desk.take(place, context.waker()) {
            Some(answer) => {
                self.place = None;
                Poll::Ready(answer)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            // What it held is dropped when the lock is free again.
            let _left = self.queue.lock().desk.give_up(place);
        }
    }
}

impl State {
    #[inline]
    fn add(&mut self, message: Message<'_>, deadline: Option<Instant>, caller: Option<Waker>) -> Place {
        message.write(&mut self.unsent);
        let place = self.desk.wait(caller);
        self.waiting.push_back(Waiter { place: Some(place), deadline });
        self.soonest = earlier(self.soonest, deadline);
        place
    }

    /// Sees to it that the driver is woken by the next command.
    pub(super) fn rest(&mut self, driver: &Waker) {
        self.driver = Some(driver.clone());
    }

    /// When to look for deadlines that have passed.
    pub(super) fn soonest(&self) -> Option<Instant> {
        self.soonest
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let driver = state.driver.take();
    drop(state);
    if let Some(driver) = driver {
        driver.wake();
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// What is sent to a server that takes nothing more is kept up to here.
const UNSENT: usize = 16 * 1024 * 1024;
