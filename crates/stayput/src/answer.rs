//! What a response carries to the browser: cookies to set or delete, and how to treat what it has kept.

use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};

use crate::sessions::CookieNames;

/// Changes to a browser's cookies that await the response head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) session: Option<CookieChange>,
    pub(crate) anonymous: Option<CookieChange>,
    pub(crate) logged_out: bool,
}

/// What to do to a cookie.
#[derive(Clone)]
pub(crate) enum CookieChange {
    Set(String),
    Delete,
}

impl std::fmt::Debug for CookieChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Set(_) => "Set(…)",
            Self::Delete => "Delete",
        })
    }
}

impl Answer {
    pub(crate) fn write(&self, names: &CookieNames, headers: &mut HeaderMap) {
        let cookies = [(&names.session, &self.session), (&names.anonymous, &self.anonymous)];
        for (name, change) in cookies {
            let Some(change) = change else { continue };
            let attributes = &names.attributes;
            let cookie = match change {
                CookieChange::Set(value) => format!("{name}={value}{attributes}"),
                CookieChange::Delete => format!("{name}=; Max-Age=0{attributes}"),
            };
            let mut cookie = HeaderValue::try_from(cookie).expect("names and values are cookie tokens");
            cookie.set_sensitive(true);
            headers.append(SET_COOKIE, cookie);
            // OWASP ASVS 5.0, 14.3.2: no cache may keep a response that hands out a session.
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if self.logged_out {
            headers.insert(CLEAR_SITE_DATA, HeaderValue::from_static(r#""cache", "storage""#));
        }
    }
}

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
