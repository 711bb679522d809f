//! Metrics as Prometheus reads them (text format 0.0.4). How many lines there are depends on the configuration alone, never on
//! what clients send.

use std::fmt::{Display, Write};
use std::sync::Arc;

use super::{BOUNDS, REFUSALS, Tallies, UpstreamTally, WorkerTally};
use crate::control::Control;
use crate::pool::Pool;
use crate::upstream::{Upstream, UpstreamStatus};

/// Everything.
pub(crate) fn render(control: &Control) -> String {
    let mut text = Text::default();
    let site = control.site();
    gateway(&mut text, control, control.tallies());
    let of = |pool: &Pool| {
        let all = pool.upstreams.iter().zip(pool.status());
        all.map(|(its, status)| Measured::new(pool, its, status)).collect::<Vec<_>>()
    };
    let all: Vec<_> = site.pools.iter().flat_map(of).collect();
    for (name, kind, help, value) in FAMILIES {
        text.family(name, kind, help);
        for its in &all {
            text.line(name, &its.labels, value(its));
        }
    }
    answers(&mut text, &all);
    latencies(&mut text, &all);
    text.0
}

/// An upstream at the moment.
struct Measured {
    labels: String,
    status: UpstreamStatus,
    load: f64,
    upstream: Arc<Upstream>,
}

impl Measured {
    fn new(pool: &Pool, upstream: &Arc<Upstream>, status: UpstreamStatus) -> Self {
        let labels = format!("pool=\"{}\",upstream=\"{}\"", Escaped(&pool.name), Escaped(&upstream.name));
        Self { labels, status, load: load(pool, upstream), upstream: Arc::clone(upstream) }
    }
}

/// Requests in flight over those that would be its share; above 1.25 clients by hash spill.
#[expect(clippy::cast_precision_loss, reason = "nobody has 2⁵² requests in flight")]
fn load(pool: &Pool, upstream: &Upstream) -> f64 {
    let up = || pool.upstreams.iter().filter(|its| !its.is_down());
    let all: u64 = up().map(|its| its.in_flight()).sum();
    let weights: u64 = up().map(|its| u64::from(its.weight())).sum();
    let share = all as f64 * f64::from(upstream.weight()) / weights.max(1) as f64;
    if all == 0 { 0.0 } else { upstream.in_flight() as f64 / share }
}

type Family = (&'static str, &'static str, &'static str, fn(&Measured) -> f64);

#[expect(clippy::cast_precision_loss, reason = "as Prometheus has them: whole up to 2⁵³")]
const FAMILIES: [Family; 13] = [
    ("upstream_up", "gauge", "Whether it could be reached last time.", |its| {
        f64::from(u8::from(!its.status.is_down))
    }),
    ("upstream_out", "gauge", "Whether its check or its failures keep requests away from it.", |its| {
        f64::from(u8::from(its.status.is_out))
    }),
    ("upstream_ejections_total", "counter", "How often it was ejected for requests that it failed.", |its| {
        its.status.ejections as f64
    }),
    ("upstream_draining", "gauge", "Whether it gets no new clients.", |its| {
        f64::from(u8::from(its.status.is_draining))
    }),
    ("upstream_weight", "gauge", "Its share beside the others' weights.", |its| its.status.weight.into()),
    ("upstream_in_flight", "gauge", "Requests that are with it now.", |its| its.status.in_flight as f64),
    (
        "upstream_load",
        "gauge",
        "Requests in flight over its share of all; clients by hash spill above 1.25.",
        |its| its.load,
    ),
    ("upstream_requests_total", "counter", "Requests sent to it, repeated ones included.", |its| {
        its.status.requests as f64
    }),
    ("upstream_retries_total", "counter", "Requests that failed here and were tried again.", |its| {
        its.status.retries as f64
    }),
    ("upstream_pins_total", "counter", "Clients that were given a cookie for it.", |its| {
        its.status.pins as f64
    }),
    ("upstream_remaps_total", "counter", "Clients pinned here that were moved away.", |its| {
        its.status.remaps as f64
    }),
    ("upstream_yields_total", "counter", "Requests of pinned clients that went elsewhere for load.", |its| {
        its.status.yields as f64
    }),
    ("upstream_spills_total", "counter", "Requests by hash that went elsewhere for load.", |its| {
        its.status.spills as f64
    }),
];

fn gateway(text: &mut Text, control: &Control, tallies: &Tallies<WorkerTally>) {
    text.family("build_info", "gauge", "The version, as a label.");
    text.line("build_info", concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1);
    text.family("uptime_seconds", "gauge", "Time since the start.");
    text.line("uptime_seconds", "", control.uptime().as_secs());
    let (accepted, ended) = (tallies.sum(|tally| &tally.accepted), tallies.sum(|tally| &tally.ended));
    text.family("connections", "gauge", "Connections of clients that are open.");
    text.line("connections", "", accepted.saturating_sub(ended));
    text.family("connections_accepted_total", "counter", "Connections of clients.");
    text.line("connections_accepted_total", "", accepted);
    text.family("connections_shed_total", "counter", "Connections that there was no room for.");
    text.line("connections_shed_total", "", tallies.sum(|tally| &tally.shed));
    text.family("refusals_total", "counter", "Answers that the gateway gave itself.");
    for (index, status) in REFUSALS.iter().enumerate() {
        let labels = format!("code=\"{status}\"");
        text.line("refusals_total", &labels, tallies.sum(|tally| &tally.refusals[index]));
    }
}

fn answers(text: &mut Text, all: &[Measured]) {
    let name = "upstream_answers_total";
    text.family(name, "counter", "Requests by what came of them; \"none\" got no answer from it.");
    for its in all {
        for (class, code) in ["none", "1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().enumerate() {
            let labels = format!("{},code=\"{code}\"", its.labels);
            text.line(name, &labels, its.upstream.tallies.sum(|tally| &tally.answers[class]));
        }
    }
}

fn latencies(text: &mut Text, all: &[Measured]) {
    let name = "upstream_answer_seconds";
    text.family(name, "histogram", "Time from a request's arrival to the head of its answer.");
    for its in all {
        let count =
            |bucket: usize| its.upstream.tallies.sum(|tally: &UpstreamTally| &tally.latencies[bucket]);
        let mut sum = 0;
        for (bucket, bound) in BOUNDS.iter().enumerate() {
            sum += count(bucket);
            let labels = format!("{},le=\"{}\"", its.labels, Seconds(*bound));
            text.line("upstream_answer_seconds_bucket", &labels, sum);
        }
        sum += count(BOUNDS.len());
        text.line("upstream_answer_seconds_bucket", &format!("{},le=\"+Inf\"", its.labels), sum);
        let micros = its.upstream.tallies.sum(|tally| &tally.micros);
        text.line("upstream_answer_seconds_sum", &its.labels, Seconds(micros));
        text.line("upstream_answer_seconds_count", &its.labels, sum);
    }
}

/// The text as it grows.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.put(format_args!("# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}\n"));
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        match labels {
            "" => self.put(format_args!("{PREFIX}{name} {value}\n")),
            _ => self.put(format_args!("{PREFIX}{name}{{{labels}}} {value}\n")),
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes all there is memory for");
    }
}

const PREFIX: &str = "stayput_gateway_";

/// Microseconds as seconds, exactly.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let fraction = format!("{micros:06}");
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            fraction => write!(f, "{whole}.{fraction}"),
        }
    }
}

/// A label's value.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '"' | '\\' => write!(f, "\\{c}"),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact_and_labels_escaped() {
        let seconds = [500, 2500, 1_000_000, 60_000_000, 1].map(|micros| Seconds(micros).to_string());
        assert_eq!(seconds, ["0.0005", "0.0025", "1", "60", "0.000001"]);
        assert_eq!(Escaped("a\"b\\c").to_string(), "a\\\"b\\\\c");
    }
}
