//! The embedded file is the defaults, and mistakes are found all at once, each at its place.

use super::*;

/// The embedded file with its commented settings switched on.
fn default_with_everything() -> String {
    let setting = |line: &str| line.strip_prefix("# ").filter(|rest| is_setting(rest)).map(str::to_owned);
    let lines = DEFAULT.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned()));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_setting(line: &str) -> bool {
    line.starts_with("[[") || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
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
    assert_eq!(config.upstreams.len(), 2);
    assert_eq!(config.upstreams[1].name, "shop-2");
    assert_eq!(config.store, Some(StoreUrl::Sqlite("stayput-data/sessions.db".into())));
}

#[test]
fn every_embedded_setting_matters() {
    for line in DEFAULT.lines().filter(|line| is_setting(line)) {
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
        (
            "[[pool]]\nupstreams = [{ name = \"a\", adress = \"127.0.0.1:1\" }]",
            "2:14: an upstream has `name` and",
        ),
    ] {
        let mistakes = Config::parse(text).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].to_string().starts_with(mistake), "{text}: {mistakes:?}");
    }
    assert!(Config::parse("[gateway]\nbehind_tls = true\n[policy]\nsame_site = \"none\"").is_ok());
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
