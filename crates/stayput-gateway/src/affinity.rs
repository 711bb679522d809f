//! The rules by which a client's upstream is found, in their order.
//!
//! It says where a request belongs, and never whether that upstream can take it: that is the pool's to decide. It opens no
//! session, and what it hashes goes nowhere else.

mod cookie;
mod session;
mod token;
mod url;

use std::net::IpAddr;
use std::sync::Arc;

use stayput_core::{Clock, Keyring};

use self::cookie::AffinityCookie;
pub(crate) use self::cookie::{Found, OwnCookies, Pin, SetCookie};
use self::session::SessionCookies;
pub(crate) use self::token::Token;
pub(crate) use self::url::AffinityUrl;
use crate::buffer::Buffer;
use crate::config::{PoolConfig, Rule};
use crate::head::{Fields, Kind};
use crate::links::Links;
use crate::pool::{ClientHash, Whereto};

pub(crate) struct Affinity {
    rules: Vec<Step>,
    cookie: Option<AffinityCookie>,
    url: Option<AffinityUrl>,
    /// What no upstream gets to see.
    own_cookies: Arc<OwnCookies>,
    clock: Arc<dyn Clock>,
}

/// A rule, ready to be applied.
enum Step {
    Cookie,
    Session(SessionCookies),
    Url,
    Header(String),
    Ip,
}

/// Where a request belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) whereto: Whereto,
    /// What the client's affinity cookie or address says, if that decides.
    pub(crate) pin: Option<Pin>,
    /// Whether it is the address that says so.
    pub(crate) is_pin_in_url: bool,
    /// Whether the client is to have an affinity cookie: no rule before that one found something.
    pub(crate) is_by_cookie: bool,
    /// Whether the links of the answer are to carry the route: the client keeps no cookies, and no rule before the one for
    /// addresses found something.
    pub(crate) is_by_url: bool,
}

impl Route {
    /// Whether the client is to be pinned to the upstream that answers.
    pub(crate) fn pins(&self) -> bool {
        self.is_by_cookie || self.is_by_url
    }
}

impl Affinity {
    pub(crate) fn new(pool: &PoolConfig, keyring: &Keyring, clock: &Arc<dyn Clock>) -> Self {
        let step = |rule: &Rule| match rule {
            Rule::Cookie(_) => Step::Cookie,
            Rule::Session(session) => Step::Session(SessionCookies::new(session)),
            Rule::Url(_) => Step::Url,
            Rule::Header(name) => Step::Header(name.clone()),
            Rule::Ip => Step::Ip,
        };
        Self {
            rules: pool.affinity.rules.iter().map(step).collect(),
            cookie: pool.affinity.cookie().map(|rule| AffinityCookie::new(rule, &pool.upstreams, keyring)),
            url: pool.affinity.url().map(|rule| AffinityUrl::new(rule, &pool.upstreams, keyring)),
            own_cookies: Arc::new(OwnCookies::of([pool])),
            clock: Arc::clone(clock),
        }
    }

    /// The same where the gateway's affinity cookies are these, other pools' among them.
    pub(crate) fn among(self, own_cookies: &Arc<OwnCookies>) -> Self {
        Self { own_cookies: Arc::clone(own_cookies), ..self }
    }

    /// Whether clients are pinned by a cookie.
    pub(crate) fn has_cookie(&self) -> bool {
        self.cookie.is_some()
    }

    /// Whether a rule goes by a hash.
    pub(crate) fn is_hashed(&self) -> bool {
        self.rules.iter().any(|rule| !matches!(rule, Step::Cookie | Step::Url))
    }

    /// What a pool whose addresses carry routes knows of them.
    pub(crate) fn url(&self) -> Option<&AffinityUrl> {
        self.url.as_ref()
    }

    /// Writes the request's `Cookie` fields without the gateway's affinity cookies, and says where the request belongs in whose address
    /// this was found.
    pub(crate) fn route(
        &self,
        fields: &Fields<'_, '_>,
        in_url: Found,
        client: IpAddr,
        out: &mut Buffer,
    ) -> Route {
        let mut found = Found::default();
        let own = self.cookie.as_ref().map(AffinityCookie::name);
        for value in fields.all(Kind::Cookie) {
            self.own_cookies.copy_others(value, own, &mut found, out);
        }
        let mut route = Route::default();
        for rule in &self.rules {
            let hash = match rule {
                Step::Cookie => {
                    route.is_by_cookie = true;
                    route.pin = self.cookie.as_ref().and_then(|cookie| cookie.pin(found, &*self.clock));
                    None
                }
                Step::Url => {
                    route.is_by_url = !fields.has(Kind::Cookie);
                    route.pin = self.url.as_ref().and_then(|url| url.pin(in_url, &*self.clock));
                    route.is_pin_in_url = route.pin.is_some();
                    None
                }
                Step::Session(cookies) => {
                    cookies.find(|| fields.all(Kind::Cookie)).map(|bytes| ClientHash::of(beginning(bytes)))
                }
                Step::Header(name) => {
                    let value = fields.only_named(name).filter(|value| !value.is_empty());
                    value.map(|bytes| ClientHash::of(beginning(bytes)))
                }
                Step::Ip => Some(hash_of_address(client)),
            };
            let whereto = route.pin.map(|pin| Whereto::Pinned(pin.upstream)).or(hash.map(Whereto::Hashed));
            if let Some(whereto) = whereto {
                return Route { whereto, ..route };
            }
        }
        route
    }

    /// What is to be set if a request of this route is answered by `upstream`; nothing if its client has that already.
    pub(crate) fn set_cookie(&self, route: &Route, upstream: usize) -> Option<SetCookie<'_>> {
        let cookie = self.cookie.as_ref().filter(|_| route.is_by_cookie)?;
        let stays = route.pin.filter(|pin| !route.is_pin_in_url && pin.upstream == upstream);
        if stays.is_some_and(|pin| pin.is_current) {
            return None;
        }
        Some(cookie.set(upstream, stays, &*self.clock))
    }

    /// What links to `host` are to carry if a request of this route is answered by `upstream`; nothing if they carry none.
    /// They do whenever the client keeps no cookies, since one that doesn't carry it loses it.
    pub(crate) fn links<'a>(
        &'a self,
        route: &Route,
        upstream: usize,
        host: impl FnOnce() -> &'a [u8],
    ) -> Option<Links<'a>> {
        let url = self.url.as_ref().filter(|_| route.is_by_url)?;
        let stays = route.pin.filter(|pin| route.is_pin_in_url && pin.upstream == upstream);
        Some(url.links(host(), upstream, stays, &*self.clock))
    }
}

/// What is one customer's: of an IPv6 address the /56 that customers are commonly given, since their devices change the
/// rest by themselves.
fn hash_of_address(address: IpAddr) -> ClientHash {
    match address.to_canonical() {
        IpAddr::V4(address) => ClientHash::of(&address.octets()),
        IpAddr::V6(address) => ClientHash::of(&address.octets()[..7]),
    }
}

/// As much of a value as is hashed.
fn beginning(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(MOST_HASHED)]
}

/// Of longer values only the beginning is hashed: browsers keep none (RFC 6265bis, 5.6), and hashing all of what a client
/// sends would be work at its command.
const MOST_HASHED: usize = 4096;

#[cfg(test)]
mod cost;
#[cfg(test)]
mod tests;
