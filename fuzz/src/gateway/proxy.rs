//! A whole gateway between a client and an upstream, over sockets: of any bytes, those requests arrive, and only those, that
//! a strict parser finds at their beginning.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use stayput_core::{Keyring, SystemRandom};
use stayput_gateway::{Config, Gateway, Running, UpstreamConfig};

use super::Target;
use super::recorder::Recorder;
use super::request_head::{path, words};
use super::split::arrivals;
use super::strict::{self, Next, Request};

/// See the module.
pub const TARGET: Target = Target { name: "proxy", check, seeds, words };

struct World {
    recorder: Recorder,
    gateway: SocketAddr,
    _running: Running,
}

/// One gateway for all inputs, used by one at a time.
static WORLD: LazyLock<Mutex<World>> = LazyLock::new(|| {
    let recorder = Recorder::start();
    let upstreams = vec![UpstreamConfig::new("recorder", recorder.address.into())];
    let mut config = Config::new(([127, 0, 0, 1], 0).into(), upstreams);
    config.workers = 1;
    config.site.pools[0].affinity.rules.clear();
    let bound = Gateway::bind(config, Keyring::generate(&SystemRandom)).expect("a free port");
    let running = bound.start().expect("threads can be made");
    Mutex::new(World { recorder, gateway: running.local_addr(), _running: running })
});

fn check(input: &[u8]) -> bool {
    let Some((&how, bytes)) = input.split_first() else { return false };
    let world = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    let (answers, is_reset) = exchange(world.gateway, how, bytes);
    let record = world.recorder.take();
    let text = String::from_utf8_lossy(bytes);
    assert!(record.malformed.is_empty(), "{:?} of {text:?}", record.malformed);
    let expected = requests(bytes);
    assert!(record.requests.len() <= expected.len(), "{:?} of {text:?}", record.requests);
    for (passed, asked) in record.requests.iter().zip(&expected) {
        assert_eq!((&passed.method, &passed.target), (&asked.method, &path(asked)), "{text:?}");
        assert_eq!(passed.body, asked.body, "{text:?}");
    }
    let is_answer = |window: &&[u8]| *window == b"HTTP/1.1 200 OK\r\n";
    let answered = answers.windows(17).filter(is_answer).count();
    if is_reset {
        // Met by who sends on after the end that they have announced themselves; it may take answers with it.
        let mut forwarded = expected.iter().take(record.requests.len());
        assert!(forwarded.any(is_last), "a reset for nothing: {text:?}");
        assert!(answered <= record.requests.len(), "{text:?}");
    } else {
        assert_eq!(answered, record.requests.len(), "{text:?}");
        assert!(expected.is_empty() || answers.starts_with(b"HTTP/1.1 "), "no answer to {text:?}");
    }
    !record.requests.is_empty()
}

/// Whether the client asks for the end of its connection.
fn is_last(request: &Request) -> bool {
    let options = |value: &[u8]| String::from_utf8_lossy(value).to_ascii_lowercase();
    request.is_1_0 || request.all("connection").any(|value| options(value).contains("close"))
}

/// All that comes back, and whether it ended with a reset.
fn exchange(gateway: SocketAddr, how: u8, bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut client = TcpStream::connect(gateway).expect("the gateway is there");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit can be set");
    client.set_nodelay(true).expect("sockets can be told not to wait");
    let mut at = 0;
    // Few pieces, since each is a system call.
    let ends = arrivals(how, bytes.len());
    for end in ends.into_iter().step_by(8).chain([bytes.len()]) {
        // Refused half-way: what matters then is what comes back.
        let _ = client.write_all(&bytes[at..end]);
        at = end;
    }
    let _ = client.shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    let is_reset = match client.read_to_end(&mut answers) {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(
                error.kind(),
                ErrorKind::ConnectionReset,
                "the gateway ends what the client has ended"
            );
            true
        }
    };
    (answers, is_reset)
}

/// The requests at the beginning of `bytes`, up to the first that is in doubt.
fn requests(bytes: &[u8]) -> Vec<Request> {
    let (mut requests, mut rest) = (Vec::new(), bytes);
    loop {
        // Empty lines before a request are skipped (RFC 9112, 2.2).
        while let Some(after) = rest.strip_prefix(b"\r\n") {
            rest = after;
        }
        let Next::Whole(request, length) = strict::request(rest) else { return requests };
        requests.push(request);
        rest = &rest[length..];
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let get = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let put = "PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n";
    let streams = [
        [get, post, put, get].concat(),
        [put, "\r\n", "HEAD /d HTTP/1.1\r\nHost: a\r\n\r\n", get].concat(),
        [
            get,
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            get,
        ]
        .concat(),
        [
            post,
            "GET http://b/e HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 2\r\n\r\n",
        ]
        .concat(),
        [put, "GET /y HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", get].concat(),
        "POST /z HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n"
            .to_owned(),
        [get, "GET /q HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", get].concat(),
    ];
    let split = |stream: &String| [0, 9].map(|how| [&[how], stream.as_bytes()].concat());
    streams.iter().flat_map(split).collect()
}
