//! The affinity cookie: found, taken off, and set.
//!
//! An unknown token is never an error, and no token ever reaches an upstream.

use memchr::{memchr, memmem, memrchr};
use stayput_core::{Clock, Keyring};

pub(crate) use super::token::Pin;
use super::token::{Token, Tokens};
use crate::buffer::Buffer;
use crate::config::{CookieRule, PoolConfig, UpstreamConfig};

/// What the `Cookie` fields, or the address, of one request hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Found {
    #[default]
    Nothing,
    Token(Token),
    /// Tokens that differ, or something that is no token.
    Unusable,
}

/// The names of all affinity cookies that the gateway sets, whichever pool's they are.
pub(crate) struct OwnCookies {
    names: Vec<Vec<u8>>,
    /// What all names begin with, to see at once that none of them is there. `None` if there is no name.
    finder: Option<memmem::Finder<'static>>,
}

pub(super) struct AffinityCookie {
    name: Vec<u8>,
    tokens: Tokens,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// A field line that pins a client to an upstream.
pub(crate) struct SetCookie<'a> {
    cookie: &'a AffinityCookie,
    token: Token,
}

impl SetCookie<'_> {
    pub(crate) fn write(&self, out: &mut Buffer) {
        out.put_all(&[&self.cookie.before, &self.token, &self.cookie.after]);
    }
}

impl AffinityCookie {
    pub(super) fn new(rule: &CookieRule, upstreams: &[UpstreamConfig], keyring: &Keyring) -> Self {
        let (name, secure) = (rule.full_name(), if rule.secure { "; Secure" } else { "" });
        Self {
            tokens: Tokens::new(rule, upstreams, keyring),
            before: format!("Set-Cookie: {name}=").into_bytes(),
            after: format!("; Path=/; HttpOnly; SameSite=Lax{secure}\r\n").into_bytes(),
            name: name.into_bytes(),
        }
    }

    /// What the token says, if it is one of ours.
    pub(super) fn pin(&self, found: Found, clock: &dyn Clock) -> Option<Pin> {
        match found {
            Found::Token(token) => self.tokens.read(&token, || clock.now()),
            Found::Nothing | Found::Unusable => None,
        }
    }

    /// The field line for a client that goes to the upstream now, or `stays` there.
    pub(super) fn set(&self, upstream: usize, stays: Option<Pin>, clock: &dyn Clock) -> SetCookie<'_> {
        SetCookie { cookie: self, token: self.tokens.write(upstream, stays, clock.now()) }
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }
}

impl OwnCookies {
    /// Those of these pools.
    pub(crate) fn of<'a>(pools: impl IntoIterator<Item = &'a PoolConfig>) -> Self {
        let rules = pools.into_iter().filter_map(|pool| pool.affinity.cookie());
        Self::named(rules.map(|rule| rule.full_name().into_bytes()).collect())
    }

    fn named(names: Vec<Vec<u8>>) -> Self {
        let common = names.iter().skip(1).fold(names.first().map(Vec::as_slice), |common, name| {
            let common = common?;
            let same = common.iter().zip(name).take_while(|(one, other)| one == other).count();
            Some(&common[..same])
        });
        let finder = common.map(|common| memmem::Finder::new(common).into_owned());
        Self { names, finder }
    }

    /// Writes a `Cookie` field without the affinity cookies, the others byte for byte; nothing if none is left. Notes what the
    /// one called `own` says.
    pub(super) fn copy_others(&self, value: &[u8], own: Option<&[u8]>, found: &mut Found, out: &mut Buffer) {
        let Some(at) = self.finder.as_ref().and_then(|finder| finder.find(value)) else {
            out.put_all(&[b"Cookie: ", value, b"\r\n"]);
            return;
        };
        // Before the part in which the name was found there is none of ours.
        let (others, rest) = value.split_at(memrchr(b';', &value[..at]).map_or(0, |semicolon| semicolon + 1));
        let is_blank = |byte: &u8| *byte == b';' || byte.is_ascii_whitespace();
        let start = others.iter().position(|byte| !is_blank(byte)).unwrap_or(others.len());
        let others = &others[start..];
        let mut written = !others.is_empty();
        if written {
            out.put_all(&[b"Cookie: ", &others[..others.len() - 1]]);
        }
        for part in Split(Some(rest)) {
            if let Some((name, token)) = self.token(part) {
                if own == Some(name) {
                    found.add(token);
                }
            } else if written {
                out.put_all(&[b";", part]);
            } else if !part.trim_ascii().is_empty() {
                out.put_all(&[b"Cookie: ", part.trim_ascii_start()]);
                written = true;
            }
        }
        if written {
            out.put(b"\r\n");
        }
    }

    /// Name and value, if the part is an affinity cookie.
    fn token<'a>(&self, part: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let (name, value) = part.split_at_checked(memchr(b'=', part)?)?;
        let name = name.trim_ascii();
        self.names.iter().any(|own| own == name).then(|| (name, value[1..].trim_ascii()))
    }
}

impl Found {
    pub(super) fn add(&mut self, value: &[u8]) {
        *self = match (*self, value.try_into()) {
            (Self::Nothing, Ok(token)) => Self::Token(token),
            (Self::Token(earlier), Ok(token)) if earlier == token => *self,
            _ => Self::Unusable,
        };
    }
}

/// The parts between semicolons. (`slice::split` looks at every byte; a cookie may have 64 KB.)
struct Split<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        match memchr(b';', rest) {
            Some(at) => {
                self.0 = Some(&rest[at + 1..]);
                Some(&rest[..at])
            }
            None => self.0.take(),
        }
    }
}

#[cfg(test)]
mod tests {
    use stayput_core::{SystemClock, SystemRandom};

    use super::super::token::TOKEN;
    use super::*;

    fn cookie(rule: &CookieRule) -> AffinityCookie {
        let upstream = UpstreamConfig::new("a", ([127, 0, 0, 1], 1).into());
        AffinityCookie::new(rule, &[upstream], &Keyring::generate(&SystemRandom))
    }

    fn copied(value: &str) -> (String, Found) {
        copied_among(&["aff"], value)
    }

    /// What is left and found where cookies of these names are the gateway's, the first of them the pool's own.
    fn copied_among(names: &[&str], value: &str) -> (String, Found) {
        let (mut found, mut out) = (Found::default(), Buffer::default());
        let own = OwnCookies::named(names.iter().map(|name| name.as_bytes().to_vec()).collect());
        let first = names.first().map(|name| name.as_bytes());
        own.copy_others(value.as_bytes(), first, &mut found, &mut out);
        (String::from_utf8(out.filled().to_vec()).unwrap(), found)
    }

    #[test]
    fn only_the_affinity_cookie_is_taken_off() {
        let (one, other) = ("x".repeat(TOKEN), "y".repeat(TOKEN));
        let token = Found::Token(one.as_bytes().try_into().unwrap());
        for (value, left, found) in [
            ("a=1; b=2", "Cookie: a=1; b=2\r\n", Found::Nothing),
            ("a=1;aff=ONE;  b=\"2\";", "Cookie: a=1;  b=\"2\";\r\n", token),
            ("aff=ONE; a=aff", "Cookie: a=aff\r\n", token),
            ("a=1; aff=ONE", "Cookie: a=1\r\n", token),
            ("a=1; b=2;; c=3 ;aff=ONE;d=4", "Cookie: a=1; b=2;; c=3 ;d=4\r\n", token),
            ("; ;\ta=1;;aff=ONE; b=2", "Cookie: a=1;; b=2\r\n", token),
            (" ; aff=ONE; b=2", "Cookie: b=2\r\n", token),
            ("aff=ONE", "", token),
            ("xaff=1; affx=2; aff; a=aff=", "Cookie: xaff=1; affx=2; aff; a=aff=\r\n", Found::Nothing),
            ("aff=ONE; aff=ONE", "", token),
            ("aff=ONE; c=1; aff=OTHER", "Cookie: c=1\r\n", Found::Unusable),
            ("aff=; a=1", "Cookie: a=1\r\n", Found::Unusable),
            ("aff=short", "", Found::Unusable),
        ] {
            let value = value.replace("ONE", &one).replace("OTHER", &other);
            assert_eq!(copied(&value), (left.to_owned(), found), "{value}");
        }
    }

    #[test]
    fn other_pools_cookies_are_taken_off_and_say_nothing() {
        let (one, other) = ("x".repeat(TOKEN), "y".repeat(TOKEN));
        let token = Found::Token(one.as_bytes().try_into().unwrap());
        let value = format!("a=1; aff-b={other}; aff-a={one}; aff=2; affair=3; z={other}");
        let left = format!("Cookie: a=1; aff=2; affair=3; z={other}\r\n");
        assert_eq!(copied_among(&["aff-a", "aff-b"], &value), (left.clone(), token));
        assert_eq!(copied_among(&["aff-c", "z", "aff-b", "aff-a"], &value).1, Found::Nothing);
        assert_eq!(copied_among(&[], "a=1").0, "Cookie: a=1\r\n");
    }

    #[test]
    fn a_secure_cookie_has_prefix_and_attribute() {
        let line = |secure| {
            let (cookie, mut out) =
                (cookie(&CookieRule { secure, ..CookieRule::default() }), Buffer::default());
            cookie.set(0, None, &SystemClock).write(&mut out);
            let line = String::from_utf8(out.filled().to_vec()).unwrap();
            let (start, rest) = line.split_once('=').unwrap();
            (start.to_owned(), rest[TOKEN..].to_owned())
        };
        let attributes = "; Path=/; HttpOnly; SameSite=Lax";
        assert_eq!(line(false), ("Set-Cookie: stayput-affinity".into(), format!("{attributes}\r\n")));
        assert_eq!(
            line(true),
            ("Set-Cookie: __Host-stayput-affinity".into(), format!("{attributes}; Secure\r\n"))
        );
    }
}
