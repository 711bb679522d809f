//! Promises that take several clients at once.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use stayput_core::{Created, Replaced, Touched};
use tokio::sync::Barrier;

use super::Bench;

/// Of many parallel creates of one key exactly one succeeds, and its record is the one that stays.
pub async fn of_parallel_creates_one_wins(bench: &Bench) {
    let (key, record) = bench.records.anonymous(b"");
    let tasks: Vec<_> = (0..20u8)
        .map(|n| {
            let (store, mine) = (Arc::clone(&bench.store), bench.records.next(&key, &record, &[n]));
            tokio::spawn(async move { (store.create(key, mine.clone()).await.unwrap(), mine) })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        if let (Created::Created, record) = task.await.unwrap() {
            winners.push(record);
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(bench.load(key).await, winners.pop());
}

/// A counter that is raised by compare-and-swap from many tasks counts every one of them.
pub async fn parallel_swaps_lose_no_update(bench: &Bench) {
    const TASKS: u64 = 16;
    const ROUNDS: u64 = 5;
    let (key, _) = bench.created(&0u64.to_be_bytes()).await;
    // Of a fast store's tasks the first would be done before the last is there.
    let together = Arc::new(Barrier::new(16));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (bench, together) = (bench.clone(), Arc::clone(&together));
            tokio::spawn(async move {
                together.wait().await;
                for _ in 0..ROUNDS {
                    increment(&bench, key).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let record = bench.load(key).await.unwrap();
    assert_eq!(bench.records.open(&key, &record), (TASKS * ROUNDS).to_be_bytes());
    assert_eq!(record.header.version().count, 1 + TASKS * ROUNDS);
}

/// Touches among parallel swaps neither undo one nor let one fail.
pub async fn parallel_touches_lose_no_swap(bench: &Bench) {
    const ROUNDS: u64 = 30;
    let (key, record) = bench.created(&0u64.to_be_bytes()).await;
    let touching = bench.clone();
    let touches = tokio::spawn(async move {
        for _ in 0..4 * ROUNDS {
            let touched = touching.store.touch(key, record.header.absolute).await.unwrap();
            assert_eq!(touched, Touched::Touched);
        }
    });
    let mut rounds = 0u64;
    // However fast either is, all touches are among swaps.
    while rounds < ROUNDS || !touches.is_finished() {
        increment(bench, key).await;
        rounds += 1;
    }
    touches.await.unwrap();
    let record = bench.load(key).await.unwrap();
    assert_eq!(bench.records.open(&key, &record), rounds.to_be_bytes());
}

/// A removal among parallel swaps and touches is final, whatever they had read before it.
pub async fn a_removal_among_parallel_writes_is_final(bench: &Bench) {
    for _ in 0..10 {
        let (key, record) = bench.created(b"").await;
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let (bench, mut current) = (bench.clone(), record.clone());
                tokio::spawn(async move {
                    for _ in 0..1_000 {
                        let next = bench.records.next(&key, &current, b"");
                        let version = current.header.version();
                        current = match bench.store.replace(key, next.clone(), version).await.unwrap() {
                            Replaced::Replaced => next,
                            Replaced::Conflict(newer) => Arc::unwrap_or_clone(newer),
                            Replaced::Missing => return,
                        };
                        let _: Touched = bench.store.touch(key, current.header.absolute).await.unwrap();
                    }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        bench.store.remove(key).await.unwrap();
        assert_eq!(bench.load(key).await, None);
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(bench.load(key).await, None);
    }
}

async fn increment(bench: &Bench, key: stayput_core::StorageKey) {
    let mut current = bench.load(key).await.unwrap();
    loop {
        let count = u64::from_be_bytes(bench.records.open(&key, &current).try_into().unwrap());
        let next = bench.records.next(&key, &current, &(count + 1).to_be_bytes());
        // Between reading and writing is where others write.
        tokio::task::yield_now().await;
        match bench.store.replace(key, next, current.header.version()).await.unwrap() {
            Replaced::Replaced => return,
            Replaced::Conflict(newer) => current = Arc::unwrap_or_clone(newer),
            Replaced::Missing => panic!("the record vanished"),
        }
    }
}

/// A caller that gives up while its call is under way finds either the old record or the new one afterwards.
pub async fn a_dropped_call_happened_wholly_or_not_at_all(bench: &Bench) {
    for _ in 0..20 {
        let (key, first) = bench.created(b"1").await;
        let second = bench.records.next(&key, &first, b"2");
        {
            let call = pin!(bench.store.replace(key, second.clone(), first.header.version()));
            let _: Poll<_> = call.poll(&mut Context::from_waker(Waker::noop()));
        }
        // A swap that comes later is ordered after it, and meets one of the two.
        let third = bench.records.next(&key, &first, b"3");
        match bench.store.replace(key, third.clone(), first.header.version()).await.unwrap() {
            Replaced::Replaced => assert_eq!(bench.load(key).await, Some(third)),
            Replaced::Conflict(current) => assert_eq!(*current, second),
            Replaced::Missing => panic!("the record vanished"),
        }
    }
}
