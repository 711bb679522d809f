//! A whole request through the library's public layer, with any bytes as its `Cookie` headers.
//!
//! Input: a letter for what the request does (`w`rite, log `i`n, log `o`ut, else read), then headers, a line each. What
//! must come of it is worked out here a second time, in the plainest way.

mod server;

use http::{HeaderValue, StatusCode};
use stayput_core::CookieValue;

use self::server::{Action, Answer, Server, VISITORS, Visitor, Who};
use super::Target;
use super::known::{KEYRING, LIFEBOAT, NAMES, SPARE, STRANGE_KEYRING, VERSION, id};

/// See the module.
pub const TARGET: Target = Target { name: "cookie_header", check, seeds, words };

fn check(data: &[u8]) -> bool {
    let Some((action, lines)) = data.split_first() else { return false };
    let lines: Vec<_> = lines.split(|byte| *byte == b'\n').take(MOST_HEADERS).collect();
    // What can't be a header's value never reaches the layer: servers refuse the request.
    let headers: Result<Vec<_>, _> = lines.iter().map(|line| HeaderValue::from_bytes(line)).collect();
    let Ok(headers) = headers else { return false };

    let (action, visitor, server) = (Action::of(*action), recognize(&lines), Server::with_visitors());
    let answer = server.answer(action, headers);
    assert_eq!(answer.status, StatusCode::OK, "no cookie is an error");
    assert_eq!(answer.who, visitor.map_or(Who::Nobody, |visitor| visitor.who));
    assert_eq!(changes(&server, &answer), expected_changes(action, visitor));
    // A logout deletes one that was presented, whatever is in it.
    let leaves_spare = answer.cookies.iter().any(|(name, value)| name == SPARE && !value.is_empty());
    let presents_login = visitor.is_some_and(|visitor| visitor.who == Who::Alice);
    assert!(action == Action::LogIn || !leaves_spare, "only a login leaves a spare cookie");
    assert!(leaves_spare || action != Action::LogIn || !presents_login, "a login over another left none");
    check_untouched(&server, visitor.filter(|_| action != Action::Read));
    visitor.is_some()
}

/// Whose genuine cookie is there exactly once and unchanged.
fn recognize(lines: &[&[u8]]) -> Option<&'static Visitor> {
    VISITORS.iter().find(|visitor| {
        let pairs = lines.iter().flat_map(|line| line.split(|byte| *byte == b';'));
        let values: Vec<_> = pairs.filter_map(|pair| value_of(visitor.name, pair)).collect();
        let [value] = values[..] else { return false };
        visitor.cookies.iter().any(|cookie| cookie.as_bytes() == value)
    })
}

/// What is in the store of everybody but `changed` is as it was.
fn check_untouched(server: &Server, changed: Option<&Visitor>) {
    for visitor in VISITORS.iter().filter(|visitor| Some(visitor.who) != changed.map(|changed| changed.who)) {
        let record = server.load(visitor.key);
        assert_eq!(
            record.as_ref(),
            Some(&visitor.record),
            "a request without their cookie changed a session"
        );
    }
}

fn value_of<'p>(name: &str, pair: &'p [u8]) -> Option<&'p [u8]> {
    pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// What an answer does to one of our cookies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    Kept,
    New,
    Deleted,
}

/// What the answer does to the session cookie and to the anonymous one.
fn changes(server: &Server, answer: &Answer) -> [Change; 2] {
    // There are no copies here that could be older than what a client has seen, and no lifeboats; what it has of either is deleted
    // at its logout.
    let is_ours = |name: &str, value: &str| {
        NAMES.contains(&name) || name == SPARE || [VERSION, LIFEBOAT].contains(&name) && value.is_empty()
    };
    assert!(answer.cookies.iter().all(|(name, value)| is_ours(name, value)));
    NAMES.map(|name| {
        let mut values = answer.cookies.iter().filter(|cookie| cookie.0 == name).map(|cookie| &*cookie.1);
        match (values.next(), values.next()) {
            (None, _) => Change::Kept,
            (Some(""), None) => Change::Deleted,
            (Some(value), None) => {
                let cookie =
                    CookieValue::decode(name, value.as_bytes(), &KEYRING).expect("the cookie is ours");
                assert!(server.drew(&cookie.value.id), "an id is adopted that the server did not draw");
                Change::New
            }
            (Some(_), Some(_)) => panic!("{name} is set twice"),
        }
    })
}

fn expected_changes(action: Action, visitor: Option<&Visitor>) -> [Change; 2] {
    match (action, visitor) {
        (Action::Read, _) | (Action::Write, Some(_)) => [Change::Kept, Change::Kept],
        (Action::Write, None) => [Change::Kept, Change::New],
        (Action::LogIn, _) => [Change::New, Change::Deleted],
        // Beside the end of an anonymous session a login may have set the other cookie.
        (Action::LogOut, Some(visitor)) if visitor.name == NAMES[1] => [Change::Kept, Change::Deleted],
        (Action::LogOut, _) => [Change::Deleted, Change::Deleted],
    }
}

/// For each visitor: their cookie under the other name, of another installation, and one of a session that is over.
fn near_misses() -> impl Iterator<Item = (&'static str, String)> {
    VISITORS.iter().flat_map(|visitor| {
        let name = visitor.name;
        let other = NAMES.into_iter().find(|other| *other != name).expect("there are two names");
        let genuine = visitor.cookies[0].as_bytes();
        let value = CookieValue::decode(name, genuine, &KEYRING).expect("it is genuine").value;
        let over = CookieValue { id: id(500), ..value.clone() };
        [
            (other, value.encode(other, &KEYRING)),
            (name, value.encode(name, &STRANGE_KEYRING)),
            (name, over.encode(name, &KEYRING)),
        ]
    })
}

fn seeds() -> Vec<Vec<u8>> {
    let [alice, guest] = &*VISITORS;
    let genuine = VISITORS.iter().flat_map(|v| v.cookies.iter().map(|cookie| (v.name, cookie.clone())));
    let single = genuine.chain(near_misses()).map(|(name, value)| format!("{name}={value}"));
    let [alice, guest] = [alice, guest].map(|visitor| format!("{}={}", visitor.name, visitor.cookies[0]));
    let several = [
        format!("{guest}; theme=dark; {alice}"),
        format!("{alice}; {alice}"),
        format!("a=b\n{alice}\n{guest}"),
        format!("{alice}\n{alice}"),
        String::new(),
    ];
    let headers: Vec<_> = single.chain(several).collect();
    let requests =
        headers.iter().flat_map(|headers| ["r", "w", "i", "o"].map(|action| format!("{action}{headers}")));
    requests.map(String::into_bytes).collect()
}

/// Names and values apart: together they would be longer than libFuzzer's words may be.
fn words() -> Vec<String> {
    let names = NAMES.into_iter().map(|name| format!("{name}="));
    let genuine = VISITORS.iter().flat_map(|visitor| visitor.cookies.clone());
    names.chain(genuine).chain(near_misses().map(|(_, value)| value)).collect()
}

/// Servers take no more in a request.
const MOST_HEADERS: usize = 100;
