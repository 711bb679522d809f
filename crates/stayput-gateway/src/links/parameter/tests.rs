//! Where the parameter goes, and that it leaves no trace when it is taken off.

use stayput_testkit::Seed;

use super::*;

fn parameter(place: UrlPlace) -> Parameter {
    Parameter::new(&UrlRule { parameter: "r".into(), place, ..UrlRule::default() })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The reference with the route `new`; none if there is no place for it.
fn put_in(place: UrlPlace, reference: &Reference<'_>) -> Option<String> {
    let parameter = parameter(place);
    let (edits, mut out) = (parameter.edits(reference)?, Buffer::default());
    let carried = Carried { parameter: &parameter, token: b"new", and: b"&" };
    edits.write(reference.bytes, &carried, &mut out);
    Some(text(out.filled()))
}

/// The target without routes, and what they were.
fn taken_off(place: UrlPlace, target: &str) -> (String, Vec<String>) {
    let cuts = parameter(place).cuts(&Reference::target(target.as_bytes()));
    let values = cuts.iter().map(|cut| target[cut.value.clone()].to_owned()).collect();
    let mut left = target.to_owned();
    cuts.iter().rev().for_each(|cut| left.replace_range(cut.range.clone(), ""));
    (left, values)
}

#[test]
fn in_a_query_it_comes_last_and_once() {
    for (reference, written) in [
        ("/a", "/a?r=new"),
        ("/a?b", "/a?b&r=new"),
        ("/a?", "/a?&r=new"),
        ("/a?b#c?d", "/a?b&r=new#c?d"),
        ("/a#c", "/a?r=new#c"),
        ("a/b", "a/b?r=new"),
        ("?b=1", "?b=1&r=new"),
        ("..", "..?r=new"),
        ("http://h", "http://h?r=new"),
        ("//h/a?b", "//h/a?b&r=new"),
        (" /a ", " /a?r=new "),
        ("/a?r=old", "/a?r=new"),
        ("/a?b&r=old&c&r#d", "/a?b&c&r=new#d"),
        ("/a?r=1&b", "/a?b&r=new"),
        ("/a?r=1&r=2&b", "/a?b&r=new"),
        ("/a?%72=1", "/a?r=new"),
        ("/a;r=1", "/a;r=1?r=new"),
    ] {
        let parsed = Reference::parse(reference.as_bytes()).unwrap();
        assert_eq!(put_in(UrlPlace::Query, &parsed).as_deref(), Some(written), "{reference}");
    }
}

#[test]
fn in_a_path_it_ends_the_last_segment() {
    for (reference, written) in [
        ("/a/b", "/a/b;r=new"),
        ("/", "/;r=new"),
        ("/a/?b", "/a/;r=new?b"),
        ("/a;x=1#c", "/a;x=1;r=new#c"),
        ("a", "a;r=new"),
        ("..", "../;r=new"),
        ("/a/.?b", "/a/./;r=new?b"),
        ("%2e%2E", "%2e%2E/;r=new"),
        ("...", "...;r=new"),
        ("http://h", "http://h/;r=new"),
        ("http://h?b", "http://h/;r=new?b"),
        ("/a;r=old", "/a;r=new"),
        ("/a;r/b;%72=x;y", "/a/b;y;r=new"),
        ("/a?r=1", "/a;r=new?r=1"),
    ] {
        let parsed = Reference::parse(reference.as_bytes()).unwrap();
        assert_eq!(put_in(UrlPlace::Path, &parsed).as_deref(), Some(written), "{reference}");
    }
}

#[test]
fn what_leads_to_its_own_page_carries_what_that_has() {
    for (place, reference) in
        [(UrlPlace::Query, "#a"), (UrlPlace::Path, "#a"), (UrlPlace::Path, "?a"), (UrlPlace::Path, "?a#b")]
    {
        assert_eq!(put_in(place, &Reference::parse(reference.as_bytes()).unwrap()), None, "{reference}");
    }
}

#[test]
fn all_of_it_is_taken_off_and_nothing_else() {
    let query = [
        ("/a?b=1&r=X&c=2", "/a?b=1&c=2", &["X"][..]),
        ("/a?r=X", "/a", &["X"]),
        ("/a?r=X&b", "/a?b", &["X"]),
        ("/a?b&r=X", "/a?b", &["X"]),
        ("/a?r=X&r=Y", "/a", &["X", "Y"]),
        ("/a?&r=X&", "/a?&", &["X"]),
        ("/a?r", "/a", &[""]),
        ("/a?r=&b=r", "/a?b=r", &[""]),
        ("/a?%72=X", "/a", &["X"]),
        ("/a?rr=1&R=1&xr=1&r%20=1", "/a?rr=1&R=1&xr=1&r%20=1", &[]),
        ("/a;r=X?b", "/a;r=X?b", &[]),
        ("/r=1/r", "/r=1/r", &[]),
    ];
    for (target, left, values) in query {
        let values: Vec<_> = values.iter().map(|&value| value.to_owned()).collect();
        assert_eq!(taken_off(UrlPlace::Query, target), (left.to_owned(), values), "{target}");
    }
    let path = [
        ("/a;r=X/b;r=Y", "/a/b", &["X", "Y"][..]),
        ("/;r=X", "/", &["X"]),
        ("/a;b;r=X;c?r=1", "/a;b;c?r=1", &["X"]),
        ("/a;r", "/a", &[""]),
        ("/a;rr=1;R=1", "/a;rr=1;R=1", &[]),
        ("/a%3Br=1", "/a%3Br=1", &[]),
    ];
    for (target, left, values) in path {
        let values: Vec<_> = values.iter().map(|&value| value.to_owned()).collect();
        assert_eq!(taken_off(UrlPlace::Path, target), (left.to_owned(), values), "{target}");
    }
}

#[test]
fn a_segment_of_dots_never_comes_to_light() {
    let uncovers = |target: &str| {
        let (parameter, reference) = (parameter(UrlPlace::Path), Reference::target(target.as_bytes()));
        parameter.uncovers_dots(&reference, &parameter.cuts(&reference))
    };
    for target in ["/a/..;r=1/admin", "/..;r", "/a/%2E.;x;r=1", "/a/.;r=1"] {
        assert!(uncovers(target), "{target}");
    }
    for target in ["/a/../b;r=1", "/...;r=1", "/..a;r=1", "/..;x", "/;r=1"] {
        assert!(!uncovers(target), "{target}");
    }
}

#[test]
fn put_in_and_taken_off_it_leaves_what_was_there() {
    let mut rng = Seed::announce().rng();
    let pieces =
        ["/", "a", "?", "&", "=", ";", "r", "r=", "&r=1", ";r=1", "%72", "%", ".", "..", "b=c", "//"];
    for _ in 0..50_000 {
        let length = rng.usize(0..12);
        let target: String =
            std::iter::once("/").chain((0..length).map(|_| pieces[rng.usize(..pieces.len())])).collect();
        for place in [UrlPlace::Query, UrlPlace::Path] {
            let (bare, _) = taken_off(place, &target);
            let (again, nothing) = taken_off(place, &bare);
            assert_eq!((&again, nothing.len()), (&bare, 0), "{target}: none is left of {bare}");
            let with = put_in(place, &Reference::target(target.as_bytes())).unwrap();
            let (mut left, values) = taken_off(place, &with);
            assert_eq!(values, ["new"], "{target}: once in {with}");
            if with.contains("/;r=new") && !left.starts_with(&bare) {
                // The segment of dots had to be ended.
                left = left.replacen("/?", "?", 1);
            }
            let ended = left.strip_suffix('/').unwrap_or(&left);
            assert!(left == bare || ended == bare, "{target}: {with} leaves {left}");
        }
    }
}
