//! What each rule costs: a head read, routed and given an upstream, over and over.
//!
//! `cargo test --release -p stayput-gateway --lib -- --ignored --nocapture what_each_rule_costs` prints nanoseconds. With
//! `COST=RULE,UPSTREAMS,TIMES` in the environment it does one of them only, for callgrind to count.

use std::hint::black_box;
use std::time::{Duration, Instant};

use stayput_core::{CookieValue, Generation, SessionId, SystemClock, SystemRandom};

use super::*;
use crate::config::{
    AffinityConfig, CookieRule, PoolConfig, SessionFormat, SessionRule, SiteConfig, UpstreamConfig, UrlRule,
};
use crate::origin::Origin;
use crate::pool::Chance;
use crate::request;
use crate::site::Site;
use crate::upstream::Asking;

const RULES: [&str; 9] =
    ["none", "cookie", "cookie-timeouts", "session", "whole", "url", "header", "ip", "ip-proxied"];
const DOWN: Duration = Duration::from_secs(1);

#[test]
#[ignore = "a measurement"]
fn what_each_rule_costs() {
    if let Ok(one) = std::env::var("COST") {
        let mut parts = one.split(',');
        let mut number = || parts.next().unwrap().to_owned();
        let (rule, upstreams, times) = (number(), number(), number());
        Cost::new(&rule, upstreams.parse().unwrap()).run(times.parse().unwrap());
        return;
    }
    for upstreams in [3, 1000] {
        for rule in RULES {
            let mut cost = Cost::new(rule, upstreams);
            cost.run(10_000);
            let best = (0..20).map(|_| {
                let start = Instant::now();
                cost.run(10_000);
                start.elapsed()
            });
            println!("{rule:16} {upstreams:5} upstreams {:6.0} ns", best.min().unwrap().as_secs_f64() * 1e5);
        }
    }
}

struct Cost {
    site: Site,
    heads: Vec<Vec<u8>>,
}

impl Cost {
    fn new(rule: &str, upstreams: usize) -> Self {
        let hour = Some(Duration::from_hours(1));
        let session = |format| Rule::Session(SessionRule { cookies: vec!["stayput-session".into()], format });
        let rules = match rule {
            "none" => vec![],
            "cookie" => vec![Rule::Cookie(CookieRule::default())],
            "cookie-timeouts" => {
                let rule = CookieRule { idle_timeout: hour, absolute_timeout: hour, ..CookieRule::default() };
                vec![Rule::Cookie(rule)]
            }
            "session" => vec![session(SessionFormat::Stayput)],
            "whole" => vec![session(SessionFormat::Whole)],
            "url" => vec![Rule::Url(UrlRule::default())],
            "header" => vec![Rule::Header("X-Client".into())],
            "ip" | "ip-proxied" => vec![Rule::Ip],
            other => panic!("no rule {other}"),
        };
        let named = |index| UpstreamConfig::new(format!("s{index}"), ([127, 0, 0, 1], 1).into());
        let upstreams: Vec<_> = (0..upstreams).map(named).collect();
        let pool = PoolConfig { affinity: AffinityConfig { rules }, ..PoolConfig::new(upstreams) };
        let keyring = Keyring::generate(&SystemRandom);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let trusted = if rule == "ip-proxied" { vec!["10.0.0.0/8".parse().unwrap()] } else { vec![] };
        // All have the cookie, so that what is looked for in vain is paid for, too.
        let cookie = AffinityCookie::new(&CookieRule::default(), &pool.upstreams, &keyring);
        let head = |client: usize| {
            let id = SessionId::generate(&SystemRandom);
            let session = CookieValue { id, generation: Generation(3) }.encode("stayput-session", &keyring);
            let mut line = Buffer::default();
            cookie.set(client % pool.upstreams.len(), None, &*clock).write(&mut line);
            let line = String::from_utf8(line.filled().to_vec()).unwrap();
            let pin = line.strip_prefix("Set-Cookie: ").unwrap().split(';').next().unwrap();
            if rule == "url" {
                // A token is a token; such clients have no cookies.
                let token = pin.split('=').next_back().unwrap();
                let target = format!("?page=3&stayput-route={token} HTTP");
                let head = HEAD.replace("?page=3 HTTP", &target);
                let lines = head.split_inclusive('\n').filter(|line| !line.starts_with("Cookie"));
                return lines.collect::<String>().into_bytes();
            }
            HEAD.replace("PIN", pin)
                .replace("SESSION", &session)
                .replace("CLIENT", &client.to_string())
                .into_bytes()
        };
        let heads = (0..3000).map(head).collect();
        let config = SiteConfig { trusted_proxies: trusted, ..SiteConfig::new(vec![pool]) };
        Self { site: Site::new(&config, &keyring, &clock, None), heads }
    }

    fn run(&mut self, times: usize) {
        let mut origin = Origin::new([10, 0, 0, 1].into(), &self.site.trusted_proxies, false);
        let mut out = Buffer::default();
        let (chance, now) = (Chance::from_seed(1), Instant::now());
        for head in self.heads.iter().cycle().take(times) {
            out.clear();
            let request = request::read(head, &self.site, b"self", &mut origin, &mut out).unwrap();
            let pool = &self.site.pools[request.pool];
            let asking = Asking { now, down: DOWN, is_repeatable: true, client: 0, probes: true };
            let index = pool.pick(request.route.whereto, None, &chance, asking).unwrap().upstream;
            let in_flight = pool.begin(index);
            black_box((pool.affinity.set_cookie(&request.route, index).is_some(), &out, &in_flight));
        }
    }
}

/// What a browser sends.
const HEAD: &str = "GET /catalogue/shoes?page=3 HTTP/1.1\r\n\
    Host: shop.example\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://shop.example/catalogue/shoes?page=2\r\n\
    X-Forwarded-For: 192.0.2.7\r\n\
    X-Client: client-CLIENT\r\n\
    Cookie: _ga=GA1.1.1234567890.1700000000; consent=all; stayput-session=SESSION; PIN; theme=dark\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Priority: u=0, i\r\n\r\n";
