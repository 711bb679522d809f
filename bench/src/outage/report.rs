//! What a drill has seen, as JSON for `outage.py`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::users::{Account, Outcomes, Record};

pub(super) struct Report {
    layer: String,
    began: Instant,
    pub(super) ended: Instant,
    /// From when to when the store was away.
    pub(super) outages: Vec<(Instant, Instant)>,
    /// Kilobytes and descriptors of each server, at first and after each outage.
    pub(super) sizes: Vec<Vec<(u64, usize)>>,
    users: Totals,
}

/// Sums over the users.
#[derive(Default)]
struct Totals {
    acknowledged: u64,
    in_doubt: u64,
    lost: u64,
    doubled: u64,
    went_back: u64,
    logged_out: u64,
    stayed_logged_out: u64,
    deleted: Vec<String>,
}

/// What a request has to do with the outages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    /// It met the beginning of one, which nobody can have noticed: calls may take a second.
    Beginning,
    Later,
    After,
}

/// A time limit of a second, and half of one for what follows from it.
const BEGINNING: Duration = Duration::from_millis(1_500);

const PHASES: [(&str, Phase); 4] = [
    ("before", Phase::Before),
    ("beginning", Phase::Beginning),
    ("later", Phase::Later),
    ("after", Phase::After),
];

impl Report {
    pub(super) fn new(layer: &str, began: Instant) -> Self {
        let layer = layer.to_owned();
        Self { layer, began, ended: began, outages: Vec::new(), sizes: Vec::new(), users: Totals::default() }
    }

    /// Adds a user, with the count that a new server knows (`None`: that one is logged out), and the cookies deleted.
    pub(super) fn user(&mut self, account: &Account, count: Option<u64>, deleted: Vec<String>) {
        let (totals, found) = (&mut self.users, count.unwrap_or_default());
        totals.acknowledged += account.acknowledged;
        totals.in_doubt += account.in_doubt;
        totals.lost += account.acknowledged.saturating_sub(found);
        totals.doubled += found.saturating_sub(account.acknowledged + account.in_doubt);
        totals.went_back += account.went_back;
        totals.logged_out += u64::from(account.was_anonymous || count.is_none() || !deleted.is_empty());
        totals.stayed_logged_out += u64::from(count.is_none());
        totals.deleted.extend(deleted);
    }

    pub(super) fn json(&self, records: &[Record]) -> Value {
        let records: Vec<_> = records.iter().filter(|record| record.sent >= self.began).copied().collect();
        let phases = PHASES.map(|(name, phase)| {
            let of_it = records.iter().filter(|record| self.phase(record) == phase).copied();
            (name.to_owned(), statistics(&of_it.collect::<Vec<_>>()))
        });
        let outages = self.outages.iter().map(|(from, to)| [self.since(*from), self.since(*to)]);
        let late = records.iter().map(|record| record.late).max().unwrap_or_default();
        let users = &self.users;
        json!({
            "layer": self.layer,
            "phases": serde_json::Map::from_iter(phases),
            "outages": outages.collect::<Vec<_>>(),
            "seconds": self.since(self.ended),
            "drill_late_ms": late.as_secs_f64() * 1e3,
            "acknowledged": users.acknowledged, "in_doubt": users.in_doubt,
            "lost": users.lost, "doubled": users.doubled, "went_back": users.went_back,
            "logged_out": users.logged_out, "stayed_logged_out": users.stayed_logged_out,
            "cookies_deleted": users.deleted.len(),
            "reads_back": self.back(&records, false), "writes_back": self.back(&records, true),
            "timeline": self.timeline(&records),
            "sizes": self.sizes,
        })
    }

    fn phase(&self, record: &Record) -> Phase {
        let met = |(from, to): &&(Instant, Instant)| record.sent < *to && record.ended > *from;
        match self.outages.iter().find(met) {
            Some((from, _)) if record.sent < *from + BEGINNING => Phase::Beginning,
            Some(_) => Phase::Later,
            None if self.outages.first().is_some_and(|(from, _)| record.sent < *from) => Phase::Before,
            None => Phase::After,
        }
    }

    /// Seconds from the store's (last) return until the last request was sent that failed; `None` if they still fail.
    fn back(&self, records: &[Record], is_write: bool) -> Option<f64> {
        let (_, back) = self.outages.last()?;
        let failed = |record: &&Record| {
            record.is_write == is_write && record.sent >= *back && record.result != Outcomes::Done
        };
        let last = records.iter().filter(failed).map(|record| record.sent).max();
        let still = last.is_some_and(|last| last + Duration::from_secs(1) > self.ended);
        (!still).then(|| last.map_or(0.0, |last| (last - *back).as_secs_f64()))
    }

    /// For each tenth of a second: how many of the requests sent in it were reads that were served, writes that were, and others.
    fn timeline(&self, records: &[Record]) -> Vec<[u32; 3]> {
        let mut bins = vec![[0; 3]; (self.since(self.ended) * 10.0) as usize + 1];
        for record in records {
            let Some(bin) = bins.get_mut((self.since(record.sent) * 10.0) as usize) else { continue };
            let is_done = record.result == Outcomes::Done;
            bin[if is_done { usize::from(record.is_write) } else { 2 }] += 1;
        }
        bins
    }

    fn since(&self, moment: Instant) -> f64 {
        (moment - self.began).as_secs_f64()
    }
}

fn statistics(records: &[Record]) -> Value {
    let count = |is_write: Option<bool>, results: &[Outcomes]| {
        let of_it = |record: &&Record| {
            is_write.is_none_or(|it| it == record.is_write) && results.contains(&record.result)
        };
        records.iter().filter(of_it).count()
    };
    use Outcomes::{Anonymous, Broken, Done, Refused, Stalled, TooLate};
    let failed = [Refused, TooLate, Broken, Stalled];
    let mut times: Vec<_> = records
        .iter()
        .filter(|record| record.result != Stalled)
        .map(|record| record.ended - record.sent)
        .collect();
    times.sort_unstable();
    let at = |share: f64| {
        let place = (times.len() as f64 * share) as usize;
        times.get(place.min(times.len().saturating_sub(1))).map(|time| time.as_secs_f64() * 1e3)
    };
    json!({
        "reads": count(Some(false), &[Done]), "failed_reads": count(Some(false), &failed),
        "writes": count(Some(true), &[Done]), "failed_writes": count(Some(true), &failed),
        "anonymous": count(None, &[Anonymous]), "refused": count(None, &[Refused]), "too_late": count(None, &[TooLate]),
        "broken": count(None, &[Broken]), "stalled": count(None, &[Stalled]),
        "p50": at(0.5), "p99": at(0.99), "worst": at(1.0),
    })
}
