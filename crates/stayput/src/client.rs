//! Who is at the other end: the client's address, scheme and browser, as far as anybody trustworthy says.
//!
//! What a client says of itself in forwarding headers is never believed: only proxies that the application trusts may
//! speak for others.

mod proxies;

use std::net::IpAddr;

use http::header::{HeaderMap, HeaderValue, USER_AGENT};
use http::{Extensions, HeaderName};

pub use proxies::{NotANetwork, TrustedProxies};

/// Address, scheme and browser of a request's client. What isn't known is `None`.
#[derive(Clone, Debug, Default)]
pub struct Client {
    address: Option<IpAddr>,
    is_https: Option<bool>,
    agent: Option<HeaderValue>,
}

impl Client {
    #[cfg(test)]
    pub(crate) fn new(address: Option<IpAddr>, is_https: Option<bool>, agent: Option<HeaderValue>) -> Self {
        Self { address, is_https, agent }
    }

    /// The address: that of the connection, or what trusted proxies say.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether the client came by https, as the nearest trusted proxy says.
    pub fn is_https(&self) -> Option<bool> {
        self.is_https
    }

    /// The browser, as it says (`User-Agent`).
    pub fn agent(&self) -> Option<&str> {
        self.agent.as_ref()?.to_str().ok()
    }

    pub(crate) fn agent_bytes(&self) -> &[u8] {
        self.agent.as_ref().map_or(&[], HeaderValue::as_bytes)
    }
}

/// Gives the address at the other end of a request's connection.
pub(crate) type PeerAddress = fn(&Extensions) -> Option<IpAddr>;

/// How the application is reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    pub(crate) peer: Option<PeerAddress>,
    pub(crate) proxies: TrustedProxies,
}

impl Reach {
    pub(crate) fn client(&self, headers: &HeaderMap, extensions: &Extensions) -> Client {
        let agent = headers.get(&USER_AGENT).cloned();
        let Some(peer) = self.peer.and_then(|peer| peer(extensions)) else {
            return Client { agent, ..Client::default() };
        };
        let peer = peer.to_canonical();
        if !self.proxies.trust(peer) {
            return Client { address: Some(peer), is_https: None, agent };
        }
        Client { address: Some(self.proxies.client(peer, headers)), is_https: is_https(headers), agent }
    }
}

/// What the nearest proxy says, which wrote last.
fn is_https(headers: &HeaderMap) -> Option<bool> {
    let last = headers.get_all(X_FORWARDED_PROTO).iter().next_back()?.to_str().ok()?;
    let scheme = last.rsplit(',').next()?.trim();
    Some(scheme.eq_ignore_ascii_case("https"))
}

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
