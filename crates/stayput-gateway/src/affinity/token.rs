//! Affinity tokens: an upstream's tag, when they were made and used, and a tag of all that, each in base64url by itself.
//!
//! Both tags are keyed: a token tells nobody a server's name, and nobody but a gateway with the same keyring can write
//! one or move its times. What it says is still only a hint: whoever copies one gets the same server, and nothing else.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use siphasher::sip::SipHasher24;
use stayput_core::{AffinityTag, Keyring, Timestamp};

use crate::config::{CookieRule, UpstreamConfig};

/// Length of a token in characters.
pub(super) const TOKEN: usize = SIGNED + TAG;
pub(crate) type Token = [u8; TOKEN];

/// Length of an upstream's tag.
const NAME: usize = AffinityTag::LEN / 3 * 4;
/// Length of a time: 48 bits.
const TIME: usize = 8;
/// Length of what is signed. The tag is over characters, so that one that fits needs no decoding.
const SIGNED: usize = NAME + 2 * TIME;
/// Length of the last tag: 64 bits.
const TAG: usize = 11;

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    /// The upstream's place in the list.
    pub(crate) upstream: usize,
    /// When the client was pinned to it, and what tells it from others who were in the same second.
    pub(crate) made: Made,
    /// Whether the token need not be written again: it is under the primary key, and has been used lately.
    pub(crate) is_current: bool,
}

/// Full seconds since the Unix epoch.
type Seconds = u64;

/// Full seconds since the Unix epoch in the lower 36 bits, and above them the thousandths.
pub(crate) type Made = u64;

const SECONDS: u64 = (1 << 36) - 1;

pub(super) struct Tokens {
    servers: HashMap<[u8; NAME], Server, BuildHasherDefault<Beginning>>,
    /// By upstream: its tag under the primary key.
    names: Vec<[u8; NAME]>,
    /// By key of the keyring, the primary first: what signs the times.
    keys: Vec<[u8; 16]>,
    idle_timeout: Option<Duration>,
    absolute_timeout: Option<Duration>,
}

/// The hash of a name is its beginning: that is part of a keyed tag already. What is looked up may be anybody's, but is put
/// nowhere, and nobody can choose those that it is compared with.
#[derive(Default)]
struct Beginning(u64);

impl Hasher for Beginning {
    fn finish(&self) -> u64 {
        // The table takes what it compares from the highest bits, and the place from the lowest.
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    /// The length, which is the same for all.
    fn write_usize(&mut self, _: usize) {}
}

#[derive(Clone, Copy)]
struct Server {
    upstream: usize,
    key: usize,
}

impl Tokens {
    pub(super) fn new(rule: &CookieRule, upstreams: &[UpstreamConfig], keyring: &Keyring) -> Self {
        Self::lasting([rule.idle_timeout, rule.absolute_timeout], upstreams, keyring)
    }

    /// Tokens with these idle and absolute timeouts.
    pub(super) fn lasting(
        [idle_timeout, absolute_timeout]: [Option<Duration>; 2],
        upstreams: &[UpstreamConfig],
        keyring: &Keyring,
    ) -> Self {
        let (mut servers, mut names) = (HashMap::default(), Vec::new());
        for (upstream, config) in upstreams.iter().enumerate() {
            for (key, tag) in keyring.affinity_tags(&config.name).enumerate() {
                let name = encoded(&tag);
                servers.insert(name, Server { upstream, key });
                if key == 0 {
                    names.push(name);
                }
            }
        }
        Self { servers, names, keys: keys(keyring), idle_timeout, absolute_timeout }
    }

    /// What the token says, if it is one of ours and not out of date.
    pub(super) fn read(&self, token: &Token, now: impl Fn() -> Timestamp) -> Option<Pin> {
        let (signed, tag) = token.split_first_chunk::<SIGNED>()?;
        let (name, times) = signed.split_first_chunk::<NAME>()?;
        let &Server { upstream, key } = self.servers.get(name)?;
        if digits::<TAG>(sign(&self.keys[key], signed)) != *tag {
            return None;
        }
        let (made, used) = times.split_at(TIME);
        let made = number(made);
        let mut is_current = key == 0;
        if self.idle_timeout.is_some() || self.absolute_timeout.is_some() {
            let now = now().as_millis() / 1000;
            // A gateway whose clock is behind takes a token of the future for a new one.
            let is_over = |limit: Option<Duration>, since| {
                limit.is_some_and(|limit| now.saturating_sub(since) >= limit.as_secs())
            };
            if is_over(self.idle_timeout, number(used)) || is_over(self.absolute_timeout, made & SECONDS) {
                return None;
            }
            is_current &= !is_over(self.idle_timeout.map(|limit| limit / 10), number(used));
        }
        Some(Pin { upstream, made, is_current })
    }

    /// A token for the upstream, used now; for a client that `stays` there the time of its making is kept.
    pub(super) fn write(&self, upstream: usize, stays: Option<Pin>, now: Timestamp) -> Token {
        let (now, thousandths) = (now.as_millis() / 1000, now.as_millis() % 1000);
        let made = stays.map_or(thousandths << 36 | now & SECONDS, |pin| pin.made);
        let mut token = [0; TOKEN];
        let (signed, tag) = token.split_at_mut(SIGNED);
        let (name, times) = signed.split_at_mut(NAME);
        name.copy_from_slice(&self.names[upstream]);
        times[..TIME].copy_from_slice(&digits::<TIME>(made));
        times[TIME..].copy_from_slice(&digits::<TIME>(now));
        tag.copy_from_slice(&digits::<TAG>(sign(&self.keys[0], signed)));
        token
    }
}

fn encoded(tag: &AffinityTag) -> [u8; NAME] {
    tag.encode().as_bytes().try_into().expect("an encoded tag has 16 characters")
}

/// A number in base64url, the lowest digit first.
fn digits<const N: usize>(mut number: u64) -> [u8; N] {
    [(); N].map(|()| {
        let digit = DIGITS[usize::try_from(number % 64).expect("it is below 64")];
        number /= 64;
        digit
    })
}

/// The number of these digits, which are ours.
fn number(digits: &[u8]) -> Seconds {
    digits.iter().rev().fold(0, |number, &digit| number << 6 | u64::from(VALUES[usize::from(digit)]))
}

static DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static VALUES: [u8; 256] = {
    let (mut values, mut value) = ([0; 256], 0);
    while value < 64 {
        values[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// SipHash-2-4, which was made for short messages under a secret key: it is checked with every request, and takes a tenth of
/// what HMAC-SHA-256 does.
fn sign(key: &[u8; 16], signed: &[u8]) -> u64 {
    SipHasher24::new_with_key(key).hash(signed)
}

/// The keys that sign times, one to each of the keyring. They are tags of names that no upstream can have, since those
/// are without control characters; so no token shows them.
fn keys(keyring: &Keyring) -> Vec<[u8; 16]> {
    let halves = ["\0times of affinity tokens, 1", "\0times of affinity tokens, 2"];
    let [one, two] =
        halves.map(|name| keyring.affinity_tags(name).map(|tag| encoded(&tag)).collect::<Vec<_>>());
    let whole = |(one, two): (&[u8; NAME], &[u8; NAME])| {
        let mut bytes = [0; 24];
        for (half, text) in bytes.chunks_mut(AffinityTag::LEN).zip([one, two]) {
            BASE64URL_NOPAD.decode_mut(text, half).expect("an encoded tag is base64url");
        }
        *bytes.first_chunk().expect("16 of 24 bytes")
    };
    one.iter().zip(&two).map(whole).collect()
}

#[cfg(test)]
mod tests;
