//! Random histories: whatever a store is asked, it answers as the model does.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use stayput_core::{
    Admission, Clock, Created, Epoch, Overflow, Record, SessionLimit, SessionStore, State, StorageKey,
    Subject, Version,
};

use super::Bench;
use crate::{ModelStore, Seed};

/// 2,000 random operations on a few keys and subjects, with time moving, get the model's answers.
pub async fn random_histories_go_as_in_the_model(bench: &Bench) {
    let mut history = History::new(bench);
    for step in 0..2_000 {
        history.step = step;
        let at = history.rng.usize(..history.keys.len());
        // Time goes slowly enough for a subject to have several sessions at once, and far enough for all to end.
        match history.rng.u8(..20) {
            0..=4 => history.create(at).await,
            5..=6 => history.replace(at).await,
            7 => history.touch(at).await,
            8 if history.rng.u8(..4) == 0 => history.remove(at).await,
            9 => history.sweep().await,
            10..=16 => history.admit(at).await,
            17 if history.rng.u8(..6) == 0 => history.end(at).await,
            18 => bench.clock.advance(Duration::from_secs(history.rng.u64(..60))),
            19 => bench.clock.advance(Duration::from_secs(history.rng.u64(..1200))),
            _ => {}
        }
        history.compare().await;
    }
}

struct History<'a> {
    bench: &'a Bench,
    model: ModelStore,
    rng: fastrand::Rng,
    subjects: [Subject; 2],
    keys: Vec<(StorageKey, Record)>,
    /// Epochs as logins read them when they began.
    read: [Epoch; 2],
    step: u32,
}

impl<'a> History<'a> {
    fn new(bench: &'a Bench) -> Self {
        Self {
            bench,
            model: ModelStore::new(bench.clock.clone()),
            rng: Seed::announce().rng(),
            subjects: ["alice", "bob"].map(Subject::new),
            keys: (0..12).map(|_| bench.records.anonymous(b"0")).collect(),
            read: [Epoch::default(); 2],
            step: 0,
        }
    }

    async fn create(&mut self, at: usize) {
        // No two sessions began at the same time, so that there is one order to list them in.
        self.bench.clock.advance(Duration::from_millis(1));
        let key = self.keys[at].0;
        let fresh = match self.subjects.get(self.rng.usize(..3)) {
            Some(subject) => self.bench.records.logged_in_under(&key, subject, b"created"),
            None => self.bench.records.under(&key, b"created"),
        };
        let outcome = self.bench.store.create(key, fresh.clone()).await.unwrap();
        assert_eq!(outcome, self.model.create(key, fresh).await.unwrap(), "step {}", self.step);
        // Under nothing but tombstones there would soon be no sessions.
        if outcome == Created::Exists && self.bench.load(key).await.is_none() && self.rng.bool() {
            self.keys[at] = self.bench.records.anonymous(b"0");
        }
    }

    /// Replaces the current record or, sometimes, an older one; seldom by a remainder.
    async fn replace(&mut self, at: usize) {
        let (key, known) = &mut self.keys[at];
        if self.rng.u8(..4) > 0
            && let Some(current) = self.bench.load(*key).await
        {
            *known = current;
        }
        let expires = self.bench.clock.now().after(IDLE);
        let next = if known.header.state == State::Live && self.rng.u8(..6) == 0 {
            self.bench.records.remainder(key, known, expires)
        } else {
            self.bench.records.next_until(key, known, expires, &self.step.to_be_bytes())
        };
        let expected: Version = known.header.version();
        let outcome = self.bench.store.replace(*key, next.clone(), expected).await.unwrap();
        assert_eq!(outcome, self.model.replace(*key, next, expected).await.unwrap(), "step {}", self.step);
    }

    async fn touch(&mut self, at: usize) {
        let key = self.keys[at].0;
        let expires = self.bench.clock.now().after(Duration::from_secs(self.rng.u64(..3600)));
        let outcome = self.bench.store.touch(key, expires).await.unwrap();
        assert_eq!(outcome, self.model.touch(key, expires).await.unwrap(), "step {}", self.step);
    }

    async fn remove(&mut self, at: usize) {
        self.bench.store.remove(self.keys[at].0).await.unwrap();
        self.model.remove(self.keys[at].0).await.unwrap();
    }

    async fn sweep(&mut self) {
        self.bench.sweep(usize::MAX, self.model.sweep(usize::MAX).await.unwrap()).await;
    }

    /// Admits under the epoch of now or, sometimes, of an earlier login.
    async fn admit(&mut self, at: usize) {
        let whose = self.rng.usize(..self.subjects.len());
        let subject = self.subjects[whose].key();
        if self.rng.u8(..6) > 0 {
            self.read[whose] = self.bench.store.subject_epoch(subject).await.unwrap();
        }
        let sessions = self.model.subject_sessions(subject).await.unwrap();
        let most = NonZeroU32::new(self.rng.u32(..4));
        let overflow = if self.rng.bool() { Overflow::Reject } else { Overflow::EndOldest };
        let admission = Admission {
            epoch: self.read[whose],
            limit: most.map(|most| SessionLimit { most, overflow }),
            replaces: self.rng.choice(sessions).filter(|_| self.rng.bool()),
        };
        let key = self.keys[at].0;
        let outcome = self.bench.store.admit(subject, key, admission).await.unwrap();
        let expected = self.model.admit(subject, key, admission).await.unwrap();
        assert_eq!(outcome, expected, "step {}", self.step);
    }

    async fn end(&mut self, at: usize) {
        let subject = self.subjects[at % self.subjects.len()].key();
        let except = self.rng.bool().then(|| self.any_key());
        let ended = self.bench.store.end_subject(subject, except).await.unwrap();
        assert_eq!(ended, self.model.end_subject(subject, except).await.unwrap(), "step {}", self.step);
    }

    fn any_key(&mut self) -> StorageKey {
        self.keys[self.rng.usize(..self.keys.len())].0
    }

    async fn compare(&self) {
        let Self { bench, model, step, .. } = self;
        // All at once: a store that is far away has two thousand steps to go.
        let loads = self.keys.iter().map(|(key, _)| {
            let (store, key) = (Arc::clone(&bench.store), *key);
            (key, tokio::spawn(async move { store.load(key).await.unwrap() }))
        });
        for (key, loaded) in loads.collect::<Vec<_>>() {
            assert_eq!(loaded.await.unwrap(), model.load(key).await.unwrap(), "step {step}");
        }
        for subject in &self.subjects {
            let listed = model.subject_sessions(subject.key()).await.unwrap();
            assert_eq!(bench.listed(subject).await, listed, "step {step}");
            let epoch = model.subject_epoch(subject.key()).await.unwrap();
            assert_eq!(bench.epoch(subject).await, epoch, "step {step}");
        }
    }
}

const IDLE: Duration = Duration::from_mins(30);
