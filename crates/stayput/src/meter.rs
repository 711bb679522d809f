//! Counters and latencies through the `metrics` facade; without the feature of that name, nothing, at no cost.
//!
//! | metric | labels |
//! |---|---|
//! | `stayput_events_total` | `event`, `reason` |
//! | `stayput_loads_total` | `found`: `yes`, `no` |
//! | `stayput_commits_total` | |
//! | `stayput_conflicts_total` | |
//! | `stayput_store_seconds` (histogram) | `store`, `operation`, `outcome`: `ok` or the kind of error |
//! | `stayput_swept_total` | |
//! | `stayput_near_total` | `outcome`: `hit`, `miss` |
//! | `stayput_store_out` (gauge: 1 while the store is taken for out) | `store` |
//! | `stayput_adrift_total` (lookups answered from a copy or a lifeboat during an outage) | |
//! | `stayput_adrift_writes_total` (writes accepted during an outage) | |
//! | `stayput_replayed_total` (those that reached the store afterwards; the others are events `not_replayed`) | |
//!
//! No label holds anything that comes from a client.

#[cfg(not(feature = "metrics"))]
pub(crate) use off::*;
#[cfg(feature = "metrics")]
pub(crate) use on::*;

#[cfg(feature = "metrics")]
mod on {
    use std::time::Instant;

    use metrics::{counter, gauge, histogram};
    use stayput_core::{Operation, StoreErrorKind};

    use crate::events::EventKind;

    pub(crate) fn event(kind: EventKind) {
        counter!("stayput_events_total", "event" => kind.name(), "reason" => kind.reason()).increment(1);
    }

    pub(crate) fn load(found: bool) {
        counter!("stayput_loads_total", "found" => if found { "yes" } else { "no" }).increment(1);
    }

    pub(crate) fn commit() {
        counter!("stayput_commits_total").increment(1);
    }

    pub(crate) fn conflict() {
        counter!("stayput_conflicts_total").increment(1);
    }

    pub(crate) fn swept(records: usize) {
        counter!("stayput_swept_total").increment(records as u64);
    }

    pub(crate) fn store_out(store: &'static str, is_out: bool) {
        gauge!("stayput_store_out", "store" => store).set(if is_out { 1.0 } else { 0.0 });
    }

    pub(crate) fn adrift() {
        counter!("stayput_adrift_total").increment(1);
    }

    pub(crate) fn adrift_writes(count: usize) {
        counter!("stayput_adrift_writes_total").increment(count as u64);
    }

    pub(crate) fn replayed(count: usize) {
        counter!("stayput_replayed_total").increment(count as u64);
    }

    pub(crate) fn near(outcome: &'static str) {
        counter!("stayput_near_total", "outcome" => outcome).increment(1);
    }

    /// A store call under way.
    pub(crate) struct StoreCall(Instant);

    impl StoreCall {
        pub(crate) fn begin() -> Self {
            Self(Instant::now())
        }

        pub(crate) fn end(&self, store: &'static str, operation: Operation, failed: Option<StoreErrorKind>) {
            let outcome = match failed {
                None => "ok",
                Some(StoreErrorKind::Unavailable) => "unavailable",
                Some(StoreErrorKind::OutcomeUnknown) => "outcome_unknown",
                Some(StoreErrorKind::Overloaded) => "overloaded",
                Some(StoreErrorKind::Full) => "full",
                Some(StoreErrorKind::Unreadable) => "unreadable",
                Some(_) => "refused",
            };
            let labels = [("store", store), ("operation", operation.name()), ("outcome", outcome)];
            histogram!("stayput_store_seconds", &labels).record(self.0.elapsed());
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod off {
    use stayput_core::{Operation, StoreErrorKind};

    use crate::events::EventKind;

    pub(crate) fn event(_: EventKind) {}
    pub(crate) fn load(_: bool) {}
    pub(crate) fn commit() {}
    pub(crate) fn conflict() {}
    pub(crate) fn swept(_: usize) {}
    pub(crate) fn store_out(_: &'static str, _: bool) {}
    pub(crate) fn adrift() {}
    pub(crate) fn adrift_writes(_: usize) {}
    pub(crate) fn replayed(_: usize) {}
    pub(crate) fn near(_: &'static str) {}

    pub(crate) struct StoreCall;

    impl StoreCall {
        pub(crate) fn begin() -> Self {
            Self
        }

        #[expect(clippy::unused_self, reason = "the same call as with metrics")]
        pub(crate) fn end(&self, _: &'static str, _: Operation, _: Option<StoreErrorKind>) {}
    }
}
