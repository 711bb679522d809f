//! The contract of [`SessionStore`], as tests that any store can be put to.
//!
//! Each public function here is one promise. [`store_conformance!`](crate::store_conformance) makes a test of each;
//! [`broken_promises`] says which of them a store doesn't keep.

mod admission;
mod broken;
mod concurrency;
mod history;
mod parallel_logins;
mod single;
mod subjects;

use std::any::Any;
use std::sync::Arc;

use stayput_core::{Created, Record, SessionStore, StorageKey};

use crate::{ManualClock, Records};

pub use admission::*;
pub(crate) use broken::Promise;
pub use broken::{Broken, broken_promises};
pub use concurrency::*;
pub use history::*;
pub use parallel_logins::*;
pub use single::*;
pub use subjects::*;

/// A store under test, with its clock and records to fill it with.
#[derive(Clone, Debug)]
pub struct Bench {
    store: Arc<dyn SessionStore>,
    clock: Arc<ManualClock>,
    records: Records,
    sweeps: bool,
    _place: Arc<dyn Any + Send + Sync>,
}

/// A store to be tested: an `Arc<dyn SessionStore>`, or one with what must live as long, such as a temporary directory.
#[derive(Debug)]
pub struct StoreUnderTest {
    store: Arc<dyn SessionStore>,
    place: Arc<dyn Any + Send + Sync>,
    sweeps: bool,
}

impl StoreUnderTest {
    /// Says that the store's server deletes by itself what has expired, so that nothing is ever left to sweep.
    pub fn deletes_by_itself(mut self) -> Self {
        self.sweeps = false;
        self
    }
}

impl From<Arc<dyn SessionStore>> for StoreUnderTest {
    fn from(store: Arc<dyn SessionStore>) -> Self {
        Self::from((store, ()))
    }
}

impl<P: Any + Send + Sync> From<(Arc<dyn SessionStore>, P)> for StoreUnderTest {
    fn from((store, place): (Arc<dyn SessionStore>, P)) -> Self {
        Self { store, place: Arc::new(place), sweeps: true }
    }
}

impl Bench {
    /// A bench for the store that `make` makes on a clock; the seed of its records is printed.
    pub async fn new<F: Future<Output: Into<StoreUnderTest>>>(
        make: impl FnOnce(Arc<ManualClock>) -> F,
    ) -> Self {
        let records = Records::seeded();
        let clock = records.clock();
        let StoreUnderTest { store, place, sweeps } = make(Arc::clone(&clock)).await.into();
        Self { store, clock, records, sweeps, _place: place }
    }

    async fn created(&self, data: &[u8]) -> (StorageKey, Record) {
        let (key, record) = self.records.anonymous(data);
        assert_eq!(self.store.create(key, record.clone()).await.unwrap(), Created::Created);
        (key, record)
    }

    async fn load(&self, key: StorageKey) -> Option<Record> {
        self.store.load(key).await.unwrap().map(Arc::unwrap_or_clone)
    }

    /// Sweeps where `left` are left to sweep, of which the store is to find `limit` at most.
    async fn sweep(&self, limit: usize, left: usize) {
        let swept = self.store.sweep(limit).await.unwrap();
        assert_eq!(swept, if self.sweeps { left.min(limit) } else { 0 });
    }
}

/// Makes a module `conformance` with a test for each promise of the contract, over the store that the closure makes.
///
/// The closure takes an `Arc<ManualClock>`, by which the store must tell the time, and returns a future of an
/// `Arc<dyn SessionStore>`, or of a pair with what must live as long, or of a [`StoreUnderTest`] that says more. A server
/// that tells the time by itself can be started on the clock, as
/// `servers::RedisServer` is. Needs `tokio` with `macros` and `rt-multi-thread` among the dependencies.
#[macro_export]
macro_rules! store_conformance {
    (@tests $make:expr, $($promise:ident)+) => {
        mod conformance {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    let bench = $crate::conformance::Bench::new($make).await;
                    $crate::conformance::$promise(&bench).await;
                }
            )+
        }
    };
    (@list $($promise:ident)+) => {
        &[$($crate::conformance::Promise {
            name: stringify!($promise),
            check: |bench| Box::pin(async move { $crate::conformance::$promise(&bench).await }),
        }),+]
    };
    ($make:expr) => {
        $crate::__store_promises!(tests $make,);
    };
}

/// The names of all promises, for [`store_conformance!`](crate::store_conformance) to do something with each.
#[doc(hidden)]
#[macro_export]
macro_rules! __store_promises {
    ($($what:tt)+) => {
        $crate::store_conformance! { @$($what)+
            create_is_loaded_as_it_was_written
            create_leaves_a_live_record_alone
            create_takes_the_place_of_an_expired_record
            a_missing_record_is_missing_for_every_operation
            replace_swaps_only_the_expected_version
            replace_tells_equal_counts_apart_by_their_write_tag
            replace_moves_the_deadline_forward_only
            who_is_not_live_ends_nobody_else
            an_expired_record_is_missing_before_any_sweep
            touch_moves_the_deadline_forward_only
            touch_never_passes_the_absolute_deadline
            touch_never_passes_the_absolute_deadline_of_the_last_write
            touch_leaves_version_and_data_alone
            a_removed_record_stays_gone
            remove_leaves_a_tombstone_even_for_an_absent_key
            sweep_deletes_only_what_expired_long_ago_in_bounded_steps
            a_large_record_comes_back_whole
            a_marker_stays_whatever_happens_to_sessions
            a_subjects_sessions_are_listed_until_they_are_gone
            sessions_are_listed_from_the_oldest_to_the_newest
            a_session_in_the_place_of_an_expired_one_is_listed_under_its_own_subject
            a_session_in_the_place_of_an_expired_one_is_yet_to_be_admitted
            ending_a_subject_ends_all_sessions_but_one
            other_subjects_are_left_alone
            a_login_that_began_before_an_end_is_revoked
            an_epoch_never_repeats
            an_epoch_is_remembered_as_long_as_a_tombstone
            only_a_live_session_of_the_subject_is_admitted
            admit_rejects_above_the_limit
            admit_ends_the_longest_admitted
            a_remainder_does_not_count
            an_expired_session_does_not_count
            a_replaced_session_does_not_count
            sessions_not_admitted_are_neither_counted_nor_ended
            admitting_again_changes_nothing
            of_parallel_creates_one_wins
            parallel_swaps_lose_no_update
            parallel_touches_lose_no_swap
            a_removal_among_parallel_writes_is_final
            a_dropped_call_happened_wholly_or_not_at_all
            of_50_parallel_admissions_with_limit_1_one_is_left
            a_session_that_can_be_loaded_is_listed
            what_is_ended_among_parallel_logins_stays_ended
            an_end_among_writes_of_its_sessions_is_final
            random_histories_go_as_in_the_model
        }
    };
}
