//! Proxies that may say who the client is. From the connection backwards, each hop that is trusted vouches for the one
//! before it; the first that isn't is the client.

use std::fmt;
use std::net::IpAddr;

use http::HeaderName;
use http::header::HeaderMap;
use ipnet::IpNet;

/// The networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed. None by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
}

impl TrustedProxies {
    /// Proxies by network or single address: `10.0.0.0/8`, `127.0.0.1`, `fd00::/8`.
    ///
    /// Each must overwrite or extend the headers itself, as nginx does with `$proxy_add_x_forwarded_for` and as load
    /// balancers of the big clouds do.
    ///
    /// # Errors
    ///
    /// The first text that is neither.
    pub fn new<'a>(networks: impl IntoIterator<Item = &'a str>) -> Result<Self, NotANetwork> {
        let parse = |text: &str| {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse().or_else(|_| address()).map_err(|_| NotANetwork(text.to_owned()))
        };
        Ok(Self { networks: networks.into_iter().map(parse).collect::<Result<_, _>>()? })
    }

    pub(super) fn trust(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The client behind the trusted `peer`.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        let fields = headers.get_all(X_FORWARDED_FOR).iter().rev().map(http::HeaderValue::as_bytes);
        let hops = fields.flat_map(|field| field.rsplit(|byte| *byte == b','));
        for hop in hops.take(MOST_HOPS) {
            // Whoever wrote what can't be read is the last one known.
            let Some(address) = address(hop) else { break };
            client = address;
            if !self.trust(client) {
                break;
            }
        }
        client
    }
}

/// An address as proxies write it: `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::7`, `[2001:db8::7]:4711`.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(inner, _)| inner);
    let parsed = bare.parse().ok().or_else(|| bare.rsplit_once(':')?.0.parse().ok());
    parsed.map(|address: IpAddr| address.to_canonical())
}

/// A text that is neither an address nor a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotANetwork(String);

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is neither an address nor a network such as 10.0.0.0/8", self.0)
    }
}

impl std::error::Error for NotANetwork {}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// More proxies than this in a row are nobody's.
const MOST_HOPS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn client(forwarded: &[&'static str]) -> String {
        let proxies = TrustedProxies::new(["10.0.0.0/8", "127.0.0.1", "fd00::/8"]).unwrap();
        let mut headers = HeaderMap::new();
        for field in forwarded {
            headers.append(X_FORWARDED_FOR, http::HeaderValue::from_static(field));
        }
        proxies.client([10, 0, 0, 1].into(), &headers).to_string()
    }

    #[test]
    fn the_client_is_the_first_hop_from_here_that_is_not_trusted() {
        assert_eq!(client(&["192.0.2.7"]), "192.0.2.7");
        assert_eq!(client(&["192.0.2.7, 10.1.1.1"]), "192.0.2.7");
        assert_eq!(client(&["192.0.2.7", "10.1.1.1"]), "192.0.2.7");
        assert_eq!(client(&["[2001:db8::7]:443, fd00::1"]), "2001:db8::7");
        assert_eq!(client(&["::ffff:192.0.2.7"]), "192.0.2.7");
        assert_eq!(client(&["192.0.2.7:4711"]), "192.0.2.7");
    }

    #[test]
    fn what_a_client_says_of_itself_is_not_believed() {
        assert_eq!(client(&["1.1.1.1, 192.0.2.7, 10.1.1.1"]), "192.0.2.7");
        assert_eq!(client(&["10.9.9.9, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(client(&["1.1.1.1", "192.0.2.7"]), "192.0.2.7");
    }

    #[test]
    fn without_anything_readable_it_is_the_proxy() {
        assert_eq!(client(&[]), "10.0.0.1");
        assert_eq!(client(&["unknown"]), "10.0.0.1");
        assert_eq!(client(&["192.0.2.7, ?, 10.1.1.1"]), "10.1.1.1");
        let many: &'static str = format!("192.0.2.7{}", ",10.1.1.1".repeat(10_000)).leak();
        assert_eq!(client(&[many]), "10.1.1.1");
    }

    #[test]
    fn a_text_that_is_no_network_is_named() {
        let error = TrustedProxies::new(["10.0.0.0/8", "10.0.0.0/33"]).unwrap_err();
        assert!(error.to_string().contains("10.0.0.0/33"), "{error}");
    }
}
