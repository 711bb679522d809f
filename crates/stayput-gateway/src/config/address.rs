//! Where a server listens: a number, or a name that stands for some.
//!
//! It looks nothing up: what a name stands for changes, and is found out while the gateway runs.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;

/// Where an upstream listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// At this address.
    Socket(SocketAddr),
    /// At whatever addresses the name has, which is looked up again and again. All of them are one upstream.
    Name {
        /// A name such as `app.internal`, at most 253 letters, digits, `-`, `_` and dots.
        host: String,
        /// The port, which a name doesn't tell.
        port: u16,
    },
}

impl UpstreamAddress {
    /// The address, unless it is a name.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            Self::Name { .. } => None,
        }
    }

    /// The port. At 0 nobody can be connected to: it stands where the port isn't known yet.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Socket(address) => address.port(),
            Self::Name { port, .. } => *port,
        }
    }

    pub(super) fn is_possible(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Name { host, .. } => is_host(host),
        }
    }
}

/// Whether who connects to `address` from here meets what listens at `own`: which is that very address or, where `own` is
/// all addresses, any of this machine at its port.
pub(crate) fn leads_to(own: SocketAddr, address: SocketAddr) -> bool {
    // A socket for IPv6 may take IPv4, too.
    let is_of_family = own.is_ipv6() || address.is_ipv4();
    let is_here = |ip: IpAddr| ip.is_unspecified() || ip.is_loopback() || is_reached_from(ip) == Some(ip);
    own.port() == address.port()
        && (own.ip() == address.ip()
            || own.ip().is_unspecified() && is_of_family && is_here(address.ip().to_canonical()))
}

/// The address from which this machine reaches another one: the same if that is its own. It is asked of the routes, and nothing is
/// sent. That a socket can be bound there says less: with `ip_nonlocal_bind`, as on machines that take over each other's addresses, it
/// can be anywhere.
fn is_reached_from(ip: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((ip, DISCARD)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Any port does.
const DISCARD: u16 = 9;

impl From<SocketAddr> for UpstreamAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for UpstreamAddress {
    fn from(address: (I, u16)) -> Self {
        Self::Socket(address.into())
    }
}

impl FromStr for UpstreamAddress {
    type Err = BadAddress;

    /// From `10.0.0.1:3000`, `[fd00::1]:3000` or `app.internal:3000`.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Socket(address));
        }
        let (host, port) = text.rsplit_once(':').ok_or(BadAddress)?;
        // `parse` would take a sign, too.
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port) if is_number && is_host(host) => {
                Ok(Self::Name { host: host.to_ascii_lowercase(), port })
            }
            _ => Err(BadAddress),
        }
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// A text is no address of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no IP address or name with a port, such as 10.0.0.1:3000 or app.internal:3000")
    }
}

impl std::error::Error for BadAddress {}

/// Whether this can be the name of a host. What ends in a number is an address with a mistake in it, as it is for browsers.
fn is_host(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(is_plain) && !label.starts_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_on_all_addresses_knows_all_of_this_machine_as_its_own_at_its_port() {
        let leads = |own: &str, address: &str| leads_to(own.parse().unwrap(), address.parse().unwrap());
        for own in ["0.0.0.0:80", "[::]:80"] {
            for here in ["127.0.0.1:80", "127.8.8.8:80", "0.0.0.0:80"] {
                assert!(leads(own, here), "{own} {here}");
            }
            assert!(!leads(own, "127.0.0.1:81") && !leads(own, "192.0.2.1:80"), "{own}");
        }
        assert!(leads("[::]:80", "[::1]:80") && leads("[::]:80", "[::ffff:127.0.0.1]:80"));
        assert!(!leads("0.0.0.0:80", "[::1]:80"));
        assert!(leads("127.0.0.1:80", "127.0.0.1:80") && !leads("127.0.0.1:80", "127.0.0.2:80"));
    }

    #[test]
    fn an_address_is_a_number_or_a_name_with_a_port_and_reads_as_it_is_written() {
        for text in ["10.0.0.1:3000", "[fd00::1]:3000", "app.internal:3000", "localhost:1", "a_b-1.x.:80"] {
            assert_eq!(text.parse::<UpstreamAddress>().unwrap().to_string(), text);
        }
        assert!("10.0.0.1:3000".parse::<UpstreamAddress>().unwrap().socket().is_some());
        assert!("10.x:3000".parse::<UpstreamAddress>().unwrap().socket().is_none());
        let long = format!("{}:80", "a".repeat(64));
        for text in [
            "app.internal",
            "app.internal:",
            "app.internal:+80",
            "app.internal:70000",
            ":80",
            "a b:80",
            "a..b:80",
            "http://a:80",
            "a:b:80",
            "10.0.0.300:80",
            "10.1:80",
            "-a:80",
            "[::1:80",
            "ä:80",
            ".:80",
            &long,
        ] {
            assert_eq!(text.parse::<UpstreamAddress>(), Err(BadAddress), "{text}");
        }
    }
}
