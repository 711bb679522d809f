//! How long a session that was ended on one server is still answered by the others, whose near caches just read it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::sleep;

use super::clients::{Client, Outcome};
use super::http::Connection;
use super::relay::{Messages, Relay};
use super::setting;
use super::site::{self, Kind, SERVERS};

/// What is wrong with messages of changes, how many sessions end at a time, how often, and how often the others are asked.
struct Trial {
    messages: Messages,
    /// The server refuses to tell anything.
    is_untold: bool,
    sessions: usize,
    rounds: usize,
    pause: Duration,
}

impl Trial {
    fn of(how: &str) -> Self {
        let brief = Duration::from_millis(20);
        match how {
            "told" => Self {
                messages: Messages::Pass,
                is_untold: false,
                sessions: 1,
                rounds: 200,
                pause: Duration::ZERO,
            },
            "told-together" => Self {
                messages: Messages::Pass,
                is_untold: false,
                sessions: 50,
                rounds: 6,
                pause: Duration::from_millis(2),
            },
            "silent" => {
                Self { messages: Messages::Silent, is_untold: false, sessions: 50, rounds: 4, pause: brief }
            }
            "untold" => {
                Self { messages: Messages::Pass, is_untold: true, sessions: 50, rounds: 4, pause: brief }
            }
            "lost" => Self {
                messages: Messages::Lost,
                is_untold: false,
                sessions: 100,
                rounds: 2,
                pause: 2 * brief,
            },
            _ => panic!("no such trial"),
        }
    }
}

pub(super) async fn run(how: &str) {
    let trial = Trial::of(how);
    let redis = block_in_place(site::redis);
    if trial.is_untold {
        redis.run("ACL SETUSER default -client|tracking");
    }
    let relay =
        Relay::start(SocketAddr::from((Ipv4Addr::LOCALHOST, redis.port()))).await.expect("a free port");
    let kind = Kind::new("stayput-read_only", relay.address);
    let mut servers = Vec::new();
    for _ in 0..SERVERS {
        servers.push(kind.start().await);
    }
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let mut times = Vec::new();
    for round in 0..setting("BENCH_ROUNDS", trial.rounds) {
        times.extend(end_some(&trial, &relay, &addresses, round).await);
    }
    let since = |which: fn(&Times) -> Duration| {
        let mut times: Vec<_> = times.iter().map(which).collect();
        times.sort_unstable();
        [50, 99, 100].map(|share| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3)
    };
    let (sent, answered) = (since(|(sent, _)| *sent), since(|(_, answered)| *answered));
    println!("{}", json!({ "how": how, "tries": times.len(), "sent": sent, "answered": answered }));
}

/// From the sending of a logout, and from its answer, until another server last answered as if nothing had happened.
type Times = (Duration, Duration);

/// Ends sessions on the first server, all at once, and asks the other two meanwhile.
async fn end_some(trial: &Trial, relay: &Relay, servers: &[SocketAddr], round: usize) -> Vec<Times> {
    let mut sessions = Vec::new();
    for number in 0..trial.sessions {
        let client = Client::default();
        ask(&client, servers[0], "GET", &format!("/login/user-{round}-{number}")).await;
        sessions.push((client, String::new()));
    }
    // Twice, so that the second answer is from the copy that the first one left.
    for (client, cookies) in &mut sessions {
        for server in [servers[1], servers[2], servers[1], servers[2]] {
            ask(client, server, "GET", "/read").await;
        }
        *cookies = client.cookies();
    }
    relay.messages.send_replace(trial.messages);
    let mut waits = JoinSet::new();
    for (client, cookies) in sessions {
        let (first, others, pause) = (servers[0], [servers[1], servers[2]], trial.pause);
        waits.spawn(async move {
            let asked = others.map(|server| tokio::spawn(last_answer(server, cookies.clone(), pause)));
            // They are at it by then.
            sleep(Duration::from_millis(5)).await;
            let sent = Instant::now();
            ask(&client, first, "POST", "/logout").await;
            let ended = Instant::now();
            let mut times = Vec::new();
            for last in asked {
                let last = last.await.expect("servers answer");
                times.push((last.saturating_duration_since(sent), last.saturating_duration_since(ended)));
            }
            times
        });
    }
    let times = waits.join_all().await.concat();
    if trial.messages != Messages::Pass {
        relay.messages.send_replace(Messages::Pass);
        // Until all listen again.
        sleep(Duration::from_secs(3)).await;
    }
    times
}

async fn ask(client: &Client, server: SocketAddr, method: &str, path: &str) {
    let Outcome::Answer(answer) = client.send(server, method, path).await else {
        panic!("no answer to {path}")
    };
    assert_eq!(answer.status, 200, "{path}");
}

/// When `server` last answered who still has the session's cookies.
async fn last_answer(server: SocketAddr, cookies: String, pause: Duration) -> Instant {
    let mut connection = Connection::open(server).await.expect("the server runs");
    let (began, mut last) = (Instant::now(), Instant::now());
    loop {
        let answer = connection.ask("GET", "/read", &cookies).await.expect("the server runs");
        match answer.status {
            200 => last = Instant::now(),
            401 => break,
            status => panic!("{status} to a read"),
        }
        assert!(began.elapsed() < Duration::from_secs(60), "a session doesn't end");
        sleep(pause).await;
    }
    for _ in 0..3 {
        let answer = connection.ask("GET", "/read", &cookies).await.expect("the server runs");
        assert_eq!(answer.status, 401, "an ended session returns");
    }
    last
}
