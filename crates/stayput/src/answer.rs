//! What a response carries to the browser: cookies to set or delete, and how to treat what it has kept.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};

use stayput_core::CookiePolicy;

use crate::sessions::CookieNames;

/// Changes to a browser's cookies that await the response head. Most requests have none, and don't carry the room for them.
#[derive(Debug, Default)]
pub(crate) struct Answer(Option<Box<Contents>>);

/// What an answer carries, if anything.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) session: Option<CookieChange>,
    pub(crate) anonymous: Option<CookieChange>,
    pub(crate) spare: Option<CookieChange>,
    pub(crate) version: Option<CookieChange>,
    pub(crate) lifeboat: Option<CookieChange>,
    pub(crate) logged_out: bool,
}

/// What to do to a cookie.
pub(crate) enum CookieChange {
    Set {
        value: String,
        /// How long it outlives the browser; `None` if it doesn't.
        left: Option<Duration>,
    },
    Delete,
}

impl std::fmt::Debug for CookieChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Set { .. } => "Set(…)",
            Self::Delete => "Delete",
        })
    }
}

impl Deref for Answer {
    type Target = Contents;

    fn deref(&self) -> &Contents {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Answer {
    fn deref_mut(&mut self) -> &mut Contents {
        self.0.get_or_insert_default()
    }
}

static NOTHING: Contents = Contents {
    session: None,
    anonymous: None,
    spare: None,
    version: None,
    lifeboat: None,
    logged_out: false,
};

impl Contents {
    pub(crate) fn write(&self, names: &CookieNames, headers: &mut HeaderMap) {
        let cookies = [
            (&names.session, &self.session),
            (&names.anonymous, &self.anonymous),
            (&names.spare, &self.spare),
            (&names.version, &self.version),
            (&names.lifeboat, &self.lifeboat),
        ];
        for (name, change) in cookies {
            let Some(change) = change else { continue };
            let attributes = &names.attributes;
            let cookie = match change {
                CookieChange::Set { value, left } => {
                    let max_age = left.map_or_else(String::new, CookiePolicy::max_age);
                    [name, "=", value, &max_age, attributes].concat()
                }
                CookieChange::Delete => format!("{name}=; Max-Age=0{attributes}"),
            };
            let mut cookie = HeaderValue::try_from(cookie).expect("names and values are cookie tokens");
            cookie.set_sensitive(true);
            headers.append(SET_COOKIE, cookie);
            // OWASP ASVS 5.0, 14.3.2: no cache may keep a response that hands out a session.
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if self.logged_out {
            // Who logs in again with the same answer keeps the new cookie, and a parallel login the one that it set.
            let deletes_cookie = matches!(self.session, Some(CookieChange::Delete));
            // A logout while the store is out leaves word of it in the browser.
            let sets_none = !matches!(self.lifeboat, Some(CookieChange::Set { .. }));
            let all = if names.clears_all && deletes_cookie && sets_none {
                r#""cache", "cookies", "storage""#
            } else {
                r#""cache", "storage""#
            };
            headers.insert(CLEAR_SITE_DATA, HeaderValue::from_static(all));
        }
    }
}

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
