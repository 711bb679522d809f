//! The admin interface: whom it answers, what it changes, and what it says when it can't.

use std::sync::{Arc, Mutex};
use std::thread;

use stayput_gateway::{
    AdminConfig, AdminToken, ConfigMistake, PoolConfig, Reload, ReloadError, Reloaded, SiteConfig,
};

use crate::support::{Answer, Client, OK, TestGateway, Upstream, localhost, named, wait_until};

const TOKEN: &str = "a-token-for-these-tests";

struct Admin {
    gateway: TestGateway,
    servers: [Upstream; 3],
}

impl Admin {
    /// A gateway in front of the first two of three upstreams.
    fn new() -> Self {
        Self::with(None)
    }

    fn with(reload: Option<Reload>) -> Self {
        let servers = [0, 1, 2].map(|n| Upstream::answering(OK.replace("ok", &format!("s{n}"))));
        let gateway = TestGateway::with(&[&servers[0], &servers[1]], |config| {
            let token = AdminToken::new(TOKEN).unwrap();
            config.admin = Some(AdminConfig { listen: localhost(), token, reload });
        });
        Self { gateway, servers }
    }

    fn send(&self, method: &str, path: &str, field: &str, body: &str) -> Answer {
        let mut client = Client::connect(self.gateway.running().admin_addr().unwrap());
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\n{field}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let answer = client.rest().unwrap();
        let text = String::from_utf8(answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer { status: head[9..12].parse().unwrap(), head: head.to_owned(), body: body.into() }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let answer = self.send(method, path, &format!("Authorization: Bearer {TOKEN}\r\n"), body);
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    fn upstream(&self, name: &str) -> serde_json::Value {
        let (status, all) = self.ask("GET", "/v1/status", "");
        assert_eq!(status, 200);
        let upstreams = all["pools"][0]["upstreams"].as_array().unwrap().clone();
        upstreams.into_iter().find(|its| its["name"] == name).unwrap_or_default()
    }
}

#[test]
fn nothing_is_told_or_done_without_the_token() {
    let admin = Admin::new();
    thread::scope(|scope| {
        for field in ["", "Authorization: Bearer wrong-token-for-tests\r\n", "Authorization: Basic YTpi\r\n"]
        {
            for (method, path) in
                [("GET", "/v1/status"), ("GET", "/"), ("DELETE", "/v1/pools/default/upstreams/s0")]
            {
                let admin = &admin;
                scope.spawn(move || {
                    let answer = admin.send(method, path, field, "");
                    let is_told = answer.text().contains("127.0.0.1");
                    assert!(matches!(answer.status, 401 | 429) && !is_told, "{method} {path} {field}");
                });
            }
        }
    });
    assert_eq!(admin.gateway.control().upstreams().len(), 2);
    let answer = admin.send("GET", "/v1/status", "Authorization: bearer a-token-for-these-tests\r\n", "");
    assert_eq!(answer.status, 200);
}

#[test]
fn wrong_tokens_in_crowds_are_refused_at_once_and_the_right_one_is_not() {
    let admin = Admin::new();
    let answers = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let answer = admin.send("GET", "/v1/status", "Authorization: Bearer wrong\r\n", "");
                answers.lock().unwrap().push(answer.status);
            });
        }
        assert_eq!(admin.ask("GET", "/v1/status", "").0, 200);
    });
    let answers = answers.into_inner().unwrap();
    assert!(answers.contains(&401) && answers.contains(&429), "{answers:?}");
}

#[test]
fn upstreams_are_added_weighed_drained_and_removed() {
    let admin = Admin::new();
    let path = "/v1/pools/default/upstreams/s2";
    let body = format!(r#"{{"address": "{}", "weight": 3}}"#, admin.servers[2].address);
    let (status, added) = admin.ask("PUT", path, &body);
    assert_eq!((status, &added["weight"], &added["up"]), (201, &3.into(), &true.into()));
    let cookie = admin.gateway.cookie("s2");
    assert_eq!(admin.gateway.get(&cookie).text(), "s2");

    let (status, weighed) = admin.ask("PATCH", path, r#"{"weight": 1}"#);
    assert_eq!((status, &weighed["weight"], &weighed["requests"]), (200, &1.into(), &1.into()));

    let (status, drains) = admin.ask("PATCH", path, r#"{"draining": true, "deadline_seconds": 600}"#);
    assert_eq!((status, &drains["draining"]), (200, &true.into()));
    assert!((1..=600).contains(&drains["drains_for_seconds"].as_u64().unwrap()), "{drains}");
    assert_eq!(admin.gateway.get(&cookie).text(), "s2", "who is pinned stays");
    assert!((0..30).all(|_| admin.gateway.get("").text() != "s2"));

    // The same server at another address: it drains all the same, and keeps its clients.
    let body = format!(r#"{{"address": "{}"}}"#, admin.servers[0].address);
    let (status, moved) = admin.ask("PUT", path, &body);
    assert_eq!((status, &moved["draining"], &moved["weight"]), (200, &true.into(), &1.into()));
    let answer = admin.gateway.get(&cookie);
    assert!(answer.text() == "s0" && answer.set_cookie().is_none());
    assert_eq!(admin.ask("PATCH", path, r#"{"draining": false}"#).1["draining"], false);

    assert_eq!(admin.ask("DELETE", path, "").0, 200);
    assert!(admin.upstream("s2").is_null());
    assert!(admin.gateway.get(&cookie).set_cookie().is_some(), "its clients have another one at once");
}

#[test]
fn what_cannot_be_done_is_said_with_the_way_out_and_changes_nothing() {
    let admin = Admin::new();
    for (method, path, body, status, word) in [
        ("GET", "/v1/nothing", "", 404, "docs/gateway.md"),
        ("POST", "/v1/status", "", 405, "docs/gateway.md"),
        ("POST", "/v1/reload", "", 501, "nothing to reload"),
        ("PATCH", "/v1/pools/shop/upstreams/s0", r#"{"weight": 2}"#, 404, r#""known":["default"]"#),
        ("PATCH", "/v1/pools/default/upstreams/s9", r#"{"draining": true}"#, 404, r#""known":["s0","s1"]"#),
        ("DELETE", "/v1/pools/default/upstreams/s9", "", 404, r#"has no upstream \"s9\""#),
        (
            "PATCH",
            "/v1/pools/default/upstreams/s0",
            r#"{"weight": 0, "draining": true}"#,
            422,
            "has the weight 0",
        ),
        ("PATCH", "/v1/pools/default/upstreams/s0", r#"{"wait": 2}"#, 422, "unknown field `wait`"),
        ("PATCH", "/v1/pools/default/upstreams/s0", "{}", 422, "nothing to change"),
        (
            "PATCH",
            "/v1/pools/default/upstreams/s0",
            r#"{"deadline_seconds": 2}"#,
            422,
            "deadline is for draining",
        ),
        ("PUT", "/v1/pools/default/upstreams/s3", r#"{"address": "nowhere"}"#, 422, "is no address"),
        ("PUT", "/v1/pools/default/upstreams/s3", r#"{"address": "a.test:0"}"#, 422, "at port 0"),
        ("PUT", "/v1/pools/default/upstreams/s3", r#"{"address": "10.0.0.1:0"}"#, 422, "at port 0"),
        ("PUT", "/v1/pools/default/upstreams/s3", "no JSON", 422, "way_out"),
    ] {
        let answer = admin.send(method, path, &format!("Authorization: Bearer {TOKEN}\r\n"), body);
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.text());
        assert!(answer.text().contains(word), "{word} is not in {}", answer.text());
    }
    let own = format!(r#"{{"address": "{}"}}"#, admin.gateway.address);
    assert_eq!(admin.ask("PUT", "/v1/pools/default/upstreams/s3", &own).0, 422, "the gateway itself");
    let long = format!(r#"{{"address": "{}"}}"#, "x".repeat(100_000));
    assert_eq!(admin.ask("PUT", "/v1/pools/default/upstreams/s3", &long).0, 413);
    assert_eq!(admin.upstream("s0")["draining"], false);
    assert_eq!(admin.ask("DELETE", "/v1/pools/default/upstreams/s0", "").0, 200);
    let (status, last) = admin.ask("DELETE", "/v1/pools/default/upstreams/s1", "");
    assert_eq!((status, &last["mistakes"][0]), (422, &"there is no upstream".into()));
    assert_eq!(admin.gateway.get("").text(), "s1");
}

#[test]
fn many_changes_at_a_time_all_happen() {
    let admin = Admin::new();
    let address = admin.servers[2].address;
    thread::scope(|scope| {
        for n in 0..20 {
            let admin = &admin;
            scope.spawn(move || {
                let path = format!("/v1/pools/default/upstreams/more-{n}");
                assert_eq!(admin.ask("PUT", &path, &format!(r#"{{"address": "{address}"}}"#)).0, 201);
            });
        }
    });
    assert_eq!(admin.gateway.control().upstreams().len(), 22);
}

#[test]
fn a_reload_undoes_what_was_changed_since_and_says_so() {
    let site = Arc::new(Mutex::new(None::<SiteConfig>));
    let keyring = Arc::new(Mutex::new(None));
    let (source, keys) = (site.clone(), keyring.clone());
    let reload: Reload = Arc::new(move |control| {
        let (site, keyring) = (source.lock().unwrap().clone().unwrap(), keys.lock().unwrap().take().unwrap());
        let texts = |mistakes: Vec<ConfigMistake>| mistakes.iter().map(ToString::to_string).collect();
        let undone = control.reload(site, keyring).map_err(|mistakes| ReloadError(texts(mistakes)))?;
        Ok(Reloaded { undone, needs_restart: vec!["workers".into()] })
    });
    let admin = Admin::with(Some(reload));
    let reload = |upstreams: &[&Upstream]| {
        let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
        *site.lock().unwrap() = Some(SiteConfig::new(vec![PoolConfig::new(named(&addresses))]));
        *keyring.lock().unwrap() = Some(admin.gateway.keyring());
        admin.ask("POST", "/v1/reload", "")
    };
    let [s0, s1, s2] = &admin.servers;
    let body = format!(r#"{{"address": "{}"}}"#, s2.address);
    for (method, name, body) in [
        ("PUT", "new", body.as_str()),
        ("PUT", "s2", &body),
        ("DELETE", "s1", ""),
        ("PATCH", "s0", r#"{"weight": 7, "draining": true}"#),
    ] {
        let (status, said) = admin.ask(method, &format!("/v1/pools/default/upstreams/{name}"), body);
        assert!(status < 300, "{said}");
    }
    let (status, said) = reload(&[]);
    assert_eq!((status, &said["mistakes"][0]), (422, &"there is no upstream".into()));
    assert_eq!(admin.upstream("s0")["weight"], 7, "nothing was undone");

    // The file has s2 by now.
    let (status, said) = reload(&[s0, s1, s2]);
    assert_eq!((status, &said["needs_restart"][0]), (200, &"workers".into()));
    let undone: Vec<_> = said["undone"].as_array().unwrap().iter().map(|its| its.as_str().unwrap()).collect();
    let expected = [("new", "is gone"), ("s0", "as the configuration says"), ("s1", "is back")];
    assert_eq!(undone.len(), expected.len(), "{undone:?}");
    for (undone, (name, how)) in undone.iter().zip(expected) {
        assert!(undone.contains(name) && undone.contains(how), "{undone}");
    }
    let s0_now = admin.upstream("s0");
    assert_eq!((&s0_now["weight"], &s0_now["draining"]), (&1.into(), &true.into()), "it goes on draining");
    assert_eq!(reload(&[s0, s1, s2]).1["undone"], serde_json::json!([]));
}

#[test]
fn metrics_tell_what_happened_by_pool_and_upstream() {
    let admin = Admin::new();
    let cookie = admin.gateway.cookie("s0");
    for _ in 0..3 {
        assert_eq!(admin.gateway.get(&cookie).status, 200);
    }
    admin.gateway.ask("nonsense\r\n\r\n");
    admin.servers[1].kill();
    admin.servers[0].kill();
    assert_eq!(admin.gateway.get("").status, 503);
    let metrics = || {
        let answer = admin.send("GET", "/metrics", &format!("Authorization: Bearer {TOKEN}\r\n"), "");
        assert!(answer.head.contains("text/plain; version=0.0.4"), "{}", answer.head);
        answer.text().to_owned()
    };
    wait_until("all connections have ended", || metrics().contains("\nstayput_gateway_connections 0\n"));
    let text = metrics();
    let s0 = r#"pool="default",upstream="s0""#;
    for line in [
        format!("upstream_answers_total{{{s0},code=\"2xx\"}} 3"),
        format!("upstream_answer_seconds_bucket{{{s0},le=\"+Inf\"}} 3"),
        format!("upstream_answer_seconds_count{{{s0}}} 3"),
        format!("upstream_in_flight{{{s0}}} 0"),
        format!("upstream_draining{{{s0}}} 0"),
        "refusals_total{code=\"400\"} 1".to_owned(),
        "refusals_total{code=\"503\"} 1".to_owned(),
        "connections_accepted_total 5".to_owned(),
    ] {
        assert!(text.lines().any(|its| its == format!("stayput_gateway_{line}")), "{line} is not in {text}");
    }
    let (mut families, mut last) = (std::collections::HashSet::new(), "");
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            last = family.split(' ').next().unwrap();
            assert!(families.insert(last), "{last} stands there twice");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(last), "{line} is in the family {last}");
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
    // Whatever clients send, there are no more lines than before.
    let lines = text.lines().count();
    (0..20).for_each(|n| drop(admin.gateway.ask(&format!("M{n} /{n} HTTP/1.1\r\nHost: h{n}\r\n\r\n"))));
    assert_eq!(metrics().lines().count(), lines);
}

#[test]
fn it_ends_with_the_gateway_and_a_client_that_says_nothing_does_not_keep_it() {
    let admin = Admin::new();
    let address = admin.gateway.running().admin_addr().unwrap();
    let _silent = Client::connect(address);
    admin.gateway.shut_down(std::time::Duration::from_secs(10)).join().unwrap();
    wait_until("nobody listens", || std::net::TcpStream::connect(address).is_err());
}
