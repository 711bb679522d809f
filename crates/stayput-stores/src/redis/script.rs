//! What the server runs for the store: each script in one slot, and named by its hash.

use std::sync::LazyLock;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use stayput_core::layout;

use super::index::{BEGINNINGS, ENDING, Member, NEVER};

/// A script's text, and the hash that the server knows it by.
pub(super) struct Script {
    text: String,
    hash: String,
}

pub(super) static REPLACE: LazyLock<Script> =
    LazyLock::new(|| with_records(include_str!("lua/replace.lua"), include_str!("lua/replace_moved.lua")));
pub(super) static TOUCH: LazyLock<Script> = LazyLock::new(|| with_records("", include_str!("lua/touch.lua")));
pub(super) static REMOVE: LazyLock<Script> =
    LazyLock::new(|| with_records("", include_str!("lua/remove.lua")));
pub(super) static END: LazyLock<Script> =
    LazyLock::new(|| with_records(&constants([("BEGINNINGS", BEGINNINGS)]), include_str!("lua/end.lua")));
pub(super) static TELL_AGAIN: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/tell_again.lua")));
pub(super) static LIST: LazyLock<Script> = LazyLock::new(|| with_index(include_str!("lua/list.lua")));
pub(super) static ADMIT: LazyLock<Script> = LazyLock::new(|| with_index(include_str!("lua/admit.lua")));
pub(super) static RAISE: LazyLock<Script> = LazyLock::new(|| with_index(include_str!("lua/raise.lua")));
pub(super) static BARRIER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/barrier.lua")));

/// One run of a script.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) script: &'static Script,
    pub(super) keys: &'a [&'a [u8]],
    pub(super) arguments: &'a [&'a [u8]],
}

impl Script {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), hash: redis::Script::new(text).get_hash().to_owned() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn hash(&self) -> &str {
        &self.hash
    }
}

/// Whether the server doesn't know the script any more, or yet.
pub(super) fn is_forgotten(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// A script that reads a record: `first` knows the places in it, `then` has functions to read it, too.
fn with_records(first: &str, then: &str) -> Script {
    // Lua counts from 1.
    let places = [
        ("NEWEST_FORMAT", usize::from(layout::NEWEST_FORMAT)),
        ("VERSION", layout::VERSION.start + 1),
        ("CREATED", layout::CREATED.start + 1),
        ("ABSOLUTE", layout::ABSOLUTE.start + 1),
        ("EXPIRES", layout::EXPIRES.start + 1),
        ("HAS_SUBJECT", layout::HAS_SUBJECT + 1),
        ("SUBJECT", layout::SUBJECT.start + 1),
        ("HEADER", layout::SUBJECT.end),
    ];
    let places = constants(places.map(|(name, place)| (name, place as u64)));
    let last = format!("local LAST = '{}'\n", layout::SUBJECT.end - 1);
    Script::new(&[&places, &last, first, include_str!("lua/record.lua"), then].concat())
}

/// A script that lists sessions.
fn with_index(text: &str) -> Script {
    let places = constants([
        ("MEMBER", Member::LEN as u64),
        ("SESSION", Member::SESSION as u64),
        ("NEVER", NEVER.into()),
        ("ENDING", ENDING),
    ]);
    Script::new(&[&places, include_str!("lua/index.lua"), text].concat())
}

fn constants<const N: usize>(numbers: [(&str, u64); N]) -> String {
    numbers.map(|(name, number)| format!("local {name} = {number}\n")).concat()
}
