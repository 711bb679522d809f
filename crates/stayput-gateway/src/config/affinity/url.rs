//! Affinity by a parameter of the address, for clients that keep no cookies.
//!
//! What it carries is a route, never a session: whoever gets hold of such an address gets a server, and nobody's session.

use std::time::Duration;

use super::{ConfigMistake, pin_timeouts};

/// The parameter by which a client without cookies comes back to its upstream.
#[derive(Clone, Debug)]
pub struct UrlRule {
    /// The parameter's name: letters, digits, `-`, `.`, `_` and `~`, at most 64. Default: `stayput-route`.
    pub parameter: String,
    /// Where in the address it stands. Default: [`UrlPlace::Query`].
    pub place: UrlPlace,
    /// Whether it is put into the links of HTML pages, too, and not only into redirects. Default: `false`: pages then pass
    /// without being read, and are compressed as the upstream likes.
    pub html: bool,
    /// A parameter that was written longer ago is forgotten; at least 10 s. Every link is written anew when it is sent, so
    /// this is how long after it got a page a client may follow its links, and also how long an address that was passed on
    /// to others leads them to the same upstream. Default: 1 h.
    pub idle_timeout: Option<Duration>,
    /// A pin is forgotten this long after it was made, however it is used. Default: `None`, never.
    pub absolute_timeout: Option<Duration>,
}

/// Where in an address a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlPlace {
    /// In the query: `/cart?stayput-route=…`.
    Query,
    /// At the end of the path's last segment: `/cart;stayput-route=…`.
    Path,
}

impl Default for UrlRule {
    fn default() -> Self {
        Self {
            parameter: "stayput-route".into(),
            place: UrlPlace::Query,
            html: false,
            idle_timeout: Some(Duration::from_hours(1)),
            absolute_timeout: None,
        }
    }
}

impl UrlRule {
    /// Whether a parameter can have this name: it is spelled the same in every part of an address.
    pub fn takes_parameter(name: &str) -> bool {
        let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_unreserved)
    }

    pub(super) fn mistakes(&self, mistakes: &mut Vec<ConfigMistake>) {
        if !Self::takes_parameter(&self.parameter) {
            mistakes.push(ConfigMistake::UrlParameter(self.parameter.clone()));
        }
        pin_timeouts([self.idle_timeout, self.absolute_timeout], mistakes);
    }
}

/// It stands in every link of a page.
const LONGEST_NAME: usize = 64;
