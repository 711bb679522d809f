//! The affinity cookie: found, taken off, and set.
//!
//! A token names a server by a keyed tag. An unknown one is never an error, and no token ever reaches an upstream.

use std::collections::HashMap;

use memchr::{memchr, memmem};
use stayput_core::Keyring;

use crate::buffer::Buffer;
use crate::config::{AffinityConfig, UpstreamConfig};

/// The upstream that a client's cookie points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    /// The upstream's place in the list.
    pub(crate) upstream: usize,
    /// Whether the token is under the primary key, so that it need not be written again.
    pub(crate) is_current: bool,
}

/// What the `Cookie` fields of one request hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Found {
    #[default]
    Nothing,
    Token(Token),
    /// Tokens that differ, or something that is no token.
    Unusable,
}

type Token = [u8; TOKEN];

/// Length of a token: an encoded `AffinityTag`.
const TOKEN: usize = 16;

pub(crate) struct Affinity {
    name: Vec<u8>,
    finder: memmem::Finder<'static>,
    pins: HashMap<Token, Pin>,
    set_cookie: Vec<Vec<u8>>,
}

impl Affinity {
    pub(crate) fn new(config: &AffinityConfig, upstreams: &[UpstreamConfig], keyring: &Keyring) -> Self {
        let (prefix, secure) = if config.secure { ("__Host-", "; Secure") } else { ("", "") };
        let name = format!("{prefix}{}", config.cookie_name);
        let (mut pins, mut set_cookie) = (HashMap::new(), Vec::new());
        for (index, upstream) in upstreams.iter().enumerate() {
            for (position, tag) in keyring.affinity_tags(&upstream.name).enumerate() {
                let token = tag.encode();
                let bytes = token.as_bytes().try_into().expect("an encoded tag has 16 characters");
                pins.insert(bytes, Pin { upstream: index, is_current: position == 0 });
                if position == 0 {
                    let attributes = "Path=/; HttpOnly; SameSite=Lax";
                    set_cookie
                        .push(format!("Set-Cookie: {name}={token}; {attributes}{secure}\r\n").into_bytes());
                }
            }
        }
        let finder = memmem::Finder::new(name.as_bytes()).into_owned();
        Self { name: name.into_bytes(), finder, pins, set_cookie }
    }

    /// Where the token points, if it is one of ours.
    pub(crate) fn pin(&self, found: Found) -> Option<Pin> {
        match found {
            Found::Token(token) => self.pins.get(&token).copied(),
            Found::Nothing | Found::Unusable => None,
        }
    }

    /// The field line that pins a client to an upstream.
    pub(crate) fn set_cookie(&self, upstream: usize) -> &[u8] {
        &self.set_cookie[upstream]
    }

    /// Writes a `Cookie` field without the affinity cookie, the others byte for byte; nothing if none is left.
    pub(crate) fn copy_cookies(&self, value: &[u8], found: &mut Found, out: &mut Buffer) {
        if self.finder.find(value).is_none() {
            out.put_all(&[b"Cookie: ", value, b"\r\n"]);
            return;
        }
        let mut written = false;
        for part in Split(Some(value)) {
            if let Some(token) = self.token(part) {
                found.add(token);
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

    /// The value, if the part is an affinity cookie.
    fn token<'a>(&self, part: &'a [u8]) -> Option<&'a [u8]> {
        let rest = part.trim_ascii().strip_prefix(self.name.as_slice())?;
        rest.trim_ascii_start().strip_prefix(b"=").map(<[u8]>::trim_ascii)
    }
}

impl Found {
    fn add(&mut self, value: &[u8]) {
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
    use stayput_core::SystemRandom;

    use super::*;

    fn upstreams() -> Vec<UpstreamConfig> {
        let upstream = |name: &str| UpstreamConfig { name: name.into(), address: ([127, 0, 0, 1], 1).into() };
        ["a", "b"].map(upstream).into()
    }

    fn affinity(keyring: &Keyring) -> Affinity {
        Affinity::new(&AffinityConfig { cookie_name: "aff".into(), secure: false }, &upstreams(), keyring)
    }

    fn copied(value: &str) -> (String, Found) {
        let (mut found, mut out) = (Found::default(), Buffer::default());
        let keyring = Keyring::generate(&SystemRandom);
        affinity(&keyring).copy_cookies(value.as_bytes(), &mut found, &mut out);
        (String::from_utf8(out.filled().to_vec()).unwrap(), found)
    }

    #[test]
    fn only_the_affinity_cookie_is_taken_off() {
        let token = Found::Token(*b"0123456789abcdef");
        for (value, left, found) in [
            ("a=1; b=2", "Cookie: a=1; b=2\r\n", Found::Nothing),
            ("a=1;aff=0123456789abcdef;  b=\"2\";", "Cookie: a=1;  b=\"2\";\r\n", token),
            ("aff=0123456789abcdef; a=aff", "Cookie: a=aff\r\n", token),
            ("a=1; aff=0123456789abcdef", "Cookie: a=1\r\n", token),
            ("aff=0123456789abcdef", "", token),
            ("xaff=1; affx=2; aff; a=aff=", "Cookie: xaff=1; affx=2; aff; a=aff=\r\n", Found::Nothing),
            ("aff=0123456789abcdef; aff=0123456789abcdef", "", token),
            ("aff=0123456789abcdef; c=1; aff=0123456789abcdeX", "Cookie: c=1\r\n", Found::Unusable),
            ("aff=; a=1", "Cookie: a=1\r\n", Found::Unusable),
            ("aff=short", "", Found::Unusable),
        ] {
            assert_eq!(copied(value), (left.to_owned(), found), "{value}");
        }
    }

    #[test]
    fn tokens_of_every_key_are_honoured_and_those_of_the_primary_are_current() {
        let old = Keyring::generate(&SystemRandom);
        let text = Keyring::generate(&SystemRandom).danger_to_text() + &old.danger_to_text();
        let affinity = affinity(&Keyring::parse(&text).unwrap());
        let token = |keyring: &Keyring, name: &str| {
            let token = keyring.affinity_tags(name).next().unwrap().encode();
            Found::Token(token.as_bytes().try_into().unwrap())
        };
        let current = token(&Keyring::parse(&text).unwrap(), "b");
        assert_eq!(affinity.pin(current), Some(Pin { upstream: 1, is_current: true }));
        assert_eq!(affinity.pin(token(&old, "b")), Some(Pin { upstream: 1, is_current: false }));
        assert_eq!(affinity.pin(token(&old, "c")), None);
        assert_eq!(affinity.pin(token(&Keyring::generate(&SystemRandom), "b")), None);
    }

    #[test]
    fn a_secure_cookie_has_prefix_and_attribute_and_names_no_server() {
        let keyring = Keyring::generate(&SystemRandom);
        let config = AffinityConfig { secure: true, ..AffinityConfig::default() };
        let affinity = Affinity::new(&config, &upstreams(), &keyring);
        let token = keyring.affinity_tags("a").next().unwrap().encode();
        let expected = format!(
            "Set-Cookie: __Host-stayput-affinity={token}; Path=/; HttpOnly; SameSite=Lax; Secure\r\n"
        );
        assert_eq!(affinity.set_cookie(0), expected.as_bytes());
    }
}
