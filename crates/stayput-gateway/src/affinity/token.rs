//! Affinity tokens: `base64url(tag of the upstream ‖ made ‖ used ‖ tag of all that)`.
//!
//! Both tags are keyed: a token tells nobody a server's name, and nobody but a gateway with the same keyring can write
//! one or move its times. What it says is still only a hint: whoever copies one gets the same server, and nothing else.

use std::collections::HashMap;
use std::hash::Hasher;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use siphasher::sip::SipHasher24;
use stayput_core::{AffinityTag, Keyring, Timestamp};

use crate::config::{CookieRule, UpstreamConfig};

/// Length of a token in characters.
pub(super) const TOKEN: usize = NAME + STAMP / 3 * 4;
pub(super) type Token = [u8; TOKEN];

/// Length of an encoded tag of an upstream.
const NAME: usize = AffinityTag::LEN / 3 * 4;
/// Length of the rest in bytes: two times of 5 bytes, and a tag of 8.
const STAMP: usize = 5 + 5 + 8;

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    /// The upstream's place in the list.
    pub(crate) upstream: usize,
    /// When the client was pinned to it.
    made: Seconds,
    /// Whether the token need not be written again: it is under the primary key, and has been used lately.
    pub(crate) is_current: bool,
}

/// Full seconds since the Unix epoch.
type Seconds = u64;

pub(super) struct Tokens {
    servers: HashMap<[u8; NAME], Server>,
    /// By upstream: its tag under the primary key.
    names: Vec<[u8; NAME]>,
    /// By key of the keyring, the primary first: what signs the times.
    keys: Vec<[u8; 16]>,
    idle_timeout: Option<Duration>,
    absolute_timeout: Option<Duration>,
}

#[derive(Clone, Copy)]
struct Server {
    upstream: usize,
    key: usize,
}

impl Tokens {
    pub(super) fn new(rule: &CookieRule, upstreams: &[UpstreamConfig], keyring: &Keyring) -> Self {
        let (mut servers, mut names) = (HashMap::new(), Vec::new());
        for (upstream, config) in upstreams.iter().enumerate() {
            for (key, tag) in keyring.affinity_tags(&config.name).enumerate() {
                let name = encoded(&tag);
                servers.insert(name, Server { upstream, key });
                if key == 0 {
                    names.push(name);
                }
            }
        }
        Self {
            servers,
            names,
            keys: keys(keyring),
            idle_timeout: rule.idle_timeout,
            absolute_timeout: rule.absolute_timeout,
        }
    }

    /// What the token says, if it is one of ours and not out of date.
    pub(super) fn read(&self, token: &Token, now: impl Fn() -> Timestamp) -> Option<Pin> {
        let (name, rest) = token.split_first_chunk::<NAME>()?;
        let &Server { upstream, key } = self.servers.get(name)?;
        let mut stamp = [0; STAMP];
        BASE64URL_NOPAD.decode_mut(rest, &mut stamp).ok()?;
        let (times, tag) = stamp.split_first_chunk::<10>()?;
        if sign(&self.keys[key], name, times) != *tag {
            return None;
        }
        let (made, used) = (seconds(&times[..5]), seconds(&times[5..]));
        let mut is_current = key == 0;
        if self.idle_timeout.is_some() || self.absolute_timeout.is_some() {
            let now = now().as_millis() / 1000;
            // A gateway whose clock is behind takes a token of the future for a new one.
            let is_over = |limit: Option<Duration>, since| {
                limit.is_some_and(|limit| now.saturating_sub(since) >= limit.as_secs())
            };
            if is_over(self.idle_timeout, used) || is_over(self.absolute_timeout, made) {
                return None;
            }
            is_current &= !is_over(self.idle_timeout.map(|limit| limit / 10), used);
        }
        Some(Pin { upstream, made, is_current })
    }

    /// A token for the upstream, used now; for a client that `stays` there the time of its making is kept.
    pub(super) fn write(&self, upstream: usize, stays: Option<Pin>, now: Timestamp) -> Token {
        let now = now.as_millis() / 1000;
        let name = &self.names[upstream];
        let mut times = [0; 10];
        for (bytes, time) in times.chunks_mut(5).zip([stays.map_or(now, |pin| pin.made), now]) {
            bytes.copy_from_slice(&time.to_be_bytes()[3..]);
        }
        let mut stamp = [0; STAMP];
        let (first, last) = stamp.split_at_mut(times.len());
        first.copy_from_slice(&times);
        last.copy_from_slice(&sign(&self.keys[0], name, &times));
        let mut token = [0; TOKEN];
        token[..NAME].copy_from_slice(name);
        BASE64URL_NOPAD.encode_mut(&stamp, &mut token[NAME..]);
        token
    }
}

fn encoded(tag: &AffinityTag) -> [u8; NAME] {
    tag.encode().as_bytes().try_into().expect("an encoded tag has 16 characters")
}

fn seconds(bytes: &[u8]) -> Seconds {
    bytes.iter().fold(0, |time, &byte| time << 8 | u64::from(byte))
}

/// SipHash-2-4, which was made for short messages under a secret key: it is checked with every request, and takes a tenth of
/// what HMAC-SHA-256 does.
fn sign(key: &[u8; 16], name: &[u8; NAME], times: &[u8; 10]) -> [u8; 8] {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(name);
    hasher.write(times);
    hasher.finish().to_be_bytes()
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
