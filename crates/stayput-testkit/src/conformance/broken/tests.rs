//! Deliberately broken stores: what the kit must catch, and by which check.

mod store;

use std::sync::Arc;

use stayput_core::SessionStore;

use self::store::{BrokenStore, Fault};
use super::broken_promises;
use crate::ManualClock;

/// The names of the promises that a store with this fault breaks, and how.
async fn broken_by(fault: Option<Fault>) -> Vec<super::Broken> {
    broken_promises(|clock: Arc<ManualClock>| async move {
        Arc::new(BrokenStore::new(clock, fault)) as Arc<dyn SessionStore>
    })
    .await
}

/// The check that is meant sees it, by what it compares and not by hanging; and a store so broken still is one.
async fn is_caught(fault: Fault, by: &str) {
    let broken = broken_by(Some(fault)).await;
    for broken in &broken {
        println!("{fault:?} breaks {broken}");
    }
    let meant = broken.iter().find(|broken| broken.promise == by);
    let meant = meant.unwrap_or_else(|| panic!("{by} lets {fault:?} through"));
    assert!(meant.how.contains("assertion") || meant.how.contains("vanished"), "{meant}");
    assert!(broken.iter().all(|broken| broken.promise != "create_is_loaded_as_it_was_written"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_fault_nothing_is_broken() {
    assert_eq!(broken_by(None).await, []);
}

macro_rules! caught {
    ($($name:ident: $fault:ident by $promise:ident;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                is_caught(Fault::$fault, stringify!($promise)).await;
            }
        )+
    };
}

caught! {
    a_lost_swap_is_caught: LostSwap by parallel_swaps_lose_no_update;
    a_swap_that_does_not_compare_is_caught: BlindSwap by replace_swaps_only_the_expected_version;
    a_swap_that_compares_counts_alone_is_caught: SwapByCount by replace_tells_equal_counts_apart_by_their_write_tag;
    a_swap_that_resurrects_is_caught: ResurrectingSwap by a_removed_record_stays_gone;
    a_swap_that_shortens_a_life_is_caught: SwapMovesBack by replace_moves_the_deadline_forward_only;
    a_swap_that_is_done_by_halves_is_caught: SwapByHalves by a_dropped_call_happened_wholly_or_not_at_all;
    a_touch_that_resurrects_is_caught: ResurrectingTouch by a_removed_record_stays_gone;
    a_touch_that_resurrects_what_is_removed_meanwhile_is_caught: SlowTouch by a_removal_among_parallel_writes_is_final;
    a_touch_that_undoes_a_swap_is_caught: SlowTouch by parallel_touches_lose_no_swap;
    a_touch_that_counts_as_a_write_is_caught: TouchWrites by touch_leaves_version_and_data_alone;
    a_touch_that_shortens_a_life_is_caught: TouchMovesBack by touch_moves_the_deadline_forward_only;
    a_touch_past_the_absolute_deadline_is_caught: TouchPassesTheEnd by touch_never_passes_the_absolute_deadline;
    an_index_that_comes_after_its_record_is_caught: ListedLate by a_session_that_can_be_loaded_is_listed;
    an_index_that_ends_with_the_first_idle_deadline_is_caught: ListedBriefly by a_subjects_sessions_are_listed_until_they_are_gone;
    an_index_that_forgets_who_is_admitted_is_caught: ListedUntilAdmitted by a_subjects_sessions_are_listed_until_they_are_gone;
    an_ignored_tombstone_is_caught: TombstoneIgnored by a_removed_record_stays_gone;
    a_tombstone_for_none_but_what_was_there_is_caught: TombstoneForPresent by remove_leaves_a_tombstone_even_for_an_absent_key;
    a_tombstone_that_is_swept_early_is_caught: TombstoneSwept by remove_leaves_a_tombstone_even_for_an_absent_key;
    an_end_without_tombstones_is_caught: EndWithoutTombstones by ending_a_subject_ends_all_sessions_but_one;
    a_limit_without_tombstones_is_caught: LimitWithoutTombstones by admit_ends_the_longest_admitted;
    a_removal_after_its_answer_is_caught: LateRemoval by a_removed_record_stays_gone;
    a_limit_that_is_looked_at_before_is_caught: LimitLookedAtBefore by of_50_parallel_admissions_with_limit_1_one_is_left;
    an_admission_whatever_the_epoch_is_caught: EpochIgnored by a_login_that_began_before_an_end_is_revoked;
    an_end_that_spares_who_is_not_admitted_is_caught: EndOfAdmitted by ending_a_subject_ends_all_sessions_but_one;
    an_end_that_misses_logins_under_way_is_caught: EndListsFirst by what_is_ended_among_parallel_logins_stays_ended;
    what_is_loaded_until_it_is_swept_is_caught: LoadedUntilSwept by an_expired_record_is_missing_before_any_sweep;
    a_sweep_without_a_bound_is_caught: SweepWithoutBound by sweep_deletes_only_what_expired_long_ago_in_bounded_steps;
}
