//! What the users of one phase got, in figures.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::outcome::{Failure, Kind, Outcome};

#[derive(Default)]
pub struct Figures {
    reads: usize,
    writes: usize,
    moved: usize,
    cookies_deleted: usize,
    failed_reads: BTreeMap<Failure, usize>,
    failed_writes: BTreeMap<Failure, usize>,
    took: Vec<Duration>,
}

impl Figures {
    pub fn add(&mut self, outcome: Outcome) {
        let (count, failures) = match outcome.kind {
            Kind::Read => (&mut self.reads, &mut self.failed_reads),
            Kind::Write => (&mut self.writes, &mut self.failed_writes),
        };
        *count += 1;
        if let Err(failure) = outcome.result {
            *failures.entry(failure).or_default() += 1;
        }
        self.moved += usize::from(outcome.has_moved);
        self.cookies_deleted += usize::from(outcome.cookie_deleted);
        self.took.push(outcome.took);
    }

    /// An object of JSON.
    pub fn line(mut self, phase: &str) -> String {
        self.took.sort_unstable();
        let at = |share: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
            let index = (share * self.took.len().saturating_sub(1) as f64) as usize;
            self.took.get(index).map_or(0.0, Duration::as_secs_f64) * 1000.0
        };
        let failures = |all: &BTreeMap<Failure, usize>| {
            let each: Vec<_> = all.iter().map(|(failure, count)| format!(r#""{failure:?}": {count}"#)).collect();
            format!("{{{}}}", each.join(", "))
        };
        format!(
            r#"{{"phase": "{phase}", "reads": {}, "writes": {}, "failed_reads": {}, "failed_writes": {}, "moved": {}, "cookies_deleted": {}, "p50": {:.2}, "p99": {:.2}, "max": {:.0}}}"#,
            self.reads,
            self.writes,
            failures(&self.failed_reads),
            failures(&self.failed_writes),
            self.moved,
            self.cookies_deleted,
            at(0.5),
            at(0.99),
            at(1.0),
        )
    }
}
