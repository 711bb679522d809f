//! What a run came to, as a line of JSON.

use std::time::Duration;

#[derive(Default)]
pub(crate) struct Report {
    /// From when a request was to be sent until its answer was whole.
    pub(crate) latencies: Vec<u32>,
    /// Answers that were not 200, and connections that broke.
    pub(crate) errors: usize,
    /// Clients that came to another upstream than the last time.
    pub(crate) moved: usize,
    pub(crate) elapsed: Duration,
}

impl Report {
    pub(crate) fn note(&mut self, latency: Duration) {
        self.latencies.push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
    }

    pub(crate) fn json(mut self) -> String {
        self.latencies.sort_unstable();
        let requests = self.latencies.len();
        let at = |share: f64| {
            // A share of a count that fits memory: no digit that matters is lost.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let index = (requests as f64 * share) as usize;
            f64::from(self.latencies.get(index.min(requests.saturating_sub(1))).copied().unwrap_or(0))
                / 1000.0
        };
        format!(
            r#"{{"requests":{requests},"seconds":{:.6},"errors":{},"moved":{},"p50":{:.1},"p99":{:.1},"p999":{:.1},"worst":{:.1}}}"#,
            self.elapsed.as_secs_f64(),
            self.errors,
            self.moved,
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0),
        )
    }
}
