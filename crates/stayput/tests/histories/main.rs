//! Random histories of requests to several servers that share a store: many at once, answers late, out of order or
//! lost, time passing, a thief about. Whatever happens, sessions keep their promises.
//!
//! A history that breaks one is printed with its seed; `STAYPUT_SEED` plays it again, first of all.

mod application;
mod browser;
mod gates;
mod history;
mod log;
mod world;

use std::sync::Arc;

use stayput::SessionStore;
use stayput_stores::{MemoryStore, SqliteStore};
use stayput_testkit::{ManualClock, Seed};

use crate::history::{History, Temper};
use crate::world::World;

/// All answers arrive, if not in order, and the store never fails.
const CALM: Temper = Temper { lost: 0, failing: 0, cancelled: 0 };
const LOSING: Temper = Temper { lost: 25, failing: 0, cancelled: 20 };
const FAILING: Temper = Temper { lost: 5, failing: 4, cancelled: 5 };

#[test]
fn no_order_of_requests_and_answers_breaks_a_session() {
    play_many(CALM, 700);
}

#[test]
fn no_lost_answer_and_no_cancelled_request_breaks_a_session() {
    play_many(LOSING, 700);
}

#[test]
fn no_failure_of_the_store_breaks_a_session() {
    play_many(FAILING, 700);
}

#[test]
fn histories_go_the_same_way_over_a_database() {
    let first = Seed::announce();
    for seed in seeds(first).take(20) {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let path = directory.path().join("sessions.sqlite");
        let store = gates::finish(Box::pin(SqliteStore::open_with_clock(path, clock.clone()))).unwrap();
        let over_database = play(seed, FAILING, clock, Arc::new(store));
        assert_eq!(over_database, play_in_memory(seed, FAILING), "{seed}");
        over_database.unwrap_or_else(|broken| panic!("{broken}\n{seed}"));
    }
}

#[test]
fn a_seed_replays_its_history() {
    for seed in seeds(Seed::announce()).take(20) {
        assert_eq!(play_in_memory(seed, FAILING), play_in_memory(seed, FAILING), "{seed}");
    }
}

fn play_many(temper: Temper, count: usize) {
    for seed in seeds(Seed::announce()).take(count) {
        if let Err(broken) = play_in_memory(seed, temper) {
            panic!("{broken}\n{seed}");
        }
    }
}

/// The seed itself, and those that follow from it.
fn seeds(first: Seed) -> impl Iterator<Item = Seed> {
    let mut rng = first.rng();
    std::iter::once(first).chain(std::iter::repeat_with(move || Seed(rng.u64(..))))
}

fn play_in_memory(seed: Seed, temper: Temper) -> Result<String, String> {
    let clock = Arc::new(ManualClock::default());
    let store = MemoryStore::default().with_clock(clock.clone());
    play(seed, temper, clock, Arc::new(store))
}

/// Plays one history, and gives back its trace, or what it broke and its trace until then.
fn play(
    seed: Seed,
    temper: Temper,
    clock: Arc<ManualClock>,
    store: Arc<dyn SessionStore>,
) -> Result<String, String> {
    let world = World::new(seed, clock, store);
    let history = History::new(seed.rng(), temper, world);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without threads and sockets can always be built").block_on(history.play())
}
