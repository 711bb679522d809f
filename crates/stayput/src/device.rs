//! What a session remembers of where it is used: for its owner to recognise it by, and to notice that it moved.
//!
//! A changed device is an event, never by itself a reason to refuse anybody: networks change under honest users.

use std::net::{IpAddr, Ipv6Addr};

use crate::client::Client;

/// Browser and addresses of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Device {
    /// The `User-Agent`, as much of it as is kept.
    pub(crate) agent: String,
    /// The last addresses, the newest first: two, since many clients take turns between IPv4 and IPv6.
    pub(crate) addresses: Vec<IpAddr>,
}

/// In what a client differs from the device that a session knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) agent: bool,
    pub(crate) address: bool,
}

impl Device {
    pub(crate) fn of(client: &Client) -> Self {
        Self {
            agent: String::from_utf8_lossy(kept(client)).into_owned(),
            addresses: client.address().into_iter().collect(),
        }
    }

    /// The device as it is known after `client` was seen.
    pub(crate) fn seen(&self, client: &Client) -> Self {
        let now = Self::of(client);
        let agent = if client.agent_bytes().is_empty() { self.agent.clone() } else { now.agent };
        let before = self.addresses.iter().filter(|address| !now.addresses.contains(address));
        let addresses = now.addresses.iter().chain(before).take(ADDRESSES).copied().collect();
        Self { agent, addresses }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let agent = self.agent.as_bytes();
        let len = u16::try_from(agent.len()).expect("an agent is cut to less than 64 KiB");
        let mut bytes = len.to_be_bytes().to_vec();
        bytes.extend_from_slice(agent);
        for address in &self.addresses {
            bytes.extend_from_slice(&octets(*address));
        }
        bytes
    }

    /// What [`Device::encode`] gave; of anything else, what can be read of it.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let (agent, addresses) = split(bytes);
        let addresses = addresses.iter().map(|octets| Ipv6Addr::from(*octets).to_canonical()).collect();
        Self { agent: String::from_utf8_lossy(agent).into_owned(), addresses }
    }
}

/// In what `client` differs from the encoded device `known`: asked for every request, so nothing is decoded for it. What
/// isn't known of either side doesn't differ.
#[inline]
pub(crate) fn moved(known: &[u8], client: &Client) -> Moved {
    let (agent, addresses) = split(known);
    let seen = kept(client);
    let is_known = |address| addresses.iter().any(|known| is_near(*known, octets(address)));
    Moved {
        agent: seen != agent
            && !(seen.is_empty() || agent.is_empty() || String::from_utf8_lossy(seen).as_bytes() == agent),
        address: !addresses.is_empty() && client.address().is_some_and(|address| !is_known(address)),
    }
}

/// An IPv6 client changes its address within its /64 by itself, daily or more often.
fn is_near(a: [u8; 16], b: [u8; 16]) -> bool {
    let is_v4 = Ipv6Addr::from(a).to_ipv4_mapped().is_some();
    if is_v4 { a == b } else { a[..8] == b[..8] }
}

fn split(bytes: &[u8]) -> (&[u8], &[[u8; 16]]) {
    let Some((len, rest)) = bytes.split_first_chunk() else { return (&[], &[]) };
    let (agent, addresses) = rest.split_at_checked(u16::from_be_bytes(*len).into()).unwrap_or_default();
    (agent, addresses.as_chunks().0)
}

/// As much of the client's agent as is kept.
fn kept(client: &Client) -> &[u8] {
    let agent = client.agent_bytes();
    &agent[..agent.len().min(AGENT)]
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Addresses that are kept.
const ADDRESSES: usize = 2;

/// Bytes of an agent that are kept.
const AGENT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn client(agent: &str, address: &str) -> Client {
        let agent = http::HeaderValue::from_bytes(agent.as_bytes()).unwrap();
        Client::new(Some(address.parse().unwrap()), None, Some(agent))
    }

    #[test]
    fn a_device_is_read_as_it_was_written() {
        for device in [Device::default(), Device::of(&client("Firefox", "192.0.2.7"))] {
            assert_eq!(Device::decode(&device.encode()), device);
        }
        assert_eq!(Device::decode(&[0, 9, b'x']), Device::default());
    }

    #[test]
    fn a_device_moves_when_its_agent_changes_or_both_known_addresses_do() {
        let home = client("Firefox", "192.0.2.7");
        let device = Device::of(&home).seen(&client("Firefox", "2001:db8::7"));
        assert_eq!(moved(&device.encode(), &home), Moved::default());
        assert_eq!(moved(&device.encode(), &client("Firefox", "2001:db8::8")), Moved::default());
        assert!(moved(&device.encode(), &client("Firefox", "2001:db8:0:1::7")).address);
        assert!(moved(&device.encode(), &client("Firefox", "192.0.2.8")).address);
        let elsewhere = client("curl", "198.51.100.1");
        assert_eq!(moved(&device.encode(), &elsewhere), Moved { agent: true, address: true });
        let device = device.seen(&elsewhere);
        assert_eq!(device.agent, "curl");
        assert_eq!(device.addresses.len(), 2);
        assert_eq!(moved(&device.encode(), &home), Moved { agent: true, address: true });
        assert_eq!(moved(&device.encode(), &Client::default()), Moved::default());
        assert_eq!(moved(&Device::default().encode(), &home), Moved::default());
    }

    #[test]
    fn a_long_agent_is_cut_wherever_that_is_and_stays_the_same() {
        let client = client(&format!("x{}", "ä".repeat(300)), "192.0.2.7");
        let device = Device::of(&client);
        assert!(device.agent.len() <= AGENT + 2);
        assert_eq!(moved(&device.encode(), &client), Moved::default());
    }
}
