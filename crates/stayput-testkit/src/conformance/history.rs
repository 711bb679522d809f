//! Random histories: whatever a store is asked, it answers as the model does.

use std::time::Duration;

use stayput_core::{Clock, Record, SessionStore, StorageKey, Version};

use super::Bench;
use crate::{ModelStore, Seed};

/// 2,000 random operations on a few keys, with time moving, get the model's answers.
pub async fn random_histories_go_as_in_the_model(bench: &Bench) {
    let mut rng = Seed::announce().rng();
    let model = ModelStore::new(bench.clock.clone());
    let mut keys: Vec<(StorageKey, Record)> = (0..6).map(|_| bench.records.anonymous(b"0")).collect();
    for step in 0..2_000 {
        let at = rng.usize(..keys.len());
        match rng.u8(..9) {
            0..=1 => create(bench, &model, &keys[at], step).await,
            2..=4 => replace(bench, &model, &mut keys[at], &mut rng, step).await,
            5 => touch(bench, &model, &keys[at], &mut rng, step).await,
            6 if rng.u8(..4) == 0 => {
                bench.store.remove(keys[at].0).await.unwrap();
                model.remove(keys[at].0).await.unwrap();
            }
            7 if rng.u8(..4) == 0 => sweep(bench, &model, step).await,
            _ => bench.clock.advance(Duration::from_secs(rng.u64(..600))),
        }
        for (key, _) in &keys {
            assert_eq!(bench.load(*key).await, model.load(*key).await.unwrap(), "step {step}");
        }
    }
}

async fn create(bench: &Bench, model: &ModelStore, (key, _): &(StorageKey, Record), step: u32) {
    let fresh = bench.records.under(key, b"created");
    let outcome = bench.store.create(*key, fresh.clone()).await.unwrap();
    assert_eq!(outcome, model.create(*key, fresh).await.unwrap(), "step {step}");
}

/// Replaces the current record or, sometimes, an older one.
async fn replace(
    bench: &Bench,
    model: &ModelStore,
    (key, known): &mut (StorageKey, Record),
    rng: &mut fastrand::Rng,
    step: u32,
) {
    if rng.u8(..4) > 0
        && let Some(current) = bench.load(*key).await
    {
        *known = current;
    }
    let expires = bench.clock.now().after(IDLE);
    let next = bench.records.next_until(key, known, expires, &step.to_be_bytes());
    let expected: Version = known.header.version();
    let outcome = bench.store.replace(*key, next.clone(), expected).await.unwrap();
    assert_eq!(outcome, model.replace(*key, next, expected).await.unwrap(), "step {step}");
}

async fn touch(
    bench: &Bench,
    model: &ModelStore,
    (key, _): &(StorageKey, Record),
    rng: &mut fastrand::Rng,
    step: u32,
) {
    let expires = bench.clock.now().after(Duration::from_secs(rng.u64(..3600)));
    let outcome = bench.store.touch(*key, expires).await.unwrap();
    assert_eq!(outcome, model.touch(*key, expires).await.unwrap(), "step {step}");
}

async fn sweep(bench: &Bench, model: &ModelStore, step: u32) {
    let swept = bench.store.sweep(usize::MAX).await.unwrap();
    assert_eq!(swept, model.sweep(usize::MAX).await.unwrap(), "step {step}");
}

const IDLE: Duration = Duration::from_mins(30);
