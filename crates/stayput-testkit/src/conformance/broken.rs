//! The contract as a verdict: which of its promises a store breaks, and how.
//!
//! It is what shows that the kit catches what it is for: see the tests, whose stores have one fault each.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::{Bench, StoreUnderTest};
use crate::ManualClock;

/// A promise that a store didn't keep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Its name: that of the function in this module, and of the test that [`store_conformance!`](crate::store_conformance) makes.
    pub promise: &'static str,
    /// What the check said.
    pub how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.how)
    }
}

/// Puts a store to every promise of the contract, each over a store of its own as in
/// [`store_conformance!`](crate::store_conformance), and says which are broken.
///
/// That is for whoever wants to know more than whether all are kept. A check that doesn't end within a minute counts as broken.
pub async fn broken_promises<F: Future<Output: Into<StoreUnderTest>>>(
    make: impl Fn(Arc<ManualClock>) -> F,
) -> Vec<Broken> {
    let mut broken = Vec::new();
    for promise in PROMISES {
        let bench = Bench::new(&make).await;
        // A task of its own, so that its panic is an answer.
        let check = tokio::spawn((promise.check)(bench));
        let abort = check.abort_handle();
        let how = match tokio::time::timeout(PATIENCE, check).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => {
                error.try_into_panic().map_or_else(|error| error.to_string(), |told| said(&*told))
            }
            Err(_) => {
                abort.abort();
                format!("it doesn't end within {PATIENCE:?}")
            }
        };
        broken.push(Broken { promise: promise.name, how });
    }
    broken
}

/// A promise, and what checks it.
pub(crate) struct Promise {
    pub(crate) name: &'static str,
    pub(crate) check: fn(Bench) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

pub(crate) const PROMISES: &[Promise] = crate::__store_promises!(list);

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

const PATIENCE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests;
