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
        "4:10: `gateway.listen` must be an IP address and port, such as 127.0.0.1:8080",
        "5:1: no setting is called `gateway.worker`; did you mean `workers`?",
        "7:8: `gateway.timeouts.head` must be a duration above zero",
        r#"9:32: two upstreams are named "127.0.0.1:3000""#,
        "9:50: an upstream must be an address",
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
fn bad_syntax_has_its_place() {
    let mistakes = Config::parse("[gateway]\nlisten = \n[store\n").unwrap_err();
    assert!(mistakes[0].to_string().starts_with("2:"), "{mistakes:?}");
    assert!(mistakes.iter().any(|mistake| mistake.to_string().starts_with("3:")), "{mistakes:?}");
}
