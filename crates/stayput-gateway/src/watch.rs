//! Time: one timer for a whole connection, whatever it is waiting for, and a clock that is read sparingly.
//!
//! A deadline that moves out costs a store to memory: the timer is left alone until it fires and is only then set
//! again. It never arms a timer per read, write or request.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::task::unconstrained;
use tokio::time::{Sleep, sleep_until};

/// A worker's clock. Reading the real one is a good part of a microsecond's work when every request does it eight
/// times, so whoever is woken by an arrival reads it once for what follows at once.
pub(crate) struct Clock(Cell<Instant>);

impl Default for Clock {
    fn default() -> Self {
        Self(Cell::new(Instant::now()))
    }
}

impl Clock {
    /// The time.
    pub(crate) fn read(&self) -> Instant {
        self.0.set(Instant::now());
        self.0.get()
    }

    /// The time at which anybody read the clock last: right for who did so since it was last woken, else too early.
    pub(crate) fn last_read(&self) -> Instant {
        self.0.get()
    }
}

/// A connection's one deadline, which moves.
pub(crate) struct Watch {
    sleep: RefCell<Pin<Box<Sleep>>>,
    until: Cell<Instant>,
    /// Whom the timer wakes when it fires, if it is set.
    wakes: RefCell<Option<Waker>>,
}

/// The deadline passed.
#[derive(Debug)]
pub(crate) struct Expired;

impl Watch {
    pub(crate) fn new(limit: Duration) -> Self {
        let until = Instant::now() + limit;
        let sleep = RefCell::new(Box::pin(sleep_until(until.into())));
        Self { sleep, until: Cell::new(until), wakes: RefCell::default() }
    }

    /// Moves the deadline to `limit` from now.
    pub(crate) fn set(&self, limit: Duration) {
        self.set_at(Instant::now() + limit);
    }

    pub(crate) fn set_at(&self, until: Instant) {
        self.until.set(until);
        let mut sleep = self.sleep.borrow_mut();
        if until < sleep.deadline().into_std() {
            self.wakes.take();
            sleep.as_mut().reset(until.into());
        }
    }

    pub(crate) fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<Expired> {
        let (mut sleep, mut wakes) = (self.sleep.borrow_mut(), self.wakes.borrow_mut());
        // A timer that is set and has not fired has nothing to say: most polls are for something else.
        if wakes.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        *wakes = None;
        // Unconstrained: work that has used up its turn (tokio's budget) would take the timer's chance with it, each
        // time, and never be stopped.
        while pin!(unconstrained(sleep.as_mut())).poll(cx).is_ready() {
            let until = self.until.get();
            if until <= Instant::now() {
                return Poll::Ready(Expired);
            }
            sleep.as_mut().reset(until.into());
        }
        *wakes = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Runs `work` until it is done or the deadline has passed.
    pub(crate) async fn guard<F: Future>(&self, work: F) -> Result<F::Output, Expired> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_expired(cx).map(Err),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    use tokio::runtime::Builder;
    use tokio::time::sleep;

    use super::*;

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn the_timer_wakes_who_asked_last_wherever_the_deadline_was_moved() {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let watch = Watch::new(Duration::from_mins(1));
            let [first, last] = [(); 2].map(|()| Arc::<Calls>::default());
            let poll = |calls: &Arc<Calls>| {
                watch.poll_expired(&mut Context::from_waker(&Waker::from(Arc::clone(calls))))
            };
            assert!(poll(&first).is_pending() && poll(&last).is_pending());
            watch.set(Duration::from_millis(20));
            assert!(poll(&first).is_pending() && poll(&last).is_pending() && poll(&last).is_pending());
            // Timers fire in the order of their deadlines.
            sleep(Duration::from_millis(40)).await;
            assert_eq!([&first, &last].map(|calls| calls.0.load(Relaxed)), [0, 1]);
            watch.set(Duration::from_mins(1));
            assert!(poll(&last).is_pending(), "it has been moved out since");
            watch.set(Duration::ZERO);
            poll_fn(|cx| watch.poll_expired(cx)).await;
        });
    }

    #[test]
    fn who_asked_before_the_timer_fired_hears_of_it_when_they_ask_again() {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (watch, waker) =
                (Watch::new(Duration::from_millis(10)), Waker::from(Arc::<Calls>::default()));
            assert!(watch.poll_expired(&mut Context::from_waker(&waker)).is_pending());
            sleep(Duration::from_millis(30)).await;
            assert!(watch.poll_expired(&mut Context::from_waker(&waker)).is_ready());
        });
    }

    #[test]
    fn work_that_always_finds_something_to_do_is_stopped_too() {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let stopped = runtime.block_on(async {
            let start = Instant::now();
            // What reading does while the client sends faster than it can be read.
            let work = async {
                while start.elapsed() < Duration::from_secs(2) {
                    tokio::task::consume_budget().await;
                }
            };
            Watch::new(Duration::from_millis(10)).guard(work).await
        });
        assert!(stopped.is_err());
    }
}
