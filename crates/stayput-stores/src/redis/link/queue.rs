//! What callers leave for the driver of a connection: commands to send, and who waits for which answer.
//!
//! A command is written by its caller, behind those of others that wait, so that all of them leave in one piece; answers come
//! in the order of commands.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use redis::{RedisError, RedisResult, Value};
use tokio::sync::oneshot;
use tokio::time::Instant;

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
    /// No deadline of those who wait is earlier.
    soonest: Option<Instant>,
    /// The driver, if it has to be woken.
    driver: Option<Waker>,
    /// Why there are no more answers.
    end: Option<RedisError>,
}

struct Waiter {
    /// `None` if nobody waits any more, though the answer is still due.
    caller: Option<oneshot::Sender<Answer>>,
    deadline: Option<Instant>,
}

impl Queue {
    /// Leaves a command.
    pub(super) fn push(
        &self,
        message: Message<'_>,
        deadline: Option<Instant>,
    ) -> RedisResult<oneshot::Receiver<Answer>> {
        let mut state = self.open()?;
        let answer = state.add(message, deadline);
        wake(state);
        Ok(answer)
    }

    /// Leaves commands that are sent with nothing in between.
    pub(super) fn push_all<'a>(
        &self,
        messages: impl IntoIterator<Item = Message<'a>>,
    ) -> RedisResult<Vec<oneshot::Receiver<Answer>>> {
        let mut state = self.open()?;
        let answers = messages.into_iter().map(|message| state.add(message, None)).collect();
        wake(state);
        Ok(answers)
    }

    /// Gives an answer to the next who is due one.
    pub(super) fn answer(&self, value: Value) -> RedisResult<()> {
        let Some(waiter) = self.lock().waiting.pop_front() else {
            let cause = "the server answers what it was not asked";
            return Err((redis::ErrorKind::Parse, cause).into());
        };
        if let Some(caller) = waiter.caller {
            // Who doesn't wait any more has noted that.
            let _ = caller.send(Ok(value.extract_error()));
        }
        Ok(())
    }

    /// Tells those whose deadline has passed.
    pub(super) fn expire(&self, now: Instant) {
        let mut late = Vec::new();
        let mut state = self.lock();
        let mut soonest = None;
        for waiter in state.waiting.iter_mut().filter(|waiter| waiter.caller.is_some()) {
            if waiter.deadline.is_some_and(|deadline| deadline <= now) {
                late.extend(waiter.caller.take());
            } else {
                soonest = earlier(soonest, waiter.deadline);
            }
        }
        state.soonest = soonest;
        drop(state);
        for caller in late {
            let _ = caller.send(Err(Late));
        }
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
        drop(state);
        for caller in waiting.into_iter().filter_map(|waiter| waiter.caller) {
            let _ = caller.send(Ok(Err(error.clone())));
        }
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

impl State {
    fn add(&mut self, message: Message<'_>, deadline: Option<Instant>) -> oneshot::Receiver<Answer> {
        let (caller, answer) = oneshot::channel();
        message.write(&mut self.unsent);
        self.waiting.push_back(Waiter { caller: Some(caller), deadline });
        self.soonest = earlier(self.soonest, deadline);
        answer
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
