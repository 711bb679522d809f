//! Random histories of requests to several servers that share a store: many at once, answers late, out of order or
//! lost, time passing, a thief about. Whatever happens, sessions keep their promises.
//!
//! A history that breaks one is printed with its seed; `STAYPUT_SEED` plays it again, first of all.

mod application;
mod browser;
mod gates;
mod history;
mod log;
mod servers;
mod streams;
mod world;

use std::sync::Arc;
use std::time::Duration;

use stayput::{NearCache, Outage, SessionStore};
use stayput_core::PULSE_LIMIT;
use stayput_stores::{MemoryStore, SqliteStore};
use stayput_testkit::{ManualClock, ModelStore, Seed};

use crate::history::{History, Ills, Temper, Told};
use crate::log::Limits;
use crate::servers::{SKEW, Servers};
use crate::world::{Past, World};

/// All answers arrive, if not in order, and the store never fails.
const CALM: Temper =
    Temper { lost: 0, failing: 0, cancelled: 0, told: None, lifeboats: false, store: Ills::None };
const LOSING: Temper =
    Temper { lost: 25, failing: 0, cancelled: 20, told: None, lifeboats: false, store: Ills::None };
const FAILING: Temper =
    Temper { lost: 5, failing: 4, cancelled: 5, told: None, lifeboats: false, store: Ills::None };
const NEAR: Temper = Temper { told: Some(Told::Truth), ..LOSING };
const AFLOAT: Temper = Temper { lifeboats: true, ..NEAR };

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
fn histories_with_near_caches_and_late_messages_break_no_session() {
    play_many(Temper { told: Some(Told::Truth), ..CALM }, 400);
}

#[test]
fn histories_with_near_caches_and_lost_answers_break_no_session() {
    play_many(Temper { told: Some(Told::Truth), ..LOSING }, 400);
}

#[test]
fn histories_with_near_caches_and_a_failing_store_break_no_session() {
    play_many(Temper { told: Some(Told::Truth), ..FAILING }, 400);
}

#[test]
fn histories_with_near_caches_that_are_lied_to_break_no_session() {
    play_many(Temper { told: Some(Told::Lies), ..FAILING }, 400);
}

#[test]
fn histories_with_near_caches_and_outages_break_no_session() {
    play_many(Temper { store: Ills::Outages, ..NEAR }, 400);
}

#[test]
fn histories_with_near_caches_and_failing_calls_in_and_out_of_outages_break_no_session() {
    play_many(Temper { store: Ills::Outages, told: Some(Told::Truth), ..FAILING }, 200);
}

#[test]
fn histories_with_failovers_that_forget_break_no_session() {
    play_many(Temper { store: Ills::Failovers, ..NEAR }, 400);
}

#[test]
fn histories_with_stores_that_are_wiped_break_no_session() {
    play_many(Temper { store: Ills::Wipes, ..NEAR }, 200);
}

#[test]
fn histories_with_lifeboats_lose_nothing_and_double_nothing() {
    play_many(Temper { store: Ills::Outages, ..AFLOAT }, 200);
}

#[test]
fn histories_with_lifeboats_and_failing_calls_lose_nothing_and_double_nothing() {
    play_many(Temper { store: Ills::Outages, failing: 4, ..AFLOAT }, 100);
}

#[test]
fn histories_with_lifeboats_and_failovers_break_no_session() {
    play_many(Temper { store: Ills::Failovers, ..AFLOAT }, 100);
}

#[test]
fn histories_with_lifeboats_and_wiped_stores_break_no_session() {
    play_many(Temper { store: Ills::Wipes, ..AFLOAT }, 100);
}

#[test]
fn histories_go_the_same_way_over_a_database() {
    let first = Seed::announce();
    for seed in seeds(first).take(20) {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let path = directory.path().join("sessions.sqlite");
        let store = gates::finish(Box::pin(SqliteStore::open_with_clock(path, clock.clone()))).unwrap();
        let over_database = play(seed, FAILING, clock, Arc::new(store), None);
        assert_eq!(over_database, play_in_memory(seed, FAILING), "{seed}");
        over_database.unwrap_or_else(|broken| panic!("{broken}\n{seed}"));
    }
}

#[test]
fn a_seed_replays_its_history() {
    let near = Temper { told: Some(Told::Truth), ..FAILING };
    let afloat = Temper { lifeboats: true, store: Ills::Failovers, ..near };
    let wiped = Temper { store: Ills::Wipes, ..afloat };
    for seed in seeds(Seed::announce()).take(20) {
        for temper in [FAILING, near, afloat, wiped] {
            assert_eq!(play_in_memory(seed, temper), play_in_memory(seed, temper), "{seed}");
        }
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
    if temper.store == Ills::None {
        let store = MemoryStore::default().with_clock(clock.clone());
        return play(seed, temper, clock, Arc::new(store), None);
    }
    let store = Arc::new(ModelStore::new(clock.clone()));
    play(seed, temper, clock, store.clone(), Some(Past::new(store)))
}

/// Plays one history, and gives back its trace, or what it broke and its trace until then.
fn play(
    seed: Seed,
    temper: Temper,
    clock: Arc<ManualClock>,
    store: Arc<dyn SessionStore>,
    past: Option<Past>,
) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without threads and sockets can always be built");
    let servers = if temper.told.is_some() {
        // What follows the store runs on this one thread, too.
        let _inside = runtime.enter();
        // What is served in an outage may be older than any lease: without outages these histories are about what must not be.
        let outage = match temper.store {
            _ if temper.lifeboats => Outage::Lifeboat,
            Ills::None => Outage::Refuse,
            _ => Outage::ReadOnly,
        };
        Servers::near(seed, &clock, store.clone(), outage)
    } else {
        Servers::plain(seed, &clock, store.clone())
    };
    let world = World::new(clock, store, servers, limits(temper.told), past);
    runtime.block_on(History::new(seed.rng(), temper, world).play())
}

/// What is in a copy may be as old as what was told of when it is used: a pulse's news may be a second old, and a pulse
/// counts for a second; without one, nothing is kept for longer than the short lease. Lies are found out by the long one.
fn limits(told: Option<Told>) -> Limits {
    let lease = NearCache::default();
    let staleness = told.map(|told| match told {
        Told::Truth => lease.short_lease.max(2 * PULSE_LIMIT),
        Told::Lies => lease.lease,
    });
    Limits { staleness, skew: if told.is_some() { 2 * SKEW } else { Duration::ZERO } }
}
