//! Requests and answers of one browser in random orders.

use std::time::Duration;

use stayput::Policy;
use stayput_testkit::Seed;

use crate::support::Server;

/// Requests under way to the server or back, of one browser, in any order; nobody logs out.
#[tokio::test]
async fn no_order_of_requests_and_answers_logs_anybody_out() {
    let mut rng = Seed::announce().rng();
    let kinds: Vec<&str> = std::env::var("REVIEW_KINDS")
        .map_or("who,who,who,elevate,elevate,login,set", |kinds| kinds.leak())
        .split(',')
        .collect();
    let most = std::env::var("REVIEW_DELAY").map_or(14_000, |most| most.parse::<u64>().unwrap());
    for round in 0..600 {
        let policy = Policy { renewal_interval: Duration::from_mins(5), ..Policy::web() };
        let server = Server::with_policy(policy);
        let browser = server.browser();
        browser.post("/login/alice").await;
        let mut log = Vec::new();
        for episode in 0..6 {
            // Time in milliseconds from the episode's begin: sent, arrives, answered.
            let mut sent: Vec<(u64, &str)> =
                (0..rng.usize(1..6)).map(|_| (rng.u64(..20_000), kinds[rng.usize(..kinds.len())])).collect();
            sent.sort_unstable();
            let mut arriving: Vec<(u64, &str, crate::support::Browser)> = Vec::new();
            let mut answers: Vec<(u64, Vec<String>)> = Vec::new();
            let mut now = 0;
            loop {
                let next = sent
                    .iter()
                    .map(|s| s.0)
                    .chain(arriving.iter().map(|a| a.0))
                    .chain(answers.iter().map(|a| a.0))
                    .min();
                let Some(next) = next else { break };
                server.clock.advance(Duration::from_millis(next - now));
                now = next;
                if let Some(at) = sent.iter().position(|s| s.0 == now) {
                    let (_, kind) = sent.remove(at);
                    arriving.push((now + rng.u64(..most), kind, browser.tab()));
                    log.push(format!("{episode} {now} send {kind}"));
                } else if let Some(at) = arriving.iter().position(|a| a.0 == now) {
                    let (_, kind, tab) = arriving.remove(at);
                    let reply = match kind {
                        "who" => tab.get("/who").await,
                        "set" => tab.post("/set/cart/tea").await,
                        "login" => tab.post("/login/alice").await,
                        "bob" => tab.post("/login/bob").await,
                        "remember" => tab.post("/remember/alice").await,
                        _ => tab.post("/elevate").await,
                    };
                    log.push(format!(
                        "{episode} {now} {kind}: {} {} {:?}",
                        reply.status,
                        reply.text,
                        reply.cookies.iter().map(|c| &c[..36]).collect::<Vec<_>>()
                    ));
                    answers.push((now + rng.u64(..most), reply.cookies));
                } else if let Some(at) = answers.iter().position(|a| a.0 == now) {
                    for cookie in answers.remove(at).1 {
                        log.push(format!("{episode} {now} keep {}", &cookie[..36]));
                        browser.keep(&cookie);
                    }
                }
            }
            server.clock.advance(Duration::from_secs(rng.u64(..600)));
            assert_ne!(browser.get("/who").await.text, "nobody", "round {round} {log:#?}");
        }
    }
}
