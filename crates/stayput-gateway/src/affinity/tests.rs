//! In which order rules decide, and what each takes for the same client.

use stayput_core::{SystemClock, SystemRandom};

use super::*;
use crate::config::{AffinityConfig, CookieRule, SessionFormat, SessionRule, UpstreamConfig, UrlRule};
use crate::head::{Lines, RequestHead};

const CLIENT: &str = "192.0.2.1";

struct Rules {
    affinity: Affinity,
}

fn rules(rules: Vec<Rule>) -> Rules {
    let upstreams = ["a", "b"].map(|name| UpstreamConfig::new(name, ([127, 0, 0, 1], 1).into()));
    let pool = PoolConfig { affinity: AffinityConfig { rules }, ..PoolConfig::new(upstreams.into()) };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Rules { affinity: Affinity::new(&pool, &Keyring::generate(&SystemRandom), &clock) }
}

impl Rules {
    fn route(&self, lines: &str) -> Route {
        self.route_of(CLIENT, lines)
    }

    fn route_of(&self, client: &str, lines: &str) -> Route {
        self.route_from(Found::default(), client, lines)
    }

    fn route_from(&self, in_url: Found, client: &str, lines: &str) -> Route {
        let raw = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        let mut lines = Lines::new();
        let head = RequestHead::read(raw.as_bytes(), &mut lines).unwrap();
        let fields = head.fields;
        self.affinity.route(&fields, in_url, client.parse().unwrap(), &mut Buffer::default())
    }

    /// The field line by which a client comes back.
    fn cookie(&self, upstream: usize) -> String {
        let route = Route { is_by_cookie: true, ..Route::default() };
        let mut line = Buffer::default();
        self.affinity.set_cookie(&route, upstream).unwrap().write(&mut line);
        let line = String::from_utf8(line.filled().to_vec()).unwrap();
        let pair = line.strip_prefix("Set-Cookie: ").unwrap().split(';').next().unwrap();
        format!("Cookie: {pair}\r\n")
    }
}

fn cookie() -> Rule {
    Rule::Cookie(CookieRule::default())
}

fn session() -> Rule {
    Rule::Session(SessionRule { cookies: vec!["sid".into()], format: SessionFormat::Whole })
}

fn header() -> Rule {
    Rule::Header("X-Client".into())
}

fn hashed(bytes: &[u8]) -> Whereto {
    Whereto::Hashed(ClientHash::of(bytes))
}

#[test]
fn the_first_rule_that_finds_something_decides() {
    let rules = rules(vec![cookie(), session(), header(), Rule::Ip]);
    let pinned = rules.cookie(1);
    let (sid, name) = ("Cookie: sid=7\r\n", "x-client: me\r\n");
    let whereto = |lines: &[&str]| rules.route(&lines.concat()).whereto;
    assert_eq!(whereto(&[name, sid, &pinned]), Whereto::Pinned(1));
    assert_eq!(whereto(&[name, sid, "Cookie: stayput-affinity=unknown\r\n"]), hashed(b"7"));
    assert_eq!(whereto(&[name, sid]), hashed(b"7"));
    assert_eq!(whereto(&[name]), hashed(b"me"));
    assert_eq!(whereto(&[]), hashed(&[192, 0, 2, 1]));
}

#[test]
fn where_no_rule_finds_anything_the_client_may_go_anywhere() {
    for list in [vec![], vec![cookie()], vec![cookie(), session()], vec![header()]] {
        assert_eq!(rules(list).route("Cookie: other=1\r\n").whereto, Whereto::Anywhere);
    }
}

#[test]
fn a_client_gets_an_affinity_cookie_only_if_no_rule_before_that_one_found_something() {
    let sid = "Cookie: sid=7\r\n";
    let sets = |rules: &Rules, lines: &str| rules.affinity.set_cookie(&rules.route(lines), 0).is_some();
    let first = rules(vec![cookie(), session()]);
    assert!(sets(&first, sid) && sets(&first, ""));
    assert!(!sets(&first, &first.cookie(0)) && sets(&first, &first.cookie(1)));
    let last = rules(vec![session(), cookie()]);
    assert!(!sets(&last, sid) && sets(&last, ""));
    let both = format!("{sid}{}", last.cookie(1));
    assert_eq!(last.route(&both).whereto, hashed(b"7"), "the session goes before the cookie");
    assert!(!sets(&rules(vec![session(), Rule::Ip]), ""));
}

#[test]
fn an_address_decides_in_its_turn_and_links_are_for_clients_without_cookies() {
    let all = rules(vec![session(), cookie(), Rule::Url(UrlRule::default()), Rule::Ip]);
    let token = all.affinity.links(&Route { is_by_url: true, ..Route::default() }, 1, || b"a").unwrap().token;
    let in_url = Found::Token(token);
    let found = all.route_from(in_url, CLIENT, "");
    assert_eq!(found.whereto, Whereto::Pinned(1));
    assert!(found.is_by_cookie && found.is_by_url && found.is_pin_in_url && found.pins());
    assert!(all.affinity.set_cookie(&found, 1).is_some(), "it may keep cookies for all we know");
    let pinned = all.route_from(in_url, CLIENT, &all.cookie(0));
    assert_eq!((pinned.whereto, pinned.is_by_url), (Whereto::Pinned(0), false));
    let by_session = all.route_from(in_url, CLIENT, "Cookie: sid=7\r\n");
    assert!(by_session.whereto == hashed(b"7") && !by_session.pins());
    let new = all.route("");
    assert!(new.whereto == hashed(&[192, 0, 2, 1]) && new.is_by_url && !new.is_pin_in_url);
    let other = all.route("Cookie: theme=dark\r\n");
    assert!(!other.is_by_url && all.affinity.links(&other, 0, || b"a").is_none());
}

#[test]
fn a_field_counts_if_it_stands_once_and_says_something() {
    let rules = rules(vec![header()]);
    for (lines, found) in [
        ("X-Client: me\r\n", hashed(b"me")),
        ("x-client:   me  \r\n", hashed(b"me")),
        ("X-Client: me\r\nConnection: x-client\r\n", hashed(b"me")),
        ("X-Client: me\r\nX-Client: me\r\n", Whereto::Anywhere),
        ("X-Client: \r\n", Whereto::Anywhere),
        ("X-Client2: me\r\n", Whereto::Anywhere),
    ] {
        assert_eq!(rules.route(lines).whereto, found, "{lines:?}");
    }
}

#[test]
fn an_ipv6_client_is_its_56_bits_and_an_ipv4_client_its_address_in_either_spelling() {
    let rules = rules(vec![Rule::Ip]);
    let of = |client: &str| rules.route_of(client, "").whereto;
    assert_eq!(of("2001:db8:1:2300::1"), of("2001:db8:1:23ff:ffff::"));
    assert_ne!(of("2001:db8:1:2300::1"), of("2001:db8:1:2400::1"));
    assert_eq!(of("192.0.2.7"), of("::ffff:192.0.2.7"));
    assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
}

#[test]
fn of_a_huge_value_only_the_beginning_is_hashed() {
    let rules = rules(vec![session(), header()]);
    let (long, longer) = ("x".repeat(MOST_HASHED), "x".repeat(65_536));
    for line in ["X-Client: ", "Cookie: sid="] {
        let of = |value: &str| rules.route(&format!("{line}{value}\r\n")).whereto;
        assert_eq!(of(&long), of(&longer));
        assert_ne!(of(&long), of(&long[1..]));
    }
}
