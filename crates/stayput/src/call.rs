//! Calls of the store: each has a time limit, is measured, and keeps its error.
//!
//! A call that is late counts as one whose outcome is unknown, never as "nothing there".

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use stayput_core::{Operation, SessionStore, StoreError, StoreErrorKind, StoreFuture};
use tokio::time::Sleep;

use crate::outage::Pass;
use crate::{Error, Sessions, meter};

/// A call of the store under way.
#[must_use]
pub(crate) struct StoreCall<'a, T> {
    sessions: &'a Sessions,
    operation: Operation,
    call: StoreFuture<'a, T>,
    /// Many calls are done at once, or end by themselves, and need no timer.
    limit: Option<Pin<Box<Sleep>>>,
    metered: meter::StoreCall,
    /// `None` if it isn't sent.
    pass: Option<Pass<'a>>,
}

impl Sessions {
    /// A store call with a time limit.
    pub(crate) fn call<'a, T>(
        &'a self,
        operation: Operation,
        call: impl FnOnce(&'a dyn SessionStore) -> StoreFuture<'a, T>,
    ) -> StoreCall<'a, T> {
        // Some stores do their work when they are called.
        let metered = meter::StoreCall::begin();
        let pass = self.inner.breaker.admit();
        let call = match pass {
            Some(_) => call(&*self.inner.store),
            None => StoreFuture::ready(Err(self.out(operation))),
        };
        StoreCall { sessions: self, operation, call, limit: None, metered, pass }
    }

    /// Makes a write, and once more if its outcome is unknown, which is then given back too: it is the same record with
    /// the same write tag, by which the second try tells whether the first one happened.
    pub(crate) async fn twice<'a, T: 'a>(
        &'a self,
        operation: Operation,
        call: impl Fn(&'a dyn SessionStore) -> StoreFuture<'a, T>,
    ) -> Result<(T, Option<Error>), Error> {
        match self.call(operation, &call).await {
            Err(Error::Store(doubt)) if doubt.kind() == StoreErrorKind::OutcomeUnknown => {
                tracing::warn!(%operation, "outcome of a write unknown; looking again");
                match self.call(operation, &call).await {
                    Ok(outcome) => Ok((outcome, Some(Error::Store(doubt)))),
                    // Whatever became of the second try, the first may have gone through.
                    Err(error) => {
                        error.log();
                        Err(Error::Store(doubt))
                    }
                }
            }
            outcome => Ok((outcome?, None)),
        }
    }
}

impl<T> Future for StoreCall<'_, T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let outcome = match Pin::new(&mut this.call).poll(context) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                let inner = &this.sessions.inner;
                let limit = inner.policy.store_timeout;
                if inner.store.time_limit().is_some_and(|own| own <= limit) {
                    return Poll::Pending;
                }
                let timer = this.limit.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                match timer.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => Err(this.late()),
                }
            }
        };
        Poll::Ready(this.end(outcome))
    }
}

impl<T> StoreCall<'_, T> {
    /// The outcome of a call that was done at once; it is not to be polled after that.
    pub(crate) fn take_ready(&mut self) -> Option<Result<T, Error>> {
        let outcome = self.call.take_ready()?;
        Some(self.end(outcome))
    }

    fn end(&mut self, outcome: Result<T, StoreError>) -> Result<T, Error> {
        let kind = outcome.as_ref().err().map(StoreError::kind);
        self.metered.end(self.sessions.inner.store.name(), self.operation, kind);
        if let Some(pass) = self.pass.take() {
            self.sessions.note_outcome(pass, kind);
        }
        outcome.map_err(Error::Store)
    }

    fn late(&self) -> StoreError {
        let inner = &self.sessions.inner;
        let error = StoreError::new(StoreErrorKind::OutcomeUnknown, inner.store.name(), self.operation);
        error.with_source(format!("no answer within {:?}", inner.policy.store_timeout))
    }
}
