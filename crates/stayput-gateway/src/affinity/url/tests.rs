//! What a target's route is worth, and for how long.

use std::time::Duration;

use stayput_core::{SystemClock, SystemRandom};
use stayput_testkit::ManualClock;

use super::super::token::TOKEN;
use super::*;
use crate::config::UrlPlace;

fn url(rule: &UrlRule) -> AffinityUrl {
    let upstreams = ["a", "b"].map(|name| UpstreamConfig::new(name, ([127, 0, 0, 1], 1).into()));
    AffinityUrl::new(rule, &upstreams, &Keyring::generate(&SystemRandom))
}

fn copied(place: UrlPlace, target: &str) -> (String, Found) {
    let mut out = Buffer::default();
    let rule = UrlRule { parameter: "r".into(), place, ..UrlRule::default() };
    let found = url(&rule).copy_target(target, &mut out).unwrap();
    (String::from_utf8(out.filled().to_vec()).unwrap(), found)
}

#[test]
fn routes_that_differ_or_are_none_count_for_nothing() {
    let (one, other) = ("x".repeat(TOKEN), "y".repeat(TOKEN));
    let token = Found::Token(one.as_bytes().try_into().unwrap());
    for (target, left, found) in [
        ("/a?b", "/a?b", Found::Nothing),
        ("/a?r=ONE", "/a", token),
        ("/a?r=ONE&b&r=ONE", "/a?b", token),
        ("/a?r=ONE&b&r=OTHER", "/a?b", Found::Unusable),
        ("/a?r=ONE&r=", "/a", Found::Unusable),
        ("/a?r", "/a", Found::Unusable),
        ("/a?r=ONEx", "/a", Found::Unusable),
    ] {
        let target = target.replace("ONE", &one).replace("OTHER", &other);
        assert_eq!(copied(UrlPlace::Query, &target), (left.to_owned(), found), "{target}");
    }
    let target = format!("/a;r={one}/b;r={one}");
    assert_eq!(copied(UrlPlace::Path, &target), ("/a/b".to_owned(), token));
}

#[test]
fn a_route_is_forgotten_an_hour_after_it_was_written_and_every_link_is_written_anew() {
    let (url, clock) = (url(&UrlRule::default()), ManualClock::default());
    let read = |token| url.pin(Found::Token(token), &clock).map(|pin| pin.upstream);
    let token = url.links(b"a", 1, None, &clock).token;
    clock.advance(Duration::from_secs(3599));
    assert_eq!(read(token), Some(1));
    let again = url.links(b"a", 1, url.pin(Found::Token(token), &clock), &clock).token;
    clock.advance(Duration::from_secs(1));
    assert_eq!((read(token), read(again)), (None, Some(1)));
}

#[test]
fn another_keyrings_routes_are_none() {
    let [one, other] = [0; 2].map(|_| url(&UrlRule::default()));
    let token = one.links(b"a", 0, None, &SystemClock).token;
    assert!(one.pin(Found::Token(token), &SystemClock).is_some());
    assert!(other.pin(Found::Token(token), &SystemClock).is_none());
}
