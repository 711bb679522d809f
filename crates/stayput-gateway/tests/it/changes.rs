//! What changes while the gateway runs: who is in a pool, who drains, which pool is whose. Nobody is turned away by it.

use std::thread;
use std::time::Duration;

use stayput_gateway::{
    AffinityConfig, ChangeError, ConfigMistake, CookieRule, PoolConfig, Rule, SiteConfig, UnknownUpstream,
    UpstreamConfig,
};

use crate::support::{OK, TestGateway, Upstream, named, wait_until};

fn three() -> [Upstream; 3] {
    [0, 1, 2]
        .map(|index| Upstream::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ns{index}")))
}

fn site(upstreams: &[&Upstream]) -> SiteConfig {
    let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
    SiteConfig::new(vec![PoolConfig::new(named(&addresses))])
}

#[test]
fn upstreams_are_added_and_taken_away_and_who_stays_keeps_clients_and_connections() {
    let servers = three();
    let gateway = TestGateway::new(&[&servers[0], &servers[1]]);
    let cookies = ["s0", "s1"].map(|name| gateway.cookie(name));
    let mut client = gateway.connect();
    let ask = |cookie: &String| format!("GET / HTTP/1.1\r\nHost: a\r\n{cookie}\r\n");
    client.send(ask(&cookies[0]));
    assert_eq!(client.answer().text(), "s0");

    gateway.control().reload(site(&[&servers[0], &servers[1], &servers[2]]), gateway.keyring()).unwrap();
    client.send(ask(&gateway.cookie("s2")));
    let answer = client.answer();
    assert!(answer.text() == "s2" && answer.set_cookie().is_none(), "on a connection from before, too");
    assert_eq!(gateway.status(0).requests, 1, "it goes on counting");

    // Of three only the first is left, and the others' clients are moved.
    gateway.control().reload(site(&[&servers[0]]), gateway.keyring()).unwrap();
    client.send(ask(&cookies[1]));
    let answer = client.answer();
    assert!(answer.text() == "s0" && answer.set_cookie().is_some());
    client.send(ask(&cookies[0]));
    assert_eq!(client.answer().text(), "s0");
    assert_eq!(servers[0].seen().connections, 1, "its connection is the one from the beginning");
}

#[test]
fn a_request_in_flight_ends_as_it_began_whatever_changes_meanwhile() {
    let slow = Upstream::custom(|mut connection| {
        connection.head();
        connection.take(5);
        connection.send(OK);
    });
    let other = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother");
    let gateway = TestGateway::new(&[&slow]);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    wait_until("it is with the upstream", || slow.seen().connections == 1);
    gateway.control().reload(site(&[&other]), gateway.keyring()).unwrap();
    assert_eq!(gateway.get("").text(), "other");
    client.send("hello");
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn a_configuration_with_mistakes_changes_nothing_and_names_them_all() {
    let servers = three();
    let gateway = TestGateway::new(&[&servers[0]]);
    let mut wrong = site(&[&servers[1], &servers[2]]);
    wrong.pools[0].upstreams[0].weight = 0;
    wrong.pools[0].upstreams[1].address = gateway.address.into();
    let mistakes = gateway.control().reload(wrong, gateway.keyring()).unwrap_err();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert_eq!(gateway.get("").text(), "s0");
}

#[test]
fn a_draining_upstream_keeps_its_clients_until_the_deadline_and_gets_no_new_ones() {
    let servers = three();
    let gateway = TestGateway::new(&servers.each_ref());
    let cookie = gateway.cookie("s1");
    gateway.control().drain("default", "s1", None).unwrap();
    assert!(gateway.status(1).is_draining);
    assert!((0..50).all(|_| gateway.get("").text() != "s1"));
    assert_eq!(gateway.get(&cookie).text(), "s1");

    gateway.control().drain("default", "s1", Some(Duration::from_millis(1))).unwrap();
    wait_until("the deadline is over", || gateway.get(&cookie).text() != "s1");
    assert!(gateway.get(&cookie).set_cookie().is_some(), "its clients are moved");

    gateway.control().stop_draining("default", "s1").unwrap();
    assert_eq!(gateway.get(&cookie).text(), "s1");
    let unknown = gateway.control().drain("default", "s9", None).unwrap_err();
    assert_eq!(
        unknown,
        ChangeError::UnknownUpstream(UnknownUpstream {
            pool: "default".into(),
            upstream: "s9".into(),
            known: vec!["s0".into(), "s1".into(), "s2".into()],
        })
    );
}

#[test]
fn who_drains_goes_on_where_nobody_else_is_left() {
    for rules in [vec![Rule::Cookie(CookieRule::default())], vec![Rule::Ip]] {
        let servers = three();
        let gateway = TestGateway::with(&[&servers[0], &servers[1]], |config| {
            config.site.pools[0].affinity.rules = rules;
        });
        gateway.control().drain("default", "s1", None).unwrap();
        servers[0].kill();
        assert_eq!(gateway.get("").text(), "s1");
    }
}

#[test]
fn a_reload_does_not_end_draining() {
    let servers = three();
    let gateway = TestGateway::new(&servers.each_ref());
    gateway.control().drain("default", "s1", None).unwrap();
    gateway.control().reload(site(&servers.each_ref()), gateway.keyring()).unwrap();
    assert!(gateway.status(1).is_draining);
}

fn pool(name: &str, hosts: &[&str], paths: &[&str], upstream: &Upstream) -> PoolConfig {
    let list = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let cookie = CookieRule { name: format!("affinity-{name}"), ..CookieRule::default() };
    let mut pool = PoolConfig::new(vec![UpstreamConfig::new("s", upstream.address.into())]);
    (pool.name, pool.hosts, pool.paths) = (name.into(), list(hosts), list(paths));
    pool.affinity.rules = vec![Rule::Cookie(cookie)];
    pool
}

#[test]
fn pools_are_found_by_host_and_path_and_what_is_nobodys_is_404() {
    let servers = three();
    let gateway = TestGateway::with(&[], |config| {
        config.site.pools = vec![
            pool("shop", &["shop.example"], &[], &servers[0]),
            pool("api", &["shop.example"], &["/api"], &servers[1]),
            pool("rest", &["*.example"], &[], &servers[2]),
        ];
    });
    let get = |host: &str, path: &str| {
        let answer = gateway.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        (answer.status, answer.text().to_owned(), answer.head)
    };
    for (host, path, name) in [
        ("shop.example", "/", "s0"),
        ("SHOP.example:81", "/apis", "s0"),
        ("shop.example", "/api?x", "s1"),
        ("a.example", "/api", "s2"),
    ] {
        assert_eq!(get(host, path).1, name, "{host}{path}");
    }
    assert!(get("shop.example", "/api").2.contains("Set-Cookie: affinity-api="));
    let (status, text, _) = get("other", "/");
    assert_eq!((status, text.trim()), (404, "There is no application at this host and path."));
    // An absolute target counts before the `Host` field.
    assert_eq!(gateway.ask("GET http://a.example/ HTTP/1.1\r\nHost: shop.example\r\n\r\n").text(), "s2");
}

#[test]
fn no_upstream_sees_another_pools_affinity_cookie() {
    let (servers, hash) = (three(), vec![Rule::Ip]);
    let gateway = TestGateway::with(&[], |config| {
        let hashed =
            PoolConfig { affinity: AffinityConfig { rules: hash }, ..pool("ip", &[], &["/ip"], &servers[2]) };
        config.site.pools =
            vec![pool("shop", &[], &[], &servers[0]), pool("api", &[], &["/api"], &servers[1]), hashed];
    });
    let get =
        |path: &str, cookies: &str| gateway.ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n{cookies}\r\n"));
    let set = |path: &str| {
        let head = get(path, "").head;
        let line = head.lines().find_map(|line| line.strip_prefix("Set-Cookie: ")).unwrap();
        line.split(';').next().unwrap().to_owned()
    };
    let cookies = format!("Cookie: a=1; {}; {}; b=2\r\n", set("/"), set("/api"));
    for (path, server, before) in [("/", 0, 1), ("/api/x", 1, 1), ("/ip", 2, 0)] {
        let answer = get(path, &cookies);
        assert!(!answer.head.contains("Set-Cookie"), "each has its own: {}", answer.head);
        assert!(servers[server].request(before).head.contains("\r\nCookie: a=1; b=2\r\n"), "{path}");
    }
}

#[test]
fn pools_that_a_browser_meets_under_one_host_need_cookies_of_their_own() {
    let servers = three();
    let gateway = TestGateway::new(&[&servers[0]]);
    let pools = |one: &[&str], other: &[&str]| {
        let mut pools = vec![pool("a", one, &["/a"], &servers[0]), pool("b", other, &["/b"], &servers[1])];
        for pool in &mut pools {
            pool.affinity.rules = vec![Rule::Cookie(CookieRule::default())];
        }
        gateway.control().reload(SiteConfig::new(pools), gateway.keyring())
    };
    for (one, other) in [
        (&["x.example"][..], &["X.example"][..]),
        (&[], &["x.example"]),
        (&["*.example"], &["*.x.example"]),
        (&["a", "x.example"], &["*.example"]),
    ] {
        let mistakes = pools(one, other).unwrap_err();
        assert_eq!(
            mistakes,
            [ConfigMistake::SameAffinityCookie("a".into(), "b".into())],
            "{one:?} {other:?}"
        );
    }
    for (one, other) in [(&["x.example"], &["y.example"]), (&["example"], &["*.example"])] {
        pools(one, other).unwrap();
    }
}

#[test]
fn changes_under_load_fail_no_request() {
    let servers = three();
    let gateway = TestGateway::new(&servers.each_ref());
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = gateway.connect();
                    for _ in 0..500 {
                        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
                        assert_eq!(client.answer().status, 200);
                    }
                })
            })
            .collect();
        let all = servers.each_ref();
        for turn in (0..3).cycle() {
            if clients.iter().all(thread::ScopedJoinHandle::is_finished) {
                return;
            }
            let some: Vec<_> = all.iter().enumerate().filter(|(n, _)| *n != turn).map(|(_, s)| *s).collect();
            gateway.control().reload(site(&some), gateway.keyring()).unwrap();
        }
    });
}
