//! Who a client is: the peer, or whom a trusted proxy says it speaks for.
//!
//! Nothing is believed that an untrusted peer says about itself, and upstreams are told of one address only.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::head::{Fields, Kind, Names};

pub(crate) struct Origin {
    peer: IpAddr,
    is_trusted: bool,
    address: IpAddr,
    scheme: &'static str,
    line: String,
}

impl Origin {
    /// A connection from `peer`.
    pub(crate) fn new(peer: IpAddr, trusted: &[IpNet], behind_tls: bool) -> Self {
        let peer = peer.to_canonical();
        let scheme = if behind_tls { "https" } else { "http" };
        let is_trusted = trusts(trusted, peer);
        let mut origin = Self { peer, is_trusted, address: peer, scheme, line: String::new() };
        origin.write_line();
        origin
    }

    /// The same peer, for a site that trusts these proxies.
    pub(crate) fn seen_by(&self, trusted: &[IpNet], behind_tls: bool) -> Self {
        Self::new(self.peer, trusted, behind_tls)
    }

    /// The client of the request last read.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether the peer is a trusted proxy.
    pub(crate) fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    /// Takes off the fields that the peer may not send: those of these names, unless it is trusted.
    pub(crate) fn check(&self, fields: &mut Fields<'_, '_>, names: &Names) {
        if !self.is_trusted {
            fields.take_off(names);
        }
    }

    /// What upstreams are told of it: `X-Forwarded-…` lines, up to the value of `X-Forwarded-Host`.
    pub(crate) fn forwarded(&self) -> &[u8] {
        self.line.as_bytes()
    }

    /// Sees who a request is from.
    pub(crate) fn read(&mut self, fields: &Fields<'_, '_>, trusted: &[IpNet]) {
        if self.is_trusted {
            let address = client(self.peer, fields, trusted);
            if address != self.address {
                self.address = address;
                self.write_line();
            }
        }
    }

    fn write_line(&mut self) {
        let Self { address, scheme, line, .. } = self;
        line.clear();
        write!(line, "X-Forwarded-For: {address}\r\nX-Forwarded-Proto: {scheme}\r\nX-Forwarded-Host: ")
            .expect("a string takes all there is memory for");
    }
}

fn trusts(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// From the connection backwards, each hop that is trusted vouches for the one before it; the first that isn't is the client.
fn client(peer: IpAddr, fields: &Fields<'_, '_>, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer;
    let lines = fields
        .all_backwards(Kind::Forwarding)
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"x-forwarded-for"));
    for hop in lines.flat_map(|(_, value)| value.rsplit(|&byte| byte == b',')).take(MOST_HOPS) {
        // Whoever wrote what can't be read is the last one known.
        let Some(address) = parse(hop) else { break };
        client = address;
        if !trusts(trusted, client) {
            break;
        }
    }
    client
}

/// An address as proxies write it: `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::7`, `[2001:db8::7]:4711`.
fn parse(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(inner, _)| inner);
    let parsed = bare.parse().ok().or_else(|| bare.rsplit_once(':')?.0.parse().ok());
    parsed.map(|address: IpAddr| address.to_canonical())
}

/// More proxies than this in a row are nobody's.
const MOST_HOPS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{Lines, RequestHead};

    fn told(peer: &str, lines: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let lines: Vec<_> = lines.iter().map(|line| format!("X-Forwarded-For: {line}\r\n")).collect();
        let raw = format!("GET / HTTP/1.1\r\nX-Forwarded-Host: 6.6.6.6\r\n{}\r\n", lines.concat());
        let mut lines = Lines::new();
        let head = RequestHead::read(raw.as_bytes(), &mut lines).unwrap();
        let mut origin = Origin::new(peer.parse().unwrap(), &trusted, false);
        origin.read(&head.fields, &trusted);
        let line = format!("X-Forwarded-For: {}\r\n", origin.address());
        assert!(origin.forwarded().starts_with(line.as_bytes()));
        origin.address().to_string()
    }

    #[test]
    fn nobody_but_a_trusted_proxy_says_who_the_client_is() {
        assert_eq!(told("192.0.2.1", &["6.6.6.6"]), "192.0.2.1");
        assert_eq!(told("::ffff:192.0.2.1", &["10.0.0.1"]), "192.0.2.1");
        assert_eq!(told("10.0.0.1", &["6.6.6.6"]), "6.6.6.6");
        assert_eq!(told("::ffff:10.0.0.1", &["6.6.6.6"]), "6.6.6.6");
        assert_eq!(told("fd00::1", &["2001:db8::7"]), "2001:db8::7");
        assert_eq!(told("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_last_address_that_is_not_a_trusted_proxys_is_the_clients() {
        assert_eq!(told("10.0.0.1", &["6.6.6.6, 192.0.2.9"]), "192.0.2.9");
        assert_eq!(told("10.0.0.1", &["6.6.6.6, 192.0.2.9, 10.0.0.2"]), "192.0.2.9");
        assert_eq!(told("10.0.0.1", &["6.6.6.6", "192.0.2.9 ", "10.0.0.2,fd00::3"]), "192.0.2.9");
        assert_eq!(told("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3", "a client among the proxies");
    }

    #[test]
    fn what_cannot_be_read_is_nobody() {
        assert_eq!(told("10.0.0.1", &["6.6.6.6, unknown"]), "10.0.0.1");
        assert_eq!(told("10.0.0.1", &["6.6.6.6, ,10.0.0.2"]), "10.0.0.2");
        assert_eq!(told("10.0.0.1", &[""]), "10.0.0.1");
        for written in ["192.0.2.7:4711", "[2001:db8::7]:4711", "[2001:db8::7]"] {
            let bare = if written.starts_with('[') { "2001:db8::7" } else { "192.0.2.7" };
            assert_eq!(told("10.0.0.1", &[written]), bare);
        }
        let long = "10.0.0.9,".repeat(40) + "10.0.0.2";
        assert_eq!(told("10.0.0.1", &[&format!("6.6.6.6, {long}")]), "10.0.0.9");
    }
}
