//! The rules by which a client's upstream is found, in their order.
//!
//! It says where a request belongs, and never whether that upstream can take it: that is the pool's to decide. It opens no
//! session, and what it hashes goes nowhere else.

mod cookie;
mod session;
mod token;

use std::net::IpAddr;
use std::sync::Arc;

use stayput_core::{Clock, Keyring};

use self::cookie::{AffinityCookie, Found};
pub(crate) use self::cookie::{Pin, SetCookie};
use self::session::SessionCookies;
use crate::buffer::Buffer;
use crate::config::{PoolConfig, Rule};
use crate::head::{Fields, Kind};
use crate::pool::{ClientHash, Whereto};

pub(crate) struct Affinity {
    rules: Vec<Step>,
    cookie: Option<AffinityCookie>,
    clock: Arc<dyn Clock>,
}

/// A rule, ready to be applied.
enum Step {
    Cookie,
    Session(SessionCookies),
    Header(String),
    Ip,
}

/// Where a request belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) whereto: Whereto,
    /// What the client's affinity cookie says, if that decides.
    pub(crate) pin: Option<Pin>,
    /// Whether the client is to have an affinity cookie: no rule before that one found something.
    pub(crate) is_by_cookie: bool,
}

impl Affinity {
    pub(crate) fn new(pool: &PoolConfig, keyring: &Keyring, clock: &Arc<dyn Clock>) -> Self {
        let step = |rule: &Rule| match rule {
            Rule::Cookie(_) => Step::Cookie,
            Rule::Session(session) => Step::Session(SessionCookies::new(session)),
            Rule::Header(name) => Step::Header(name.clone()),
            Rule::Ip => Step::Ip,
        };
        Self {
            rules: pool.affinity.rules.iter().map(step).collect(),
            cookie: pool.affinity.cookie().map(|rule| AffinityCookie::new(rule, &pool.upstreams, keyring)),
            clock: Arc::clone(clock),
        }
    }

    /// Whether a rule goes by a hash.
    pub(crate) fn is_hashed(&self) -> bool {
        self.rules.iter().any(|rule| !matches!(rule, Step::Cookie))
    }

    /// Writes the request's `Cookie` fields without the affinity cookie, and says where the request belongs.
    pub(crate) fn route(&self, fields: &Fields<'_, '_>, client: IpAddr, out: &mut Buffer) -> Route {
        let mut found = Found::default();
        for value in fields.all(Kind::Cookie) {
            match &self.cookie {
                Some(cookie) => cookie.copy_others(value, &mut found, out),
                None => out.put_all(&[b"Cookie: ", value, b"\r\n"]),
            }
        }
        let mut is_by_cookie = false;
        for rule in &self.rules {
            let hash = match rule {
                Step::Cookie => {
                    is_by_cookie = true;
                    if let Some(pin) = self.cookie.as_ref().and_then(|cookie| cookie.pin(found, &*self.clock))
                    {
                        return Route {
                            whereto: Whereto::Pinned(pin.upstream),
                            pin: Some(pin),
                            is_by_cookie,
                        };
                    }
                    None
                }
                Step::Session(cookies) => cookies.find(|| fields.all(Kind::Cookie)),
                Step::Header(name) => fields.only_named(name).filter(|value| !value.is_empty()),
                Step::Ip => {
                    return Route {
                        whereto: Whereto::Hashed(hash_of_address(client)),
                        pin: None,
                        is_by_cookie,
                    };
                }
            };
            if let Some(bytes) = hash {
                let whereto = Whereto::Hashed(ClientHash::of(&bytes[..bytes.len().min(MOST_HASHED)]));
                return Route { whereto, pin: None, is_by_cookie };
            }
        }
        Route { is_by_cookie, ..Route::default() }
    }

    /// What is to be set if a request of this route is answered by `upstream`; nothing if its client has that already.
    pub(crate) fn set_cookie(&self, route: &Route, upstream: usize) -> Option<SetCookie<'_>> {
        let cookie = self.cookie.as_ref().filter(|_| route.is_by_cookie)?;
        let stays = route.pin.filter(|pin| pin.upstream == upstream);
        if stays.is_some_and(|pin| pin.is_current) {
            return None;
        }
        Some(cookie.set(upstream, stays, &*self.clock))
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

/// Of longer values only the beginning is hashed: browsers keep none (RFC 6265bis, 5.6), and hashing all of what a client
/// sends would be work at its command.
const MOST_HASHED: usize = 4096;

#[cfg(test)]
mod cost;
#[cfg(test)]
mod tests;
