//! What a store's methods return.
//!
//! It is no type parameter of the contract, so that a store can be chosen at run time; and it costs an allocation only
//! where there is something to wait for.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::StoreError;

/// A store's answer, there at once or to be waited for.
#[must_use]
pub struct StoreFuture<'a, T>(Kind<'a, T>);

enum Kind<'a, T> {
    Ready(Option<Result<T, StoreError>>),
    Boxed(Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>),
}

impl<'a, T> StoreFuture<'a, T> {
    /// An answer that is there already.
    pub fn ready(answer: Result<T, StoreError>) -> Self {
        Self(Kind::Ready(Some(answer)))
    }

    /// An answer to be waited for.
    pub fn new(future: impl Future<Output = Result<T, StoreError>> + Send + 'a) -> Self {
        Self(Kind::Boxed(Box::pin(future)))
    }

    /// Takes the answer if it is there already, for who would rather not wait; it is not to be polled after that.
    pub fn take_ready(&mut self) -> Option<Result<T, StoreError>> {
        match &mut self.0 {
            Kind::Ready(answer) => answer.take(),
            Kind::Boxed(_) => None,
        }
    }
}

/// An answer is never pinned, whatever its type.
impl<T> Unpin for StoreFuture<'_, T> {}

impl<T> Future for StoreFuture<'_, T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Kind::Ready(answer) => {
                Poll::Ready(answer.take().expect("a future is not polled after it is ready"))
            }
            Kind::Boxed(future) => future.as_mut().poll(context),
        }
    }
}

impl<T> fmt::Debug for StoreFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_ready = matches!(self.0, Kind::Ready(_));
        f.debug_struct("StoreFuture").field("ready", &is_ready).finish_non_exhaustive()
    }
}
