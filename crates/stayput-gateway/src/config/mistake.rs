//! What can be wrong with a configuration. Nothing here looks for it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::limits::MOST_SAVINGS;
use super::pool::MOST_UPSTREAMS;
use super::{UpstreamAddress, UpstreamConfig};

/// One mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigMistake {
    /// There is no pool.
    NoPool,
    /// Two pools have this name.
    RepeatedPool(String),
    /// A pool's name is empty or has a control character.
    PoolName(String),
    /// This can't be a host.
    Host(String),
    /// This can't be the beginning of a path.
    Path(String),
    /// Two pools, of these names, have a host and a path in common.
    SamePlace(String, String),
    /// Two pools, of these names, have an affinity cookie of the same name for the same host.
    SameAffinityCookie(String, String),
    /// A mistake in the pool of that name, where there are several.
    InPool(String, Box<ConfigMistake>),
    /// There is no upstream.
    NoUpstream,
    /// Two upstreams have this name.
    RepeatedUpstream(String),
    /// There are this many upstreams, which is too many.
    TooManyUpstreams(usize),
    /// An upstream's name is empty or has a control character.
    UpstreamName(String),
    /// The upstream of that name has this address, which can't be one.
    UpstreamAddress(String, UpstreamAddress),
    /// The upstream of that name has this weight, which is out of range.
    Weight(String, u16),
    /// This can't be a cookie's name.
    CookieName(String),
    /// A timeout of pins is under 10 s.
    ShortPin,
    /// The idle timeout of pins is longer than the absolute one.
    IdleBeyondAbsolute,
    /// There are two rules for the gateway's own cookie.
    TwoCookies,
    /// There are two rules for addresses.
    TwoUrls,
    /// This can't be the name of a parameter that carries a route.
    UrlParameter(String),
    /// The rule for the session cookie names none.
    NoSessionCookie,
    /// The gateway's own cookie has the name of the session cookie.
    SharedCookie,
    /// A client is not told apart by this field: it is none, or not the application's.
    Header(String),
    /// A rule stands after the one for addresses, which always finds something.
    RuleAfterIp,
    /// Failing servers can't be found so.
    Health(&'static str),
    /// An upstream has the gateway's own address.
    OwnAddress(SocketAddr),
    /// No connection is allowed.
    NoConnections,
    /// A timeout is this long, which is more than a year.
    LongTimeout(Duration),
    /// Heads are allowed only this many bytes, which is too few for browsers.
    HeadBytes(usize),
    /// So many retries in a hundred requests, which is more than there are requests.
    RetryPercent(u32),
    /// So many retries to be saved up, which is too many.
    RetrySavings(u32),
}

impl fmt::Display for ConfigMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPool => f.write_str("there is no pool"),
            Self::RepeatedPool(name) => write!(f, "two pools are named {name:?}"),
            Self::PoolName(name) => {
                write!(f, "{name:?} is no name for a pool: it is empty or has a control character")
            }
            Self::Host(host) => write!(f, "{host:?} is no host such as shop.example or *.shop.example"),
            Self::Path(path) => write!(f, "{path:?} is no beginning of a path such as /shop"),
            Self::SamePlace(one, other) => {
                write!(f, "the pools {one:?} and {other:?} are for the same host and path")
            }
            Self::SameAffinityCookie(one, other) => write!(
                f,
                "the pools {one:?} and {other:?} have a host in common and affinity cookies of one name"
            ),
            Self::InPool(pool, mistake) => write!(f, "in the pool {pool:?}: {mistake}"),
            Self::NoUpstream => f.write_str("there is no upstream"),
            Self::RepeatedUpstream(name) => write!(f, "two upstreams are named {name:?}"),
            Self::TooManyUpstreams(count) => {
                write!(f, "there are {count} upstreams, where {MOST_UPSTREAMS} are the most")
            }
            Self::UpstreamName(name) => {
                write!(f, "{name:?} is no name for an upstream: it is empty or has a control character")
            }
            Self::UpstreamAddress(name, address) => {
                write!(f, "the upstream {name:?} has {address} for an address, which is no name of a host")
            }
            Self::Weight(name, weight) => {
                let most = UpstreamConfig::MOST_WEIGHT;
                write!(f, "the upstream {name:?} has the weight {weight}, where 1 to {most} are possible")
            }
            Self::CookieName(name) => write!(f, "{name:?} is no name for a cookie"),
            Self::ShortPin => f.write_str("a pin's timeouts must be at least 10 s"),
            Self::IdleBeyondAbsolute => f.write_str("a pin's idle timeout must not exceed its absolute one"),
            Self::TwoCookies => f.write_str("there are two rules for the affinity cookie"),
            Self::TwoUrls => f.write_str("there are two rules for addresses"),
            Self::UrlParameter(name) => write!(
                f,
                "{name:?} is no name for a parameter: 1 to 64 letters, digits, `-`, `.`, `_` or `~` are"
            ),
            Self::NoSessionCookie => f.write_str("the session rule names no cookie"),
            Self::SharedCookie => f.write_str("the affinity cookie has the name of the session cookie"),
            Self::Header(name) => write!(f, "{name:?} is no field by which clients can be told apart"),
            Self::RuleAfterIp => {
                f.write_str("no request reaches the rule after `ip`, which always finds something")
            }
            Self::Health(text) => f.write_str(text),
            Self::OwnAddress(address) => write!(f, "the upstream {address} is the gateway itself"),
            Self::NoConnections => f.write_str("the limit of connections is 0"),
            Self::LongTimeout(timeout) => write!(f, "a timeout is {timeout:?}, longer than a year"),
            Self::HeadBytes(bytes) => {
                write!(f, "the limit of a head is {bytes} bytes, at least {SMALLEST_HEAD} are needed")
            }
            Self::RetryPercent(percent) => {
                write!(f, "{percent} retries for a hundred requests, where 0 to 100 are possible")
            }
            Self::RetrySavings(savings) => {
                write!(f, "{savings} retries are to be saved up, where 0 to {MOST_SAVINGS} are possible")
            }
        }
    }
}

pub(super) const SMALLEST_HEAD: usize = 1024;
