//! Who is there, and how they learn that it is time to go.
//!
//! It never interrupts a request: only connections that wait for the next one listen.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

/// The connections of one worker.
#[derive(Default)]
pub(crate) struct Closing {
    has_begun: Cell<bool>,
    /// Whom to wake when it begins, by place.
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    present: Cell<usize>,
    gone: Notify,
}

impl Closing {
    /// From now on, idle connections end and answers announce the end of theirs.
    pub(crate) fn begin(&self) {
        self.has_begun.set(true);
        let wakers = std::mem::take(&mut *self.wakers.borrow_mut());
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.get()
    }

    /// How many connections there are.
    pub(crate) fn present(&self) -> usize {
        self.present.get()
    }

    /// Waits until there is none left.
    pub(crate) async fn all_gone(&self) {
        while self.present.get() > 0 {
            self.gone.notified().await;
        }
    }
}

/// A connection's place among the others; dropping it says that the connection has ended.
pub(crate) struct Place {
    closing: Rc<Closing>,
    index: usize,
}

impl Place {
    pub(crate) fn take(closing: &Rc<Closing>) -> Self {
        closing.present.update(|n| n + 1);
        let index = closing.free.borrow_mut().pop().unwrap_or_else(|| closing.present.get() - 1);
        Self { closing: Rc::clone(closing), index }
    }

    /// Ready once it is time to go.
    pub(crate) fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closing.has_begun() {
            return Poll::Ready(());
        }
        let mut wakers = self.closing.wakers.borrow_mut();
        if wakers.len() <= self.index {
            wakers.resize(self.index + 1, None);
        }
        match &mut wakers[self.index] {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(waker) = self.closing.wakers.borrow_mut().get_mut(self.index) {
            *waker = None;
        }
        self.closing.free.borrow_mut().push(self.index);
        self.closing.present.update(|n| n - 1);
        self.closing.gone.notify_one();
    }
}
