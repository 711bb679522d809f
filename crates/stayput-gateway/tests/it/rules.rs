//! Clients by session, field, address and pin: who goes where, on one gateway and on several.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use stayput_core::{Clock, CookieValue, Generation, Keyring, SessionId, SystemRandom, Timestamp, Uptime};
use stayput_gateway::{Config, CookieRule, Rule, SessionFormat, SessionRule, UpstreamConfig};

use crate::support::{Client, TestGateway, Upstream, wait_until};

fn servers(n: usize) -> Vec<Upstream> {
    (0..n).map(|n| Upstream::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ns{n}"))).collect()
}

fn with_rules(servers: &[Upstream], rules: Vec<Rule>) -> TestGateway {
    TestGateway::with(&servers.iter().collect::<Vec<_>>(), |config| {
        config.site.pools[0].affinity.rules = rules;
    })
}

fn session(format: SessionFormat) -> Rule {
    Rule::Session(SessionRule { cookies: vec!["sid".into()], format })
}

fn trusting(config: &mut Config) {
    config.site.pools[0].affinity.rules = vec![Rule::Ip];
    config.site.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
}

#[test]
fn every_gateway_has_the_same_first_choice_whatever_the_order_in_its_configuration() {
    let servers = servers(5);
    let rules = || vec![session(SessionFormat::Whole), Rule::Header("X-Client".into()), Rule::Ip];
    let one = with_rules(&servers, rules());
    let mut turned: Vec<_> = servers
        .iter()
        .enumerate()
        .map(|(n, s)| UpstreamConfig::new(format!("s{n}"), s.address.into()))
        .collect();
    turned.reverse();
    turned.swap(1, 3);
    // Another keyring, too: what is hashed is hashed without a key.
    let other = TestGateway::new(&[&servers[0]])
        .sibling(turned, |config| config.site.pools[0].affinity.rules = rules());
    let mut shares = [0; 5];
    for client in 0..100 {
        for line in [format!("Cookie: sid={client}\r\n"), format!("X-Client: {client}\r\n")] {
            let (first, second) = (one.get(&line), other.get(&line));
            assert_eq!(first.text(), second.text(), "{line}");
            assert!(first.set_cookie().is_none() && !first.has("Cache-Control: private"));
            shares[usize::from(first.body[1] - b'0')] += 1;
        }
    }
    assert!(shares.iter().all(|&share| share > 15), "{shares:?}");
    assert_eq!(one.get("").text(), other.get("").text(), "by address");
}

#[test]
fn a_renewal_or_a_new_key_of_the_application_moves_nobody() {
    let servers = servers(5);
    let gateway = with_rules(&servers, vec![session(SessionFormat::Stayput)]);
    let [old, new] = [(); 2].map(|()| Keyring::generate(&SystemRandom));
    for _ in 0..20 {
        let id = SessionId::generate(&SystemRandom);
        let ask = |generation, keyring: &Keyring| {
            let value =
                CookieValue { id: id.clone(), generation: Generation(generation) }.encode("sid", keyring);
            gateway.get(&format!("Cookie: sid={value}\r\n"))
        };
        let first = ask(0, &old);
        for generation in 1..5 {
            assert_eq!(ask(generation, &old).text(), first.text());
            assert_eq!(ask(generation, &new).text(), first.text());
        }
    }
}

#[test]
fn hostile_session_cookies_are_answered_like_any_other() {
    let servers = servers(3);
    for format in [SessionFormat::Stayput, SessionFormat::Whole] {
        let gateway = with_rules(&servers, vec![session(format), Rule::Header("X-Client".into())]);
        let home = gateway.get("X-Client: me\r\n");
        let huge = "x".repeat(64 * 1024);
        for value in
            [huge.as_str(), &"sid=".repeat(10_000), &";".repeat(64 * 1024), "\u{1F6D1}", "\"", "=;=", ","]
        {
            assert_eq!(gateway.get(&format!("X-Client: me\r\nCookie: sid={value}\r\n")).status, 200);
        }
        // What can't be a session falls to the next rule.
        for cookies in ["Cookie: sid=1; sid=2\r\n", "Cookie: sid=1\r\nCookie: sid=2\r\n", "Cookie: sid=\r\n"]
        {
            assert_eq!(gateway.get(&format!("X-Client: me\r\n{cookies}")).text(), home.text(), "{cookies}");
        }
        assert_eq!(gateway.get("Cookie: sid=\0\r\n").status, 400);
    }
}

#[test]
fn behind_a_trusted_proxy_clients_go_by_the_address_that_it_reports() {
    let servers = servers(8);
    let gateway = TestGateway::with(&servers.iter().collect::<Vec<_>>(), trusting);
    let by = |address: &str| gateway.get(&format!("X-Forwarded-For: 6.6.6.6, {address}\r\n"));
    let spread: std::collections::BTreeSet<_> =
        (0..60).map(|n| by(&format!("192.0.2.{n}")).text().to_owned()).collect();
    assert_eq!(spread.len(), 8, "clients are told apart");
    for prefix in 0..20 {
        let (one, other) =
            (by(&format!("2001:db8:1:{prefix:x}00::1")), by(&format!("2001:db8:1:{prefix:x}ff::9")));
        assert_eq!(one.text(), other.text(), "a /56 is one client");
    }
    let ten: std::collections::BTreeSet<_> =
        (0..60).map(|n| by(&format!("2001:db8:1:{n:x}00::1")).text().to_owned()).collect();
    assert_eq!(ten.len(), 8, "and another /56 another one");
}

#[test]
fn upstreams_are_told_of_the_one_address_that_a_trusted_proxy_vouches_for() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::with(&[&upstream], trusting);
    let mut client = gateway.connect();
    for (told, expected) in [
        ("X-Forwarded-For: 6.6.6.6, 192.0.2.9, 127.0.0.7\r\n", "192.0.2.9"),
        ("X-Forwarded-For: 192.0.2.10\r\n", "192.0.2.10"),
        ("", "127.0.0.1"),
    ] {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{told}\r\n"));
        assert_eq!(client.answer().status, 200);
        let head = upstream.seen().requests.last().unwrap().head.clone();
        let lines: Vec<_> = head.lines().filter(|line| line.starts_with("X-Forwarded-For")).collect();
        assert_eq!(lines, [format!("X-Forwarded-For: {expected}")], "{told}");
    }
}

#[test]
fn what_an_untrusted_client_says_of_its_address_changes_nothing() {
    let servers = servers(8);
    let gateway = with_rules(&servers, vec![Rule::Ip]);
    let home = gateway.get("");
    for n in 0..40 {
        for line in [
            "X-Forwarded-For: 192.0.2.",
            "X-Real-IP: 192.0.2.",
            "Forwarded: for=192.0.2.",
            "x_forwarded_for: 192.0.2.",
        ] {
            assert_eq!(gateway.get(&format!("{line}{n}\r\n")).text(), home.text(), "{line}{n}");
        }
    }
    let seen: Vec<_> = servers.iter().flat_map(|server| server.seen().requests.clone()).collect();
    assert!(seen.iter().all(|request| !request.head.contains("192.0.2.")));
}

#[test]
fn weights_are_respected_by_pins_and_by_hashes() {
    for rule in [Rule::Cookie(CookieRule::default()), Rule::Header("X-Client".into())] {
        let servers = servers(3);
        let gateway = TestGateway::with(&servers.iter().collect::<Vec<_>>(), |config| {
            config.site.pools[0].affinity.rules = vec![rule];
            config.site.pools[0].upstreams[1].weight = 2;
            config.site.pools[0].upstreams[2].weight = 5;
        });
        for client in 0..400 {
            gateway.get(&format!("X-Client: {client}\r\n"));
        }
        let shares: Vec<_> = servers.iter().map(Upstream::count).collect();
        for (share, fair) in shares.iter().zip([50, 100, 250]) {
            assert!(share.abs_diff(fair) <= fair * 2 / 5, "{shares:?}");
        }
    }
}

/// Time that the test moves.
#[derive(Clone, Debug)]
struct Moved(Arc<AtomicU64>);

impl Moved {
    fn forward(&self, seconds: u64) {
        self.0.fetch_add(seconds * 1000, SeqCst);
    }
}

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(SeqCst))
    }

    fn uptime(&self) -> Uptime {
        Uptime::from_millis(self.0.load(SeqCst))
    }
}

fn timed(servers: &[Upstream], idle: Option<u64>, absolute: Option<u64>) -> (TestGateway, Moved) {
    let clock = Moved(Arc::new(AtomicU64::new(2_000_000_000_000)));
    let gateway = TestGateway::with(&servers.iter().collect::<Vec<_>>(), |config| {
        let [idle_timeout, absolute_timeout] = [idle, absolute].map(|limit| limit.map(Duration::from_secs));
        let rule = CookieRule { idle_timeout, absolute_timeout, ..CookieRule::default() };
        config.site.pools[0].affinity.rules = vec![Rule::Cookie(rule)];
        config.clock = Arc::new(clock.clone());
    });
    (gateway, clock)
}

#[test]
fn a_pin_in_use_is_written_again_only_when_that_is_due_and_ends_when_it_was_idle() {
    let servers = servers(3);
    let (gateway, clock) = timed(&servers, Some(1000), None);
    let first = gateway.get("");
    let cookie = first.set_cookie().unwrap();
    clock.forward(99);
    assert!(gateway.get(&cookie).set_cookie().is_none());
    clock.forward(1);
    let due = gateway.get(&cookie);
    let renewed = due.set_cookie().expect("it is due");
    assert!(due.has("Cache-Control: private") && renewed != cookie);
    assert_eq!(due.text(), first.text());
    clock.forward(900);
    // Nobody can make the old one out of the new one, or put its use off.
    assert_eq!(gateway.get(&renewed).text(), first.text());
    let pins = || (0..3).map(|index| gateway.status(index).pins).sum::<u64>();
    wait_until("the pin is counted", || pins() == 1);
    let ended = gateway.get(&cookie);
    assert!(ended.set_cookie().is_some());
    wait_until("the new pin is counted", || pins() == 2);
}

#[test]
fn a_pin_ends_at_its_absolute_timeout_though_it_is_used_all_the_time() {
    let servers = servers(3);
    let (gateway, clock) = timed(&servers, Some(100), Some(1000));
    let pins = || (0..3).map(|index| gateway.status(index).pins).sum::<u64>();
    let mut cookie = gateway.get("").set_cookie().unwrap();
    for _ in 0..19 {
        clock.forward(50);
        cookie = gateway.get(&cookie).set_cookie().expect("it is due");
    }
    assert_eq!(pins(), 1);
    clock.forward(50);
    assert!(gateway.get(&cookie).set_cookie().is_some());
    wait_until("the new pin is counted", || pins() == 2);
}

#[test]
fn a_token_of_a_gateway_that_knows_more_servers_is_served_and_rewritten() {
    let servers = servers(3);
    let gateway = TestGateway::new(&servers[..2].iter().collect::<Vec<_>>());
    let all = servers.iter().enumerate().map(|(n, s)| UpstreamConfig::new(format!("s{n}"), s.address.into()));
    let newer = gateway.sibling(all.collect(), |_| {});
    let cookie = newer.cookie("s2");
    assert_eq!(newer.get(&cookie).text(), "s2");
    let answer = gateway.get(&cookie);
    let rewritten = answer.set_cookie().expect("it is rewritten");
    assert!(answer.status == 200 && answer.text() != "s2");
    let back = newer.get(&rewritten);
    assert!(back.text() == answer.text() && back.set_cookie().is_none(), "all honour the same tokens");
}

/// Servers that hold each request until the test ends.
fn holding(n: usize) -> Vec<Upstream> {
    (0..n).map(|_| Upstream::custom(|mut connection| while connection.request().is_some() {})).collect()
}

fn hold(gateway: &TestGateway, servers: &[Upstream], line: &str) -> (Client, usize) {
    let before: Vec<_> = servers.iter().map(Upstream::count).collect();
    let mut client = gateway.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n"));
    let mut at = None;
    wait_until("the request has come somewhere", || {
        at = (0..servers.len()).find(|&index| servers[index].count() > before[index]);
        at.is_some()
    });
    (client, at.unwrap())
}

#[test]
fn a_copied_token_does_not_aim_a_crowd_at_one_server() {
    let servers = holding(4);
    let gateway = TestGateway::new(&servers.iter().collect::<Vec<_>>());
    let cookie = gateway.cookie("s2");
    let crowd: Vec<_> = (0..40).map(|_| hold(&gateway, &servers, &cookie)).collect();
    assert!(crowd.iter().all(|(_, at)| *at == 2), "for a moment they are together");
    let mut next = None;
    wait_until("a pin yields", || {
        next = Some(hold(&gateway, &servers, &cookie));
        gateway.status(2).yields > 0
    });
    assert_ne!(next.unwrap().1, 2);
}

#[test]
fn clients_of_one_hash_spill_to_the_next_in_their_order_and_it_is_counted() {
    let servers = holding(4);
    let gateway = with_rules(&servers, vec![Rule::Header("X-Client".into())]);
    let crowd: Vec<_> = (0..40).map(|_| hold(&gateway, &servers, "X-Client: me\r\n")).collect();
    let home = crowd[0].1;
    assert!(crowd[..8].iter().all(|(_, at)| *at == home), "a browser's few connections stay together");
    let mut shares = [0; 4];
    for (_, at) in &crowd {
        shares[*at] += 1;
    }
    assert!(shares.iter().all(|share| (4..=13).contains(share)), "{shares:?}");
    assert_eq!(gateway.status(home).spills, 40 - shares[home]);
    // Those who spilled first all went to the same one.
    let second = crowd[8].1;
    assert!(second != home && crowd[8..12].iter().all(|(_, at)| *at == second || *at == home));
}

#[test]
fn a_dead_servers_clients_by_hash_move_to_the_next_in_their_order() {
    let servers = servers(3);
    let gateway = with_rules(&servers, vec![Rule::Header("X-Client".into())]);
    let home = |client: usize| gateway.get(&format!("X-Client: {client}\r\n")).text().to_owned();
    let before: Vec<_> = (0..40).map(home).collect();
    servers[1].kill();
    let after: Vec<_> = (0..40).map(home).collect();
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || before == "s1" && after != "s1", "{before} to {after}");
    }
    assert_eq!((0..40).map(home).collect::<Vec<_>>(), after, "they stay there");
}
