//! What a review found by trying to break it: each test stands for something that once went wrong.

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
