//! The embedded file is the defaults, and mistakes are found all at once, each at its place.

use stayput_gateway::{Rule, SessionFormat, UrlPlace};

use super::*;

/// The embedded file with its commented settings switched on.
fn default_with_everything() -> String {
    let setting = |line: &str| line.strip_prefix("# ").filter(|rest| is_setting(rest)).map(str::to_owned);
    let lines = DEFAULT.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned()));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_setting(line: &str) -> bool {
    line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
}

#[test]
fn the_embedded_file_is_the_defaults() {
    let config = Config::parse(DEFAULT).unwrap();
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    assert_eq!(format!("{:?}", Config::parse("").unwrap()), format!("{config:?}"));
}

#[test]
fn what_is_commented_out_is_right_too() {
    let config = Config::parse(&default_with_everything()).unwrap();
    assert_eq!(config.pools[0].upstreams.len(), 2);
    assert_eq!(config.pools[0].upstreams[1].name, "shop-2");
    assert_eq!(config.store, Some(StoreUrl::Sqlite("stayput-data/sessions.db".into())));
}

#[test]
fn every_embedded_setting_matters() {
    for line in DEFAULT.lines().filter(|line| is_setting(line) && !line.starts_with('[')) {
        let (key, _) = line.split_once(" = ").unwrap();
        let broken = DEFAULT.replacen(line, &format!("{key} = [[]]"), 1);
        let mistakes = Config::parse(&broken).unwrap_err();
        assert!(mistakes[0].to_string().contains(key), "{key}: {mistakes:?}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_places() {
    let text = r#"
colour = "red"
[gateway]
listen = "nowhere"
worker = 2
[gateway.timeouts]
head = "10 bananas"
[[pool]]
upstreams = ["127.0.0.1:3000", "127.0.0.1:3000", 7]
[store]
url = "mongodb://user:hunter2@host"
[policy]
idle_timeout = "13h"
cookie_name = "a b"
"#;
    let mistakes: Vec<_> = Config::parse(text).unwrap_err().iter().map(ToString::to_string).collect();
    let expected = [
        "2:1: no setting is called `colour`",
        "4:10: `gateway.listen` must be an IP address (or localhost) and a port",
        "5:1: no setting is called `gateway.worker`; did you mean `workers`?",
        "7:8: `gateway.timeouts.head` must be a duration such as",
        r#"9:32: two upstreams are named "127.0.0.1:3000""#,
        "9:50: an upstream must be an IP address",
        "11:7: `store.url` must be a store URL: no store is called `mongodb`",
        "13:16: policy: idle_timeout must not exceed absolute_timeout",
        "14:15: policy: cookie name must be 1 to 64 letters",
    ];
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    for (mistake, expected) in mistakes.iter().zip(expected) {
        assert!(mistake.starts_with(expected), "{mistake:?} is not {expected:?}");
    }
    assert!(!mistakes.concat().contains("hunter2"));
}

#[test]
fn settings_that_could_not_work_together_are_mistakes() {
    for (text, mistake) in [
        (
            "[gateway]\naffinity_cookie = \"stayput-session\"",
            "2:19: `gateway.affinity_cookie` is the name of a session",
        ),
        ("[gateway]\naffinity_cookie = \"__Host-x\"", "2:19: `gateway.affinity_cookie` must be a name"),
        ("[policy]\nsame_site = \"none\"", "2:13: policy: same_site = none needs https"),
        ("[gateway]\nworkers = 1000000", "2:11: `gateway.workers` must be a whole number from 0 to 1024"),
        ("[gateway.timeouts]\nanswer = \"1000h\"", "2:10: `gateway.timeouts.answer` must be a duration"),
        (
            "[[pool]]\nupstreams = [\"127.0.0.1:0\"]",
            "2:14: an upstream must be an address with a port above 0",
        ),
        ("[[pool]]\nupstreams = [\"http://127.0.0.1:80\"]", "2:14: an upstream must be an IP address"),
        ("[[pool]]\nupstreams = [\"app.internal\"]", "2:14: an upstream must be an IP address or a name"),
        ("[[pool]]\nupstreams = [\"10.0.0.300:80\"]", "2:14: an upstream must be an IP address or a name"),
        (
            "[[pool]]\nupstreams = [{ name = \"a\", address = \"app.internal:0\" }]",
            "2:14: an upstream must be a name with a port above 0",
        ),
        (
            "[[pool]]\nupstreams = [{ name = \"a\", adress = \"127.0.0.1:1\" }]",
            "2:14: an upstream has `name`, `address` and",
        ),
    ] {
        let mistakes = Config::parse(text).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].to_string().starts_with(mistake), "{text}: {mistakes:?}");
    }
    assert!(Config::parse("[gateway]\nbehind_tls = true\n[policy]\nsame_site = \"none\"").is_ok());
}

#[test]
fn every_mistake_in_a_pool_has_its_place_and_the_way_out() {
    let pool = |rest: &str| format!("[[pool]]\nupstreams = [\"127.0.0.1:1\"]\n{rest}");
    for (rest, mistake) in [
        ("affinity = \"cookie\"", "3:12: `pool.affinity` must be a list of rules, such as"),
        ("affinity = [\"cookie\", \"sesion\"]", "3:23: an affinity rule must be \"cookie\", \"session\""),
        ("affinity = [\"cookie\", \"cookie\"]", "3:23: the rule \"cookie\" stands there twice"),
        ("affinity = [\"ip\", \"cookie\"]", "3:19: no request reaches \"cookie\" behind \"ip\""),
        ("affinity = [\"header\"]", "1:1: the rule \"header\" needs the field's name: [pool.header]"),
        (
            "affinity = [\"header\"]\n[pool.header]\nname = \"Connection\"",
            "5:8: `pool.header.name` must be a field of the application's own",
        ),
        ("[pool.header]\nname = \"X-Client\"", "3:1: [pool.header] is for the rule \"header\", which"),
        ("affinity = [\"ip\"]\n[pool.cookie]\nidle_timeout = \"1h\"", "4:1: [pool.cookie] is for the rule"),
        ("[pool.cookie]\nidle_timeout = \"5s\"", "4:16: `pool.cookie.idle_timeout` must be \"off\", or a"),
        (
            "[pool.cookie]\nidle_timeout = \"2h\"\nabsolute_timeout = \"1h\"",
            "4:16: `pool.cookie.idle_timeout` must not exceed",
        ),
        (
            "affinity = [\"session\"]\n[pool.session]\ncookies = [\"a b\"]",
            "5:11: `pool.session.cookies` must be a list of at least one cookie's name",
        ),
        (
            "affinity = [\"session\"]\n[pool.session]\ncookies = [\"__Host-stayput-affinity\"]",
            "5:11: `pool.session.cookies` names the gateway's own",
        ),
        (
            "affinity = [\"session\"]\n[pool.session]\nformat = \"half\"",
            "5:10: `pool.session.format` must be \"stayput\" (the session id",
        ),
        (
            "affinity = [\"url\"]\n[pool.url]\nparameter = \"a=b\"",
            "5:13: `pool.url.parameter` must be a name of 1 to 64 letters",
        ),
        ("affinity = [\"url\"]\n[pool.url]\nin = \"head\"", "5:6: `pool.url.in` must be \"query\" (/cart?"),
        (
            "affinity = [\"url\"]\n[pool.url]\nabsolute_timeout = \"10m\"\nidle_timeout = \"1h\"",
            "6:16: `pool.url.idle_timeout` must not exceed",
        ),
        ("[pool.url]\nhtml = true", "3:1: [pool.url] is for the rule \"url\", which"),
        ("slow_start = \"2d\"", "3:14: `pool.slow_start` must be a duration such as \"10s\""),
        ("slow_strat = \"2s\"", "3:1: no setting is called `pool.slow_strat`; did you mean `slow_start`?"),
        ("[gateway]\ntrusted_proxies = [\"10.0.0.0/33\"]", "4:19: `gateway.trusted_proxies` must be a list"),
    ] {
        let mistakes = Config::parse(&pool(rest)).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].to_string().starts_with(mistake), "{rest}: {mistakes:?}");
    }
    let weight = "[[pool]]\nupstreams = [{ name = \"a\", address = \"127.0.0.1:1\", weight = 0 }]";
    let mistakes = Config::parse(weight).unwrap_err();
    let expected = "2:14: an upstream's `weight` must be a whole number from 1 to 256";
    assert_eq!(mistakes[0].to_string(), expected);
}

#[test]
fn the_examples_in_the_gateways_documentation_are_right() {
    let text = include_str!("../../../../docs/gateway.md");
    let examples: Vec<_> =
        text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 5);
    for example in examples {
        let config = Config::parse(example);
        assert!(config.is_ok_and(|config| !config.pools.is_empty()), "{example}");
    }
}

#[test]
fn servers_have_addresses_or_names() {
    let text = r#"
[gateway]
resolve = "3s"
[[pool]]
upstreams = ["app.internal:3000", { name = "a", address = "App.internal:3001" }, "localhost:3002"]
"#;
    let config = Config::parse(text).unwrap();
    let upstreams = config.pools[0].upstreams.iter();
    let upstreams: Vec<_> = upstreams.map(|its| (its.name.clone(), its.address.to_string())).collect();
    let pair = |name: &str, address: &str| (name.to_owned(), address.to_owned());
    let expected = [
        pair("app.internal:3000", "app.internal:3000"),
        pair("a", "app.internal:3001"),
        pair("127.0.0.1:3002", "127.0.0.1:3002"),
    ];
    assert_eq!(upstreams, expected);
    assert_eq!(config.gateway.resolve.as_secs(), 3);
}

#[test]
fn a_pool_gets_what_its_rules_need() {
    let text = r#"
[gateway]
trusted_proxies = ["10.0.0.0/8", "::1"]
affinity_cookie = "pin"
[[pool]]
upstreams = [{ name = "a", address = "127.0.0.1:1", weight = 3 }]
affinity = ["cookie", "session", "header", "ip"]
slow_start = "0s"
[pool.cookie]
idle_timeout = "1h"
absolute_timeout = "off"
[pool.header]
name = "X-Client"
"#;
    let config = Config::parse(text).unwrap();
    let networks: Vec<_> = config.gateway.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "::1/128"]);
    let names = ["__Host-shop-session", "__Host-shop-anonymous"].map(str::to_owned);
    for (secure, prefix) in [(true, "__Host-"), (false, "")] {
        let pool = config.pools[0].pool(secure, &names);
        assert_eq!((pool.upstreams[0].weight, pool.slow_start.as_secs()), (3, 0));
        let [Rule::Cookie(cookie), Rule::Session(session), Rule::Header(header), Rule::Ip] =
            pool.affinity.rules.as_slice()
        else {
            panic!("other rules: {:?}", pool.affinity.rules);
        };
        assert_eq!((cookie.name.as_str(), cookie.secure), ("pin", secure));
        assert_eq!(cookie.idle_timeout.map(|timeout| timeout.as_secs()), Some(3600));
        assert_eq!(cookie.absolute_timeout, None);
        assert_eq!(session.cookies, [format!("{prefix}shop-session"), format!("{prefix}shop-anonymous")]);
        assert_eq!((session.format, header.as_str()), (SessionFormat::Stayput, "X-Client"));
    }
    let foreign = "[[pool]]\nupstreams = [\"127.0.0.1:1\"]\naffinity = [\"session\"]\n[pool.session]\n\
                   cookies = [\"JSESSIONID\"]\nformat = \"whole\"";
    let pool = Config::parse(foreign).unwrap().pools[0].pool(true, &names);
    let [Rule::Session(session)] = pool.affinity.rules.as_slice() else { panic!("other rules") };
    assert!(session.cookies == ["JSESSIONID"] && session.format == SessionFormat::Whole);
    let by_url = "[[pool]]\nupstreams = [\"127.0.0.1:1\"]\naffinity = [\"url\"]\n[pool.url]\n\
                  parameter = \"r\"\nin = \"path\"\nhtml = true\nidle_timeout = \"off\"\nabsolute_timeout = \"1d\"";
    let pool = Config::parse(by_url).unwrap().pools[0].pool(true, &names);
    let [Rule::Url(url)] = pool.affinity.rules.as_slice() else { panic!("other rules") };
    assert_eq!((url.parameter.as_str(), url.place, url.html), ("r", UrlPlace::Path, true));
    assert_eq!((url.idle_timeout, url.absolute_timeout.map(|time| time.as_secs())), (None, Some(86_400)));
    let short = by_url.replace("idle_timeout = \"off\"\n", "").replace("1d", "1m");
    let pool = Config::parse(&short).unwrap().pools[0].pool(true, &names);
    let idle = pool.affinity.url().and_then(|url| url.idle_timeout);
    assert_eq!(idle.map(|time| time.as_secs()), Some(60), "what isn't said gives way");
}

#[test]
fn several_pools_have_places_and_affinity_cookies_of_their_own() {
    let text = r#"
[gateway]
affinity_cookie = "pin"
[[pool]]
name = "shop"
hosts = ["shop.example", "*.shop.example"]
upstreams = ["127.0.0.1:1"]
[[pool]]
name = "api"
hosts = ["shop.example"]
paths = ["/api"]
upstreams = ["127.0.0.1:2"]
[pool.cookie]
name = "route"
[[pool]]
name = "rest"
upstreams = ["127.0.0.1:3"]
affinity = ["ip"]
"#;
    let sessions = [String::new(), String::new()];
    let pools = Config::parse(text).unwrap().pools;
    let pools: Vec<_> = pools.iter().map(|pool| pool.pool(false, &sessions)).collect();
    let names: Vec<_> = pools.iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(names, ["shop", "api", "rest"]);
    assert_eq!(pools[0].hosts, ["shop.example", "*.shop.example"]);
    assert_eq!(pools[1].paths, ["/api"]);
    let cookies: Vec<_> = pools.iter().map(|pool| pool.affinity.cookie().map(|rule| &*rule.name)).collect();
    assert_eq!(cookies, [Some("pin-shop"), Some("route"), None]);
}

#[test]
fn pools_that_get_in_each_others_way_are_mistakes_at_the_later_ones_place() {
    let two = |one: &str, other: &str| {
        let pool = |rest: &str| format!("[[pool]]\nupstreams = [\"127.0.0.1:1\"]\n{rest}\n");
        Config::parse(&format!("{}{}", pool(one), pool(other)))
    };
    for (one, other, mistake) in [
        ("name = \"a\"", "", "4:1: each of several pools needs a `name`"),
        ("name = \"a\"", "name = \"a/b\"", "6:8: `pool.name` must be a name of at most 64 letters"),
        (
            "name = \"a\"",
            "name = \"a\"\nhosts = [\"b\"]\n[pool.cookie]\nname = \"x\"",
            "6:8: two pools are named \"a\"",
        ),
        (
            "name = \"a\"\nhosts = [\"x\"]",
            "name = \"b\"\nhosts = [\"y\", \"X\"]",
            "8:9: the pools \"a\" and \"b\" are for the same host",
        ),
        (
            "name = \"a\"",
            "name = \"b\"\nhosts = [\"x:80\"]",
            "7:9: `pool.hosts` must be a list of hosts without ports",
        ),
        (
            "name = \"a\"",
            "name = \"b\"\npaths = [\"api\"]",
            "7:9: `pool.paths` must be a list of what paths begin with",
        ),
        (
            "name = \"a\"",
            "name = \"b\"\nhosts = [\"x\"]\n[pool.cookie]\nname = \"stayput-affinity-a\"",
            "9:8: the pools \"a\" and \"b\" have a host in common and affinity cookies of one name",
        ),
        (
            "name = \"a\"",
            "name = \"b\"\nhosts = [\"x\"]\n[pool.cookie]\nname = \"stayput-session\"",
            "9:8: the affinity cookie has the name of a session cookie",
        ),
    ] {
        let mistakes = two(one, other).unwrap_err();
        let all: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        assert!(all.iter().any(|its| its.starts_with(mistake)), "{mistake}: {all:#?}");
    }
    assert!(two("name = \"a\"", "name = \"b\"\nhosts = [\"x\"]").is_ok());
}

#[test]
fn bad_syntax_has_its_place() {
    let mistakes = Config::parse("[gateway]\nlisten = \n[store\n").unwrap_err();
    assert!(mistakes[0].to_string().starts_with("2:"), "{mistakes:?}");
    assert!(mistakes.iter().any(|mistake| mistake.to_string().starts_with("3:")), "{mistakes:?}");
}

#[test]
fn a_preset_is_what_the_other_settings_begin_with() {
    let policy = |text: &str| Config::parse(text).unwrap().policy;
    assert_eq!(policy("[policy]\npreset = \"bank-aal3\""), Policy::bank_aal3());
    assert_eq!(policy("[policy]\npreset = \"internal\""), Policy::internal());
    let mixed = policy("[policy]\npreset = \"bank-aal2\"\nidle_timeout = \"10m\"\nsame_site = \"lax\"");
    assert_eq!(mixed.idle_timeout.as_secs(), 600);
    assert_eq!(mixed.absolute_timeout, Policy::bank_aal2().absolute_timeout);
    assert_eq!(mixed.remember, None);
    assert_eq!(mixed.session_limit, Policy::bank_aal2().session_limit);
    assert_eq!(policy("[policy]\npreset = \"bank-aal2\"\nmax_sessions = 0").session_limit, None);
    let limit = policy("[policy]\nmax_sessions = 3\noverflow = \"reject\"").session_limit.unwrap();
    assert_eq!((limit.most.get(), limit.overflow), (3, stayput::Overflow::Reject));
    let mistakes = Config::parse("[policy]\npreset = \"casino\"").unwrap_err();
    assert!(mistakes[0].to_string().starts_with("2:10: `policy.preset` must be \"web\""), "{mistakes:?}");
}

#[test]
fn a_cookie_shared_with_sibling_domains_needs_its_acknowledgement() {
    let text = "[gateway]\nbehind_tls = true\n[policy]\ncookie_domain = \"example.org\"";
    let mistakes = Config::parse(text).unwrap_err();
    assert!(mistakes[0].to_string().starts_with("4:17: policy: cookie domain and path rule"), "{mistakes:?}");
    let text = format!("{text}\ndanger_cookie_without_host_prefix = true\ncookie_partitioned = true");
    let cookie = Config::parse(&text).unwrap().policy.cookie;
    assert_eq!(cookie.session_name(), "__Secure-stayput-session");
    assert!(
        cookie.attributes().contains("Domain=example.org") && cookie.attributes().contains("Partitioned")
    );
    let taken = text.replace("behind_tls", "affinity_cookie = \"stayput-anonymous\"\nbehind_tls");
    let mistakes = Config::parse(&taken).unwrap_err();
    assert!(mistakes[0].to_string().contains("is the name of a session cookie"), "{mistakes:?}");
}
