//! Rules, and how they are shown: bytes in, bytes out.
//!
//! It never stops at the first rule that is broken: all are reported together.

use std::sync::{Arc, Mutex};

use crate::fuzz::recorder::{Record, Recorder};
use crate::support::{Client, TestGateway, Upstream};

#[derive(Clone, Copy)]
pub(super) struct Rule {
    /// RFC and section.
    pub(super) section: &'static str,
    pub(super) holds: &'static str,
    /// Where it is not what the RFC asks or allows at most: why.
    pub(super) differs: Option<&'static str>,
    sent: &'static [&'static str],
    outcome: Outcome,
}

#[derive(Clone, Copy)]
pub(super) enum Outcome {
    /// It is passed on as it is.
    Passes,
    /// It is passed on as this.
    Becomes(&'static str),
    /// The gateway answers itself. A request reaches no upstream, and nothing after it does.
    Refused(u16),
    /// The message ends too early: of an answer the client sees that, and a request is refused and none to its upstream.
    Broken,
}

pub(super) const fn rule(
    section: &'static str,
    holds: &'static str,
    sent: &'static [&'static str],
    outcome: Outcome,
) -> Rule {
    Rule { section, holds, differs: None, sent, outcome }
}

impl Rule {
    pub(super) const fn differs(self, why: &'static str) -> Self {
        Self { differs: Some(why), ..self }
    }

    fn expected(&self, sent: &str) -> Option<String> {
        match self.outcome {
            Outcome::Passes => Some(sent.to_owned()),
            Outcome::Becomes(text) => Some(text.to_owned()),
            Outcome::Refused(_) | Outcome::Broken => None,
        }
    }
}

/// Sends the requests that `whole` makes of what the rules show, each on a connection of its own.
pub(super) fn check_requests(rules: &[Rule], whole: impl Fn(&str) -> String) {
    let recorder = Recorder::start();
    let gateway = without_pins(&recorder);
    let mut broken = Vec::new();
    for (rule, sent) in rules.iter().flat_map(|rule| rule.sent.iter().map(move |sent| (rule, sent))) {
        let sent = whole(sent);
        let answer = exchange(gateway.connect(), &sent).unwrap_or_default();
        let record = recorder.take();
        let is_kept = match rule.outcome {
            Outcome::Refused(status) => is_refusal(&answer, status) && has_nothing(&record),
            Outcome::Broken => is_refusal(&answer, 400) && record.requests.is_empty(),
            _ => rule.expected(&sent).as_deref() == forwarded(&record).as_deref(),
        };
        if !is_kept {
            let Rule { section, holds, .. } = rule;
            broken.push(format!("{section}, {holds}\n  sent {sent:?}\n  answer {answer:?}\n  {record:?}"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Has an upstream answer `request` with what the rules show.
pub(super) fn check_answers(rules: &[Rule], request: &str) {
    let current = Arc::<Mutex<&str>>::default();
    let next = current.clone();
    let upstream = Upstream::custom(move |mut connection| {
        connection.request();
        let answer = *next.lock().unwrap();
        connection.send(answer);
    });
    let gateway = TestGateway::with(&[&upstream], |config| config.site.pools[0].affinity.rules.clear());
    let mut broken = Vec::new();
    for (rule, sent) in rules.iter().flat_map(|rule| rule.sent.iter().map(move |sent| (rule, sent))) {
        *current.lock().unwrap() = sent;
        let answer = exchange(gateway.connect(), request).map(|answer| without_date(&answer));
        let is_kept = match (rule.outcome, &answer) {
            (Outcome::Refused(status), Ok(answer)) => answer.starts_with(&format!("HTTP/1.1 {status} ")),
            (Outcome::Broken, answer) => answer.is_err(),
            (_, answer) => answer.as_ref().ok() == rule.expected(sent).as_ref(),
        };
        if !is_kept {
            broken.push(format!("{}, {}\n  sent {sent:?}\n  answer {answer:?}", rule.section, rule.holds));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A gateway in front of the recorder that sets no cookies.
pub(crate) fn without_pins(recorder: &Recorder) -> TestGateway {
    TestGateway::at(&[recorder.address], |config| config.site.pools[0].affinity.rules.clear())
}

/// All that comes back for these bytes and an end.
pub(super) fn exchange(mut client: Client, sent: &str) -> std::io::Result<String> {
    client.send(sent);
    client.half_close();
    client.rest().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// What an upstream got of the one request there was, less what the gateway says of the client.
pub(super) fn forwarded(record: &Record) -> Option<String> {
    let [request] = &record.requests[..] else { return None };
    let text = String::from_utf8_lossy(&request.raw).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let at = head.find("\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: ")?;
    Some(format!("{}\r\n\r\n{body}", &head[..at]))
}

fn is_refusal(answer: &str, status: u16) -> bool {
    answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains("\r\nConnection: close\r\n")
}

fn has_nothing(record: &Record) -> bool {
    record.requests.is_empty() && record.broken.is_empty() && record.malformed.is_empty()
}

fn without_date(answer: &str) -> String {
    let is_date = |line: &str| line.starts_with("Date: ") && line.ends_with(" GMT\r\n");
    answer.split_inclusive('\n').filter(|line| !is_date(line)).collect()
}
