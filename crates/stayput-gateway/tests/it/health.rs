//! Servers that fail their checks, their requests, or say nothing: who is taken out, what becomes of those who wait there,
//! and that a bad check empties no pool.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use stayput_gateway::{Check, CheckKind, Config, OnReturn, PoolConfig, SiteConfig};

use crate::support::{Connection, OK, TestGateway, Upstream, named, wait_until};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n";
const DOWN: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

/// A server whose condition can be changed.
struct Server {
    upstream: Upstream,
    is_well: Arc<AtomicBool>,
    checks: Arc<AtomicUsize>,
}

impl Server {
    /// Answers its name; while it isn't well, checks get this answer instead.
    fn new(name: &str, when_unwell: &'static [u8]) -> Self {
        let (is_well, checks) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (its, count) = (is_well.clone(), checks.clone());
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        let upstream = Upstream::custom(move |mut connection| {
            while let Some(request) = connection.request() {
                let is_check = request.head.contains("User-Agent: stayput-check");
                count.fetch_add(usize::from(is_check), SeqCst);
                connection.send(if is_check && !its.load(SeqCst) { when_unwell } else { answer.as_bytes() });
            }
        });
        Self { upstream, is_well, checks }
    }

    fn is_well(&self, is_well: bool) {
        self.is_well.store(is_well, SeqCst);
    }
}

fn servers(count: usize) -> Vec<Server> {
    (0..count).map(|index| Server::new(&format!("s{index}"), DOWN.as_bytes())).collect()
}

fn quick(check: Check) -> Check {
    Check { interval: Duration::from_millis(20), timeout: Duration::from_millis(100), ..check }
}

fn checked_with(check: Check) -> impl FnOnce(&mut Config) {
    |config| config.site.pools[0].health.check = Some(quick(check))
}

fn gateway(servers: &[Server], configure: impl FnOnce(&mut Config)) -> TestGateway {
    let upstreams: Vec<_> = servers.iter().map(|server| &server.upstream).collect();
    TestGateway::with(&upstreams, configure)
}

fn is_out(gateway: &TestGateway, index: usize) -> bool {
    gateway.status(index).is_out
}

fn why(gateway: &TestGateway, index: usize) -> String {
    gateway.status(index).check.and_then(|check| check.why).unwrap_or_default()
}

#[test]
fn a_server_that_fails_its_check_is_taken_out_and_is_back_when_it_passes() {
    let servers = servers(3);
    let gateway = gateway(&servers, checked_with(Check::http("/health?deep")));
    let cookie = gateway.cookie("s1");
    wait_until("the first check has passed", || {
        gateway.status(1).check.is_some_and(|check| check.is_passing)
    });
    servers[1].is_well(false);
    wait_until("it is out", || is_out(&gateway, 1));
    assert_eq!(why(&gateway, 1), "it answered 503");
    let moved = gateway.get(&cookie);
    assert!(moved.text() != "s1" && moved.set_cookie().is_some(), "its clients are moved, and pinned there");
    assert!((0..30).all(|_| gateway.get("").text() != "s1"));
    servers[1].is_well(true);
    wait_until("it is in again", || !is_out(&gateway, 1));
    assert_eq!(gateway.get(&cookie).text(), "s1");
    assert_eq!(why(&gateway, 1), "");

    let seen = servers[1].upstream.seen();
    let check = seen.requests.iter().find(|request| request.head.contains("stayput-check")).unwrap();
    let host = format!("Host: {}\r\n", servers[1].upstream.address);
    assert!(check.head.starts_with("GET /health?deep HTTP/1.1\r\n") && check.head.contains(&host));
    assert!(check.head.contains("Connection: close\r\n"), "{}", check.head);
}

#[test]
fn a_check_that_fails_everywhere_empties_nothing() {
    let servers = servers(3);
    for server in &servers {
        server.is_well(false);
    }
    let gateway = gateway(&servers, checked_with(Check::http("/no-such-page")));
    wait_until("all fail", || {
        (0..3).all(|index| gateway.status(index).check.is_some_and(|check| !check.is_passing))
    });
    wait_until("nobody is believed", || gateway.status(0).are_verdicts_ignored);
    for index in 0..3 {
        assert!(!is_out(&gateway, index));
        let answer = gateway.get(&gateway.cookie(&format!("s{index}")));
        assert_eq!(answer.text(), format!("s{index}"), "everybody stays where they are");
    }
    servers[0].is_well(true);
    wait_until("one is believed", || !gateway.status(0).are_verdicts_ignored);
    wait_until("the others are out, as far as they can be missed", || {
        is_out(&gateway, 1) && is_out(&gateway, 2)
    });
}

#[test]
fn servers_that_answer_checks_with_anything_but_http_fail_them_and_say_why() {
    let cases: [(&'static [u8], &str); 4] = [
        (b"SSH-2.0-OpenSSH_9.9\r\n", "its answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: y", "it did not answer within 100ms"),
        (b"", "it did not answer within 100ms"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "it answered 404"),
    ];
    for (answer, expected) in cases {
        let servers = [Server::new("s0", answer), Server::new("s1", answer)];
        let gateway = gateway(&servers, checked_with(Check::http("/")));
        servers[0].is_well(false);
        wait_until("it is out", || is_out(&gateway, 0));
        assert_eq!(why(&gateway, 0), expected);
        assert_eq!(gateway.get("").text(), "s1");
    }
}

/// Answers requests, and does this to checks.
fn checked(does: impl Fn(&mut Connection) + Send + Sync + 'static) -> Upstream {
    Upstream::custom(move |mut connection| {
        while let Some(request) = connection.request() {
            if request.head.contains("stayput-check") {
                return does(&mut connection);
            }
            connection.send(OK);
        }
    })
}

#[test]
fn an_answer_to_a_check_that_never_ends_or_drips_or_breaks_off_fails_it() {
    let endless = checked(|connection| {
        connection.send("HTTP/1.1 200 OK\r\n");
        while connection
            .stream
            .write_all(b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n")
            .is_ok()
        {}
    });
    let dripping = checked(|connection| {
        while connection.stream.write_all(b"H").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let closing = checked(|_| {});
    for (upstream, expected) in
        [(endless, "no HTTP|no end"), (dripping, "no HTTP|within 100ms"), (closing, "without an answer")]
    {
        let gateway = TestGateway::with(&[&upstream, &Upstream::ok()], checked_with(Check::http("/")));
        wait_until("it fails", || gateway.status(0).check.is_some_and(|check| !check.is_passing));
        let why = why(&gateway, 0);
        assert!(expected.split('|').any(|part| why.contains(part)), "{why}");
    }
}

#[test]
fn a_tcp_check_sees_who_listens_and_statuses_and_host_are_as_configured() {
    let servers = servers(2);
    let tcp = gateway(&servers, checked_with(Check::tcp()));
    wait_until("it passes", || tcp.status(0).check.is_some_and(|check| check.is_passing));
    servers[0].upstream.kill();
    wait_until("it is out", || is_out(&tcp, 0));
    assert!(why(&tcp, 0).starts_with("it can't be reached: "), "{}", why(&tcp, 0));

    let servers = self::servers(2);
    servers[1].is_well(false);
    let kind = CheckKind::Http { path: "/".into(), host: Some("shop.example".into()), statuses: 503..=503 };
    let teapot = gateway(&servers, checked_with(Check { kind, ..Check::tcp() }));
    wait_until("who answers 200 is out", || is_out(&teapot, 0) && !is_out(&teapot, 1));
    wait_until("it was asked", || servers[1].checks.load(SeqCst) > 0);
    assert!(servers[1].upstream.request(0).head.contains("Host: shop.example\r\n"));
}

#[test]
fn verdicts_outlive_a_reload_and_end_with_the_check() {
    let servers = servers(2);
    servers[0].is_well(false);
    let gateway = gateway(&servers, checked_with(Check::http("/")));
    wait_until("it is out", || is_out(&gateway, 0));
    let reload = |check: Option<Check>| {
        let addresses: Vec<_> = servers.iter().map(|server| server.upstream.address).collect();
        let mut pool = PoolConfig::new(named(&addresses));
        pool.health.check = check;
        gateway.control().reload(SiteConfig::new(vec![pool]), gateway.keyring()).unwrap();
    };
    reload(Some(quick(Check::http("/"))));
    assert!(is_out(&gateway, 0), "nobody has to find that out anew");
    reload(Some(quick(Check::tcp())));
    wait_until("another check sees it otherwise", || !is_out(&gateway, 0));
    reload(Some(quick(Check::http("/"))));
    wait_until("and the first one as before", || is_out(&gateway, 0));
    reload(None);
    wait_until("nothing is held against it", || !is_out(&gateway, 0) && gateway.status(0).check.is_none());
}

#[test]
fn a_reload_begins_and_ends_checks() {
    let servers = servers(2);
    let gateway = gateway(&servers[..1], |_| {});
    let mut pool = PoolConfig::new(named(&[servers[1].upstream.address]));
    pool.health.check = Some(quick(Check::http("/")));
    gateway.control().reload(SiteConfig::new(vec![pool]), gateway.keyring()).unwrap();
    wait_until("the new one is checked", || servers[1].checks.load(SeqCst) > 2);
    assert_eq!(servers[0].checks.load(SeqCst), 0);
    let none = SiteConfig::new(vec![PoolConfig::new(named(&[servers[0].upstream.address]))]);
    gateway.control().reload(none, gateway.keyring()).unwrap();
    wait_until("its checks end", || {
        let before = servers[1].checks.load(SeqCst);
        thread::sleep(Duration::from_millis(100));
        servers[1].checks.load(SeqCst) == before
    });
}

#[test]
fn checks_end_with_the_gateway_be_it_shut_down_or_dropped() {
    for shuts_down in [true, false] {
        let servers = servers(1);
        let gateway = gateway(&servers, checked_with(Check::http("/")));
        wait_until("it is checked", || servers[0].checks.load(SeqCst) > 0);
        if shuts_down {
            gateway.shut_down(Duration::from_secs(5)).join().unwrap();
        } else {
            drop(gateway);
        }
        wait_until("checks have ended", || {
            let before = servers[0].checks.load(SeqCst);
            thread::sleep(Duration::from_millis(100));
            servers[0].checks.load(SeqCst) == before
        });
    }
}

/// Answers until it hangs; then it takes connections and requests, and says nothing.
fn hanging(name: &'static str) -> (Upstream, Arc<AtomicBool>) {
    let hangs = Arc::new(AtomicBool::new(false));
    let its = hangs.clone();
    let upstream = Upstream::custom(move |mut connection| {
        while connection.request().is_some() {
            while its.load(SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{name}"));
        }
    });
    (upstream, hangs)
}

#[test]
fn who_waits_for_a_hung_server_is_rescued_unless_the_request_may_have_been_acted_on() {
    for is_checked in [false, true] {
        let ((hung, hangs), there) =
            (hanging("s0"), Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ns1"));
        let gateway = TestGateway::with(&[&hung, &there], |config| {
            let health = &mut config.site.pools[0].health;
            if is_checked {
                (health.check, health.silence) = (Some(quick(Check::http("/"))), None);
            } else {
                health.silence = Some(Duration::from_secs(1));
            }
            config.site.timeouts.answer = Duration::from_mins(1);
        });
        let cookie = gateway.cookie("s0");
        assert_eq!(gateway.get(&cookie).text(), "s0");
        hangs.store(true, SeqCst);
        let mut post = gateway.connect();
        post.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{cookie}Content-Length: 5\r\n\r\nhello"));
        let mut gets: Vec<_> = (0..3).map(|_| gateway.connect()).collect();
        for get in &mut gets {
            get.send(format!("{GET}{cookie}\r\n"));
        }
        for get in &mut gets {
            let answer = get.answer();
            assert_eq!(answer.text(), "s1", "checked: {is_checked}");
            assert!(answer.set_cookie().is_some());
        }
        let status = gateway.status(0);
        assert!(status.is_out, "{status:?}");
        assert_eq!((status.retries, status.ejections), (3, u64::from(!is_checked)));
        assert!(there.seen().requests.iter().all(|request| request.head.starts_with("GET")));
        // It was never answered by anybody else.
        hangs.store(false, SeqCst);
        assert_eq!(post.answer().text(), "s0");
    }
}

#[test]
fn a_server_that_lets_requests_wait_but_gives_a_sign_of_life_keeps_them() {
    let is_over = Arc::new(AtomicBool::new(false));
    let (its, asked) = (is_over.clone(), Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    // As one does that answers when there is news.
    let polled = Upstream::custom(move |mut connection| {
        while let Some(request) = connection.request() {
            if request.head.starts_with("OPTIONS * ") {
                count.fetch_add(1, SeqCst);
                return connection.send("HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n");
            }
            while !its.load(SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            connection.send(OK);
        }
    });
    let other = Upstream::ok();
    let gateway = TestGateway::with(&[&polled, &other], |config| {
        config.site.pools[0].health.silence = Some(Duration::from_secs(1));
    });
    let cookie = gateway.cookie("s0");
    let mut waiting: Vec<_> = (0..4).map(|_| gateway.connect()).collect();
    for client in &mut waiting {
        client.send(format!("{GET}{cookie}\r\n"));
    }
    wait_until("it was asked twice", || asked.load(SeqCst) >= 2);
    assert!(!is_out(&gateway, 0) && gateway.status(0).ejections == 0);
    is_over.store(true, SeqCst);
    assert!(waiting.iter_mut().all(|client| client.answer().set_cookie().is_none()));
    assert_eq!(other.count(), 0);
}

/// Says nothing for as long as it is told to, then begins an answer that it never ends; counts who asks for a sign of life.
fn late() -> (Upstream, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let (begins, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (its, count) = (begins.clone(), asked.clone());
    let upstream = Upstream::custom(move |mut connection| {
        while let Some(request) = connection.request() {
            if request.head.starts_with("OPTIONS * ") {
                count.fetch_add(1, SeqCst);
                return connection.send("HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n");
            }
            while !its.load(SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx");
        }
    });
    (upstream, begins, asked)
}

#[test]
fn a_late_answer_that_has_begun_may_take_its_time() {
    let ((streams, begins, asked), (hangs, _, others_asked)) = (late(), late());
    let gateway = TestGateway::with(&[&streams, &hangs], |config| {
        config.site.pools[0].health.silence = Some(Duration::from_secs(1));
    });
    let send_to = |name| {
        let cookie = gateway.cookie(name);
        let mut clients: Vec<_> = (0..3).map(|_| gateway.connect()).collect();
        for client in &mut clients {
            client.send(format!("{GET}{cookie}\r\n"));
        }
        clients
    };
    let mut waiting = send_to("s0");
    wait_until("it is asked for a sign of life", || asked.load(SeqCst) > 0);
    begins.store(true, SeqCst);
    for client in &mut waiting {
        assert_eq!(client.answer_head().status, 200);
    }
    let before = asked.load(SeqCst);
    let _others = send_to("s1");
    // Servers that give no sign are asked in the same round.
    wait_until("the other one is asked, twice", || others_asked.load(SeqCst) >= 2);
    assert_eq!(asked.load(SeqCst), before);
}

/// Breaks off after each request while it fails.
fn breaking() -> (Upstream, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(true));
    let its = fails.clone();
    let upstream = Upstream::custom(move |mut connection| {
        while connection.request().is_some() {
            if its.load(SeqCst) {
                return;
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ns0");
        }
    });
    (upstream, fails)
}

#[test]
fn a_server_that_fails_its_requests_is_ejected_and_one_answer_brings_it_back() {
    let ((broken, fails), there) = (breaking(), Upstream::ok());
    let gateway = TestGateway::with(&[&broken, &there], |config| {
        config.site.pools[0].health.ejection = Duration::from_millis(300);
    });
    let cookie = gateway.cookie("s0");
    for failed in 0..5 {
        assert!(!is_out(&gateway, 0), "after {failed}");
        assert_eq!(gateway.get(&cookie).text(), "ok");
    }
    let status = gateway.status(0);
    assert!(status.is_out && status.ejections == 1 && status.ejected_for.is_some(), "{status:?}");
    assert_eq!(status.last_failure, Some("it broke off before an answer"));
    // A request that is tried on it fails there, and it is ejected for longer.
    wait_until("it is ejected again", || {
        gateway.get(&cookie).text() == "ok" && gateway.status(0).ejections == 2
    });
    assert_eq!(broken.count(), 6);
    fails.store(false, SeqCst);
    wait_until("one is tried on it and answered", || gateway.get(&cookie).text() == "s0");
    // The client has its answer a moment before that is noted.
    wait_until("it is in again", || !is_out(&gateway, 0));
    assert_eq!(gateway.status(0).ejected_for, None);
}

#[test]
fn a_post_is_not_the_request_that_is_tried() {
    let ((broken, _), there) = (breaking(), Upstream::ok());
    let gateway = TestGateway::with(&[&broken, &there], |config| {
        config.site.pools[0].health.ejection = Duration::from_millis(1);
    });
    let cookie = gateway.cookie("s0");
    (0..5).for_each(|_| _ = gateway.get(&cookie));
    wait_until("its time is over", || gateway.status(0).ejected_for.is_some_and(|left| left.is_zero()));
    for _ in 0..5 {
        let answer =
            gateway.ask(&format!("POST / HTTP/1.1\r\nHost: a\r\n{cookie}Content-Length: 5\r\n\r\nhello"));
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn answers_that_are_late_malformed_or_half_count_as_failures_and_503_only_if_that_is_wanted() {
    let cases: [(&'static str, bool); 5] = [
        ("", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", false),
        ("no HTTP\r\n\r\n", false),
        (DOWN, true),
        (DOWN, false),
    ];
    for (answer, gateway_errors) in cases {
        let failing = Upstream::custom(move |mut connection| {
            connection.request();
            connection.send(answer);
            if answer.is_empty() {
                connection.request();
            }
        });
        let gateway = TestGateway::with(&[&failing, &Upstream::ok()], |config| {
            config.site.pools[0].health.gateway_errors = gateway_errors;
            config.site.timeouts.answer = Duration::from_millis(20);
        });
        let cookie = gateway.cookie("s0");
        for _ in 0..5 {
            let mut client = gateway.connect();
            client.send(format!("{GET}{cookie}\r\n"));
            client.answer_head_or_end();
        }
        let is_failure = answer != DOWN || gateway_errors;
        if is_failure {
            wait_until("it is ejected", || is_out(&gateway, 0));
        }
        assert_eq!(gateway.status(0).ejections, u64::from(is_failure), "{answer:?} {gateway_errors}");
    }
}

#[test]
fn all_that_fail_are_used_as_if_none_did() {
    let [(one, _), (other, _)] = [breaking(), breaking()];
    let gateway = TestGateway::new(&[&one, &other]);
    for _ in 0..20 {
        assert_eq!(gateway.get("").status, 502);
    }
    assert!(gateway.status(0).are_verdicts_ignored && !is_out(&gateway, 0) && !is_out(&gateway, 1));
}

#[test]
fn a_client_comes_back_or_stays_as_the_pool_says_and_two_gateways_agree() {
    for on_return in [OnReturn::Back, OnReturn::Stay] {
        let servers = servers(4);
        let configure = |config: &mut Config| {
            let pool = &mut config.site.pools[0];
            pool.health.check = Some(quick(Check::http("/")));
            (pool.on_return, pool.slow_start) = (on_return, Duration::ZERO);
        };
        let one = gateway(&servers, configure);
        let addresses: Vec<_> = servers.iter().map(|server| server.upstream.address).collect();
        let other = one.sibling(named(&addresses), configure);
        let mut cookie = one.cookie("s2");
        servers[2].is_well(false);
        wait_until("it is out", || is_out(&one, 2) && is_out(&other, 2));
        let first = one.get(&cookie);
        match on_return {
            OnReturn::Back => {
                for gateway in [&one, &other].repeat(10) {
                    let answer = gateway.get(&cookie);
                    assert_eq!(answer.text(), first.text(), "always the same one");
                    assert!(answer.set_cookie().is_none());
                }
                assert_eq!(one.status(2).remaps, 0);
            }
            OnReturn::Stay => cookie = first.set_cookie().unwrap(),
        }
        servers[2].is_well(true);
        wait_until("it is back", || !is_out(&one, 2) && !is_out(&other, 2));
        let expected = if on_return == OnReturn::Back { "s2" } else { first.text() };
        assert_eq!(one.get(&cookie).text(), expected);
        assert_eq!(other.get(&cookie).text(), expected);
    }
}

#[test]
fn a_client_that_comes_back_is_pinned_elsewhere_when_its_server_is_gone_for_good() {
    let servers = servers(3);
    let back = |config: &mut Config| config.site.pools[0].on_return = OnReturn::Back;
    let gateway = gateway(&servers, back);
    let cookie = gateway.cookie("s2");
    gateway.control().drain("default", "s2", Some(Duration::ZERO)).unwrap();
    wait_until("the deadline is over", || gateway.get(&cookie).set_cookie().is_some());
    let fewer: Vec<_> = servers[..2].iter().map(|server| server.upstream.address).collect();
    let mut pool = PoolConfig::new(named(&fewer));
    pool.on_return = OnReturn::Back;
    gateway.control().reload(SiteConfig::new(vec![pool]), gateway.keyring()).unwrap();
    assert!(gateway.get(&cookie).set_cookie().is_some());
}
