//! The application's session cookie, as far as it says whose request this is.
//!
//! Nothing here can verify or open it: a made-up one gets an upstream like any other, and means nothing there.

use std::iter;

use memchr::{memchr, memmem};

use crate::config::{SessionFormat, SessionRule};

pub(super) struct SessionCookies {
    names: Vec<memmem::Finder<'static>>,
    format: SessionFormat,
}

impl SessionCookies {
    pub(super) fn new(rule: &SessionRule) -> Self {
        let finder = |name: &String| memmem::Finder::new(name.as_bytes()).into_owned();
        Self { names: rule.cookies.iter().map(finder).collect(), format: rule.format }
    }

    /// What stays the same of the first of these cookies that is there. One that is there twice with different values
    /// doesn't count: the application doesn't know either which one is right.
    pub(super) fn find<'a, I: Iterator<Item = &'a [u8]>>(&self, fields: impl Fn() -> I) -> Option<&'a [u8]> {
        self.names.iter().find_map(|name| {
            let mut values =
                fields().flat_map(|field| values(name, field)).filter_map(|value| self.lasting(value));
            let first = values.next()?;
            values.all(|value| value == first).then_some(first)
        })
    }

    /// The part of a value that lasts as long as the session.
    fn lasting<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        match self.format {
            SessionFormat::Whole => Some(value).filter(|value| !value.is_empty()),
            SessionFormat::Stayput => {
                let value: &[u8; STAYPUT] = value.try_into().ok()?;
                // All of them, without a way out in between: so it is done by the dozen.
                let is_fine = value.iter().fold(true, |is_fine, &byte| is_fine & is_base64url(byte));
                is_fine.then_some(&value[SESSION_ID])
            }
        }
    }
}

/// Length of a session cookie of Stayput: `base64url(key id ‖ session id ‖ generation ‖ tag)` of 4, 24, 4 and 16 bytes.
const STAYPUT: usize = 64;
/// The characters that only the session id has a part in: all but six of its 192 bits, so there is no need to decode it.
const SESSION_ID: std::ops::Range<usize> = 6..37;

fn is_base64url(byte: u8) -> bool {
    let is_in = |first: u8, count: u8| byte.wrapping_sub(first) < count;
    is_in(b'a', 26) | is_in(b'A', 26) | is_in(b'0', 10) | is_in(b'-', 1) | is_in(b'_', 1)
}

/// The values of a cookie in a `Cookie` field. Each byte is looked at once, however often the name stands there.
fn values<'a>(name: &memmem::Finder<'_>, field: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut at = 0;
    iter::from_fn(move || {
        loop {
            let start = at + name.find(&field[at..])?;
            let before = field[at..start].trim_ascii_end();
            let is_first = before.is_empty() && (at == 0 || field[at - 1] == b';');
            at = start + name.needle().len();
            let rest = field[at..].trim_ascii_start();
            if (is_first || before.ends_with(b";")) && rest.starts_with(b"=") {
                let value = &rest[1..];
                let end = memchr(b';', value).unwrap_or(value.len());
                at = (field.len() - value.len() + end + 1).min(field.len());
                return Some(value[..end].trim_ascii());
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use stayput_core::{CookieValue, Generation, Keyring, SessionId, SystemRandom};

    use super::*;

    fn cookies(format: SessionFormat) -> SessionCookies {
        let cookies = ["sid", "anon"].map(str::to_owned).into();
        SessionCookies::new(&SessionRule { cookies, format })
    }

    fn whole(fields: &[&'static str]) -> Option<&'static [u8]> {
        cookies(SessionFormat::Whole).find(|| fields.iter().map(|field| field.as_bytes()))
    }

    #[test]
    fn a_cookie_is_found_wherever_it_stands_and_nothing_else_is_taken_for_it() {
        for (field, value) in [
            ("sid=1", Some("1")),
            ("a=2; sid=1; b=3", Some("1")),
            ("a=2;sid = 1 ;b=3", Some("1")),
            ("  sid=1", Some("1")),
            ("xsid=2; sidx=3; a=sid=4; sid; sid=1", Some("1")),
            ("xsid=2;  sid=1", Some("1")),
            ("sid=\"a b\"", Some("\"a b\"")),
            ("sid=sid=5", Some("sid=5")),
            ("xsid=1", None),
            ("a=sid=1", None),
            ("sid", None),
            ("sid=", None),
            ("a sid=1", None),
            ("", None),
        ] {
            assert_eq!(whole(&[field]), value.map(str::as_bytes), "{field}");
        }
    }

    #[test]
    fn the_first_of_several_names_counts_and_contradictions_count_for_nothing() {
        assert_eq!(whole(&["anon=2; sid=1"]), Some(&b"1"[..]));
        assert_eq!(whole(&["anon=2"]), Some(&b"2"[..]));
        assert_eq!(whole(&["sid=1", "a=b; sid=1"]), Some(&b"1"[..]), "the same twice is no contradiction");
        assert_eq!(whole(&["sid=1", "sid=2"]), None);
        assert_eq!(whole(&["sid=1; sid=2; anon=3"]), Some(&b"3"[..]));
    }

    #[test]
    fn of_a_stayput_cookie_only_the_session_id_counts() {
        let (one, other) = (Keyring::generate(&SystemRandom), Keyring::generate(&SystemRandom));
        let cookies = cookies(SessionFormat::Stayput);
        let lasting = |id: &SessionId, generation, keyring: &Keyring| {
            let value =
                CookieValue { id: id.clone(), generation: Generation(generation) }.encode("sid", keyring);
            cookies.lasting(value.as_bytes()).unwrap().to_owned()
        };
        for _ in 0..100 {
            let (id, another) = (SessionId::generate(&SystemRandom), SessionId::generate(&SystemRandom));
            let first = lasting(&id, 0, &one);
            assert_eq!(first, lasting(&id, u32::MAX, &one), "a renewal");
            assert_eq!(first, lasting(&id, 0, &other), "another key");
            assert_ne!(first, lasting(&another, 0, &one));
        }
    }

    #[test]
    fn what_is_no_stayput_cookie_counts_for_nothing() {
        let cookies = cookies(SessionFormat::Stayput);
        let fine = "A".repeat(STAYPUT);
        assert!(cookies.lasting(fine.as_bytes()).is_some());
        for value in [String::new(), "A".repeat(63), "A".repeat(65), "A".repeat(65_536)] {
            assert_eq!(cookies.lasting(value.as_bytes()), None);
        }
        for byte in (0..=u8::MAX).filter(|&byte| !is_base64url(byte)) {
            let mut value = fine.clone().into_bytes();
            value[63] = byte;
            assert_eq!(cookies.lasting(&value), None, "{byte}");
        }
    }

    #[test]
    fn a_name_repeated_over_64_kilobytes_is_looked_through_once() {
        let field = "sid;".repeat(16_384).into_bytes();
        let start = std::time::Instant::now();
        assert_eq!(cookies(SessionFormat::Whole).find(|| iter::once(field.as_slice())), None);
        assert!(start.elapsed().as_millis() < 500, "{:?}", start.elapsed());
    }
}
