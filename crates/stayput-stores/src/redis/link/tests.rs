//! A connection whose other end is in the test's hands.

use redis::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

use super::*;
use crate::redis::message::Name;

fn nowhere() -> Address {
    Address::Tcp { host: "localhost".into(), port: 0 }
}

/// A link, and the server's end of it.
fn link() -> (Arc<Link>, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let pulse = Arc::new(Pulse::new());
    let stream = Stream::of(ours, Arc::clone(&pulse));
    (Arc::new(Link::over_stream(nowhere(), stream, pulse, usize::MAX, None)), theirs)
}

async fn expect(server: &mut DuplexStream, words: &str) {
    let mut bytes = vec![0; words.len()];
    server.read_exact(&mut bytes).await.unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), words);
}

fn named(key: &str) -> Message<'_> {
    Message::Get(Name { prefix: b"", rest: key.as_bytes() })
}

fn get(link: &Arc<Link>, key: &'static str, limit: u64) -> JoinHandle<(Answer, Duration)> {
    let (link, began) = (Arc::clone(link), Instant::now());
    tokio::spawn(async move {
        let deadline = began + Duration::from_millis(limit);
        let answer = link.send_by(named(key), deadline, began).await;
        (answer, began.elapsed())
    })
}

#[tokio::test(start_paused = true)]
async fn each_call_ends_at_its_own_deadline_and_later_ones_get_their_own_answers() {
    let (link, mut server) = link();
    let calls = [("a", 30), ("b", 10), ("c", 20), ("d", 60_000)].map(|(key, limit)| get(&link, key, limit));
    let [a, b, c, d] = calls;
    for (call, limit) in [(b, 10), (c, 20), (a, 30)] {
        let (answer, took) = call.await.unwrap();
        assert!(answer.is_err(), "{limit}");
        // Tokio's timers are a millisecond apart.
        assert!(
            (limit..=limit + 1).contains(&u64::try_from(took.as_millis()).unwrap()),
            "{took:?} of {limit}"
        );
    }
    for key in ["a", "b", "c", "d"] {
        expect(&mut server, &format!("*2\r\n$3\r\nGET\r\n$1\r\n{key}\r\n")).await;
    }
    // Nobody waits for the first three any more.
    server.write_all(b":1\r\n:2\r\n:3\r\n:4\r\n").await.unwrap();
    let (answer, _) = d.await.unwrap();
    assert_eq!(answer.unwrap().unwrap(), Value::Int(4));
}

#[tokio::test]
async fn commands_and_their_answers_keep_the_order_of_calls() {
    let (link, mut server) = link();
    let ping = redis::cmd("PING");
    let answer = async {
        let gets = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\n";
        expect(&mut server, &format!("*1\r\n$4\r\nPING\r\n{gets}")).await;
        server.write_all(b"+PONG\r\n$-1\r\n-ERR no\r\n").await.unwrap();
    };
    let gets = link.send_all([named("a"), named("b")]);
    let (one, both, ()) = tokio::join!(link.send(&ping), gets, answer);
    assert_eq!(one.unwrap(), Value::SimpleString("PONG".to_owned()));
    let both = both.unwrap();
    assert_eq!(both[0], Ok(Value::Nil));
    assert_eq!(both[1].as_ref().unwrap_err().code(), Some("ERR"));
}

#[tokio::test]
async fn whoever_waits_is_told_when_it_is_over() {
    for words in [&b""[..], b"$5\r\nab", b"?\r\n"] {
        let (link, mut server) = link();
        let call = get(&link, "a", 60_000);
        expect(&mut server, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n").await;
        server.write_all(words).await.unwrap();
        drop(server);
        let (answer, _) = call.await.unwrap();
        let kind = answer.unwrap().unwrap_err().kind();
        assert_eq!(kind, if words == b"?\r\n" { ErrorKind::Parse } else { ErrorKind::Io });
        link.over().await;
        let ping = redis::cmd("PING");
        assert!(timeout(Duration::from_secs(10), link.send(&ping)).await.unwrap().is_err());
    }
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_ends_it() {
    let (link, mut server) = link();
    server.write_all(b"+OK\r\n").await.unwrap();
    timeout(Duration::from_secs(10), link.over()).await.unwrap();
    // But a message is none.
    let (ours, mut server) = tokio::io::duplex(1 << 20);
    let (pulse, heard) = (Arc::new(Pulse::new()), Arc::new(Notify::new()));
    let stream = Stream::of(ours, Arc::clone(&pulse));
    let told = Arc::clone(&heard);
    let hear: Heard = Box::new(move |_| told.notify_one());
    let link = Link::over_stream(nowhere(), stream, pulse, usize::MAX, Some(hear));
    server.write_all(b">3\r\n+message\r\n$1\r\nc\r\n$2\r\nhi\r\n").await.unwrap();
    timeout(Duration::from_secs(10), heard.notified()).await.unwrap();
    assert!(!link.is_over());
}

#[tokio::test]
async fn the_answer_of_a_call_that_was_dropped_goes_to_nobody_else() {
    const CALLS: usize = 90;
    let (link, mut server) = link();
    let call = |number: usize| {
        let link = Arc::clone(&link);
        tokio::spawn(async move {
            let (key, now) = (format!("{number:04}"), Instant::now());
            let answer = link.send_by(named(&key), now + Duration::from_mins(1), now).await;
            assert_eq!(answer.unwrap().unwrap(), Value::BulkString(key.into_bytes()), "{number}");
        })
    };
    let first: Vec<_> = (0..CALLS).map(call).collect();
    for number in 0..CALLS {
        expect(&mut server, &format!("*2\r\n$3\r\nGET\r\n$4\r\n{number:04}\r\n")).await;
    }
    let answers = |numbers: std::ops::Range<usize>| {
        numbers.map(|number| format!("$4\r\n{number:04}\r\n")).collect::<Vec<_>>().concat()
    };
    // Some are dropped before their answer comes, some when it is there, and others call in between.
    let (gone, kept): (Vec<_>, Vec<_>) =
        first.into_iter().enumerate().partition(|(number, _)| number % 3 == 0);
    for (_, call) in &gone {
        call.abort();
    }
    for (_, call) in gone {
        assert!(call.await.unwrap_err().is_cancelled());
    }
    let second: Vec<_> = (CALLS..2 * CALLS).map(call).collect();
    server.write_all(answers(0..CALLS / 2).as_bytes()).await.unwrap();
    for number in CALLS..2 * CALLS {
        expect(&mut server, &format!("*2\r\n$3\r\nGET\r\n$4\r\n{number:04}\r\n")).await;
    }
    server.write_all(answers(CALLS / 2..2 * CALLS).as_bytes()).await.unwrap();
    for call in kept.into_iter().map(|(_, call)| call).chain(second) {
        call.await.unwrap();
    }
}

#[test]
fn a_call_ends_in_its_time_though_nobody_runs_the_runtime_of_its_connection() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (idle, ours) = (runtime(), runtime());
    let (link, _server) = {
        let _inside = idle.enter();
        link()
    };
    ours.block_on(async {
        let now = Instant::now();
        let call = link.send_by(named("a"), now + Duration::from_secs(1), now);
        let answer = timeout(Duration::from_secs(10), call).await.expect("it ends by itself");
        assert!(answer.is_err());
        assert_eq!(now.elapsed().as_secs(), 1);
        assert!(link.is_over(), "nothing came, so the next call is to have another connection");
    });
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_kept_though_its_connection_said_more_than_one_turn_takes() {
    let (ours, mut server) = tokio::io::duplex(64 << 20);
    let pulse = Arc::new(Pulse::new());
    let stream = Stream::of(ours, Arc::clone(&pulse));
    let link = Arc::new(Link::over_stream(nowhere(), stream, pulse, usize::MAX, None));
    tokio::task::yield_now().await;
    let message = b">3\r\n+message\r\n$1\r\nc\r\n$2\r\nhi\r\n";
    let call = get(&link, "b", 2000);
    server.write_all(&message.repeat((16 << 20) / message.len())).await.unwrap();
    let (answer, took) = timeout(Duration::from_secs(8), call).await.expect("it ends by itself").unwrap();
    assert!(answer.is_err() && took.as_secs() == 2, "{took:?}");
}
