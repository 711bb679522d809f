//! The route in the address: found, taken off, and put into the links of answers.
//!
//! What it says is a hint, as the cookie's is: a token that is unknown, out of date or changed is served all the same. It
//! names an upstream and nothing of the client's.

use stayput_core::{Clock, Keyring};

use super::cookie::Found;
use super::token::{Pin, Tokens};
use crate::buffer::Buffer;
use crate::config::{UpstreamConfig, UrlRule};
use crate::head::{Fields, Kind};
use crate::links::{Links, Parameter, Reference};

pub(crate) struct AffinityUrl {
    parameter: Parameter,
    in_pages: bool,
    tokens: Tokens,
}

/// Without the parameter the path would be another one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UncoversDots;

impl AffinityUrl {
    pub(super) fn new(rule: &UrlRule, upstreams: &[UpstreamConfig], keyring: &Keyring) -> Self {
        Self {
            parameter: Parameter::new(rule),
            in_pages: rule.html,
            tokens: Tokens::lasting([rule.idle_timeout, rule.absolute_timeout], upstreams, keyring),
        }
    }

    /// What the token says, if it is one of ours.
    pub(super) fn pin(&self, found: Found, clock: &dyn Clock) -> Option<Pin> {
        match found {
            Found::Token(token) => self.tokens.read(&token, || clock.now()),
            Found::Nothing | Found::Unusable => None,
        }
    }

    /// What links carry to a client of the upstream, that goes there now or `stays`.
    pub(super) fn links<'a>(
        &'a self,
        host: &'a [u8],
        upstream: usize,
        stays: Option<Pin>,
        clock: &dyn Clock,
    ) -> Links<'a> {
        let token = self.tokens.write(upstream, stays, clock.now());
        Links { parameter: &self.parameter, token, host, in_pages: self.in_pages }
    }

    /// Writes a request's target without the parameter.
    pub(crate) fn copy_target(&self, target: &str, out: &mut Buffer) -> Result<Found, UncoversDots> {
        let (target, mut found) = (target.as_bytes(), Found::default());
        let reference = Reference::target(target);
        let cuts = self.parameter.cuts(&reference);
        if self.parameter.uncovers_dots(&reference, &cuts) {
            return Err(UncoversDots);
        }
        let mut from = 0;
        for cut in cuts {
            found.add(&target[cut.value]);
            out.put(&target[from..cut.range.start]);
            from = cut.range.end;
        }
        out.put(&target[from..]);
        Ok(found)
    }

    /// Copies a request's fields, but for those that `drop` names: without the parameter in `Referer`, so that the
    /// application finds it nowhere, and without the codings that the client takes.
    pub(crate) fn copy_fields(
        &self,
        fields: &Fields<'_, '_>,
        host: &[u8],
        drop: impl Fn(Kind) -> bool,
        out: &mut Buffer,
    ) {
        let is_ours = |name: &[u8]| {
            name.eq_ignore_ascii_case(b"referer") || self.in_pages && name.eq_ignore_ascii_case(CODINGS)
        };
        fields.copy_unless(|kind, name| drop(kind) || is_ours(name), out);
        for (name, value) in fields.list_unless(&drop) {
            if name.eq_ignore_ascii_case(b"referer") {
                out.put(b"Referer: ");
                self.copy_referer(value, host, out);
                out.put(b"\r\n");
            }
        }
    }

    fn copy_referer(&self, value: &[u8], host: &[u8], out: &mut Buffer) {
        let parsed = Reference::parse(value).filter(|referer| referer.leads_to(host, true));
        let mut from = 0;
        for cut in parsed.map(|referer| self.parameter.cuts(&referer)).unwrap_or_default() {
            out.put(&value[from..cut.range.start]);
            from = cut.range.end;
        }
        out.put(&value[from..]);
    }

    /// Writes which codings the client takes; none if pages for it are to be read here.
    pub(crate) fn copy_codings(
        &self,
        fields: &Fields<'_, '_>,
        is_read: bool,
        drop: impl Fn(Kind) -> bool,
        out: &mut Buffer,
    ) {
        if !self.in_pages {
            return;
        }
        if is_read {
            out.put(b"Accept-Encoding: identity\r\n");
            return;
        }
        for (_, value) in fields.list_unless(drop).filter(|(name, _)| name.eq_ignore_ascii_case(CODINGS)) {
            out.put_all(&[b"Accept-Encoding: ", value, b"\r\n"]);
        }
    }
}

const CODINGS: &[u8] = b"accept-encoding";

#[cfg(test)]
mod tests;
