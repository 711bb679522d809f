//! What a review found by trying to break it: each test stands for something that once went wrong.

use std::net::TcpListener;
use std::time::Duration;

use stayput_gateway::{AdminConfig, AdminToken, Config, Rule, UrlRule};

use crate::support::{Answer, Client, OK, TestGateway, Upstream, localhost, wait_until};

const TOKEN: &str = "a-token-for-these-tests";

fn with_admin(config: &mut Config) {
    let token = AdminToken::new(TOKEN).unwrap();
    config.admin = Some(AdminConfig { listen: localhost(), token, reload: None });
}

/// A connection to the admin interface that has asked for `path` with this token.
fn asking(gateway: &TestGateway, path: &str, token: &str) -> Client {
    let mut client = Client::connect(gateway.running().admin_addr().unwrap());
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"));
    client
}

fn told(gateway: &TestGateway, path: &str) -> Answer {
    asking(gateway, path, TOKEN).answer()
}

#[test]
fn a_page_whose_links_carry_the_route_counts_as_an_answer() {
    let page = "<a href=\"/b\">b</a>";
    let length = page.len();
    let upstream = Upstream::answering(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{page}"
    ));
    let gateway = TestGateway::with(&[&upstream], |config| {
        with_admin(config);
        let rule = UrlRule { html: true, ..UrlRule::default() };
        config.site.pools[0].affinity.rules = vec![Rule::Url(rule)];
    });
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(String::from_utf8(client.rest().unwrap()).unwrap().contains("stayput-route="));
    let metrics = told(&gateway, "/metrics");
    let line = "stayput_gateway_upstream_answers_total{pool=\"default\",upstream=\"s0\",code=\"2xx\"} 1";
    assert!(metrics.text().lines().any(|its| its == line), "{}", metrics.text());
}

#[test]
fn who_says_nothing_to_the_admin_interface_keeps_nobody_out_who_has_the_token() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::with(&[&upstream], with_admin);
    let address = gateway.running().admin_addr().unwrap();
    let _silent: Vec<_> = (0..80).map(|_| Client::connect(address)).collect();
    assert_eq!(told(&gateway, "/v1/status").status, 200);
}

#[test]
fn wrong_tokens_whose_senders_leave_are_forgotten() {
    let upstream = Upstream::ok();
    let gateway = TestGateway::with(&[&upstream], with_admin);
    let mut leaving: Vec<_> = (0..8).map(|_| asking(&gateway, "/", "a-token-that-is-wrong")).collect();
    wait_until("all of them wait", || asking(&gateway, "/", "a-wrong-one-at-once").answer().status == 429);
    leaving.clear();
    wait_until("there is room again to be answered late", || {
        asking(&gateway, "/", "a-token-that-is-wrong").answer().status == 401
    });
}

#[test]
fn a_client_that_keeps_servers_waiting_for_its_body_ejects_none() {
    // As those do that give up on a slow body without a word.
    let upstream = Upstream::custom(|mut connection| {
        let Some(head) = connection.head() else { return };
        if head.starts_with("GET") {
            connection.send(OK);
        }
    });
    let gateway = TestGateway::with(&[&upstream, &upstream], |config| {
        config.site.pools[0].health.failures = Some(1);
    });
    for _ in 0..3 {
        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
        assert_eq!(client.answer().status, 502);
    }
    let ejections: u64 = gateway.running().upstreams().iter().map(|its| its.ejections).sum();
    assert_eq!(ejections, 0);
}

#[test]
fn time_outs_beyond_the_end_of_time_are_refused_and_not_a_panic_later() {
    let upstream = Upstream::ok();
    let set: [fn(&mut Config); 6] = [
        |config| config.site.timeouts.answer = Duration::MAX,
        |config| config.site.timeouts.down = Duration::MAX,
        |config| config.site.timeouts.head = Duration::MAX,
        |config| config.site.pools[0].health.silence = Some(Duration::MAX),
        |config| config.site.pools[0].health.ejection = Duration::MAX,
        |config| {
            let check = stayput_gateway::Check { interval: Duration::MAX, ..stayput_gateway::Check::tcp() };
            config.site.pools[0].health.check = Some(check);
        },
    ];
    let gateway = TestGateway::new(&[&upstream]);
    for (index, set) in set.into_iter().enumerate() {
        let upstreams = crate::support::named(&[upstream.address]);
        let mut config = Config::new(localhost(), upstreams);
        set(&mut config);
        let refused = gateway.control().reload(config.site, gateway.keyring());
        assert!(refused.is_err_and(|mistakes| mistakes.len() == 1), "{index}");
    }
    assert_eq!(gateway.get("").status, 200);
}

#[test]
fn one_server_that_is_left_is_found_behind_any_number_that_refuse() {
    let upstream = Upstream::ok();
    let gone = || TcpListener::bind(localhost()).unwrap().local_addr().unwrap();
    let addresses: Vec<_> = (0..24).map(|_| gone()).chain([upstream.address]).collect();
    for _ in 0..10 {
        let gateway = TestGateway::at(&addresses, |_| {});
        assert_eq!(gateway.get("").status, 200);
    }
}
