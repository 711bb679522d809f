//! The same bytes through Stayput, nginx and HAProxy: whatever Stayput forwards, all three read the same.
//!
//! Where they refuse what it forwards, or the other way about, that is counted and printed, and is no failure.
//! `STAYPUT_CASES` says how many streams are tried, `STAYPUT_SEED` which ones.

mod generate;
mod peers;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use stayput_testkit::Seed;

use self::peers::{Haproxy, Nginx};
use crate::conformance::without_pins;
use crate::fuzz::recorder::Recorder;
use crate::fuzz::request_head::path;
use crate::fuzz::strict::Request;

/// How long nothing has to come before nothing will: only how much is compared depends on it.
const SILENCE: Duration = Duration::from_millis(100);

/// What became of a stream.
struct Outcome {
    requests: Vec<Request>,
    malformed: Vec<String>,
    /// All that came back.
    answers: String,
}

#[test]
fn whatever_stayput_forwards_nginx_and_haproxy_read_the_same() {
    let mut rng = Seed::announce().rng();
    let cases = std::env::var("STAYPUT_CASES").map_or(2000, |text| text.parse().unwrap());
    let recorders = [(); 3].map(|()| Recorder::start());
    let gateway = without_pins(&recorders[0]);
    let nginx = Nginx::start(recorders[1].address);
    let haproxy = Haproxy::start(recorders[2].address);
    let mut tally = Tally::default();
    for case in 0..cases {
        let stream = generate::stream(&mut rng, case);
        let [ours, nginx, haproxy] = thread::scope(|scope| {
            let (stream, recorders, address) = (&stream, &recorders, gateway.address);
            let (nginx, haproxy) = (&nginx, &haproxy);
            let ours = scope.spawn(move || exchange(TcpStream::connect(address), stream, &recorders[0]));
            let nginx = scope.spawn(move || exchange(nginx.connect(), stream, &recorders[1]));
            let haproxy = scope.spawn(move || exchange(haproxy.connect(), stream, &recorders[2]));
            [ours, nginx, haproxy].map(|thread| thread.join().unwrap())
        });
        let text = String::from_utf8_lossy(&stream).into_owned();
        assert!(ours.malformed.is_empty(), "{:?} was sent to an upstream, of {text:?}", ours.malformed);
        for (peer, theirs) in [("nginx", &nginx), ("HAProxy", &haproxy)] {
            if let Some(difference) = difference(&ours, theirs, case) {
                panic!("case {case}: {peer} reads it otherwise: {difference}\nof {text:?}");
            }
            tally.add(peer, &ours, theirs, case);
        }
    }
    print!("{tally}");
    assert!(tally.forwarded > cases, "hardly anything was forwarded");
    assert!(tally.compared > cases, "hardly anything was forwarded by all");
}

/// Sends the stream and a last request after it, and reads all that comes.
fn exchange<S: Read + Write + Limited>(client: io::Result<S>, stream: &[u8], recorder: &Recorder) -> Outcome {
    let mut client = client.unwrap();
    client.limit(SILENCE);
    // Who refuses may have hung up already.
    let _ = client.write_all(&[stream, generate::END].concat());
    let (mut answers, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = client.read(&mut piece) {
        answers.extend_from_slice(&piece[..n]);
    }
    let record = recorder.take();
    let answers = String::from_utf8_lossy(&answers).into_owned();
    Outcome { requests: record.requests, malformed: record.malformed, answers }
}

trait Limited {
    fn limit(&self, silence: Duration);
}

impl Limited for TcpStream {
    fn limit(&self, silence: Duration) {
        self.set_read_timeout(Some(silence)).unwrap();
    }
}

impl Limited for std::os::unix::net::UnixStream {
    fn limit(&self, silence: Duration) {
        self.set_read_timeout(Some(silence)).unwrap();
    }
}

/// The requests of this case, by what they ask for; some of an earlier one may come late.
fn of_case(outcome: &Outcome, case: usize) -> impl Iterator<Item = (String, &Request)> {
    let mark = generate::mark(case);
    let named = outcome.requests.iter().map(|request| (path(request), request));
    named.filter(move |(path, _)| path.contains(&mark))
}

/// How the two read the stream differently, if they do.
fn difference(ours: &Outcome, theirs: &Outcome, case: usize) -> Option<String> {
    for (path, request) in of_case(ours, case) {
        let same = of_case(theirs, case).find(|(their, _)| *their == path);
        if let Some((_, their)) = same
            && (&their.method, &their.body) != (&request.method, &request.body)
        {
            return Some(format!("{request:?} is {their:?}"));
        }
        if let Some((outer, _)) = of_case(theirs, case).find(|(_, outer)| holds(outer, &path)) {
            return Some(format!("{path} is in the body of {outer}"));
        }
    }
    for (path, _) in of_case(theirs, case) {
        if let Some((outer, _)) = of_case(ours, case).find(|(_, outer)| holds(outer, &path)) {
            return Some(format!("{path} is here in the body of {outer}"));
        }
    }
    None
}

fn holds(outer: &Request, path: &str) -> bool {
    String::from_utf8_lossy(&outer.body).contains(&format!(" {path} HTTP/1."))
}

#[derive(Default)]
struct Tally {
    /// Requests that Stayput forwarded, once for each peer.
    forwarded: usize,
    /// Of these, that the peer forwarded as well.
    compared: usize,
    /// Streams of which a peer forwarded more: by what Stayput says of them.
    stricter: BTreeMap<(String, &'static str), usize>,
    /// Streams of which a peer forwarded less: by what it says.
    laxer: BTreeMap<(&'static str, String), (usize, String)>,
}

impl Tally {
    fn add(&mut self, peer: &'static str, ours: &Outcome, theirs: &Outcome, case: usize) {
        let paths = |outcome: &Outcome| of_case(outcome, case).map(|(path, _)| path).collect::<Vec<_>>();
        let (our, their) = (paths(ours), paths(theirs));
        self.forwarded += our.len();
        self.compared += our.iter().filter(|path| their.contains(path)).count();
        if their.iter().any(|path| !our.contains(path)) {
            // The refusal's text; a HEAD has none.
            let said = ours.answers.lines().rfind(|line| !line.is_empty()).unwrap_or("(nothing)").to_owned();
            *self.stricter.entry((said, peer)).or_default() += 1;
        }
        if let Some(path) = our.iter().find(|path| !their.contains(path)) {
            let said = theirs.answers.lines().rfind(|line| line.starts_with("HTTP/1."));
            let entry = self.laxer.entry((peer, said.unwrap_or("(nothing)").to_owned())).or_default();
            entry.0 += 1;
            let raw = ours.requests.iter().find(|request| crate::fuzz::request_head::path(request) == **path);
            entry.1 =
                raw.map(|request| String::from_utf8_lossy(&request.raw).into_owned()).unwrap_or_default();
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} requests forwarded by Stayput, {} of them by a peer, too",
            self.forwarded, self.compared
        )?;
        for ((said, peer), count) in &self.stricter {
            writeln!(f, "{peer} forwards more in {count} streams where Stayput says: {said}")?;
        }
        for ((peer, said), (count, example)) in &self.laxer {
            writeln!(
                f,
                "{peer} forwards less in {count} streams, saying {said}, for example of {example:?}"
            )?;
        }
        Ok(())
    }
}
