//! Finding Stayput's cookies in a request. Any bytes may stand there.

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};
use memchr::memmem::Finder;

/// The `Cookie` headers of a request, kept unparsed until somebody asks for the session.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestCookies {
    first: Option<HeaderValue>,
    more: Vec<HeaderValue>,
}

impl RequestCookies {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut all = headers.get_all(COOKIE).iter().cloned();
        Self { first: all.next(), more: all.collect() }
    }

    /// The value of the cookie `name`; of duplicates none, since somebody else may have planted one of them.
    pub(crate) fn single(&self, name: &CookieName) -> Presented<'_> {
        let mut found = Presented::Absent;
        for header in self.first.iter().chain(&self.more) {
            for value in name.values(header.as_bytes()) {
                found = match found {
                    Presented::Absent => Presented::Once(value),
                    Presented::Once(_) | Presented::Several => Presented::Several,
                };
            }
        }
        found
    }
}

/// A cookie's name, prepared for finding it.
#[derive(Clone, Debug)]
pub(crate) struct CookieName {
    name: String,
    /// Finds `name=`.
    finder: Finder<'static>,
}

impl CookieName {
    pub(crate) fn new(name: String) -> Self {
        let finder = Finder::new(&format!("{name}=")).into_owned();
        Self { name, finder }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.name
    }

    /// The values of all cookies of this name in one header.
    fn values<'h>(&self, header: &'h [u8]) -> impl Iterator<Item = &'h [u8]> {
        let value = |at: usize| {
            // The name begins a pair, or it is only the end of another one's.
            let before = header[..at].trim_ascii_end();
            let rest = &header[at + self.finder.needle().len()..];
            let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
            (before.is_empty() || before.ends_with(b";")).then(|| rest[..end].trim_ascii())
        };
        self.finder.find_iter(header).filter_map(value)
    }
}

/// How a cookie appears in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presented<'a> {
    Absent,
    Once(&'a [u8]),
    Several,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(headers: &[&'static str]) -> RequestCookies {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(COOKIE, HeaderValue::from_static(header));
        }
        RequestCookies::of(&map)
    }

    fn name(name: &str) -> CookieName {
        CookieName::new(name.to_owned())
    }

    #[test]
    fn a_cookie_is_found_among_others_and_across_headers() {
        let cookies = cookies(&["a=1; sid=x=y ;b=2", "sid2=3"]);
        assert_eq!(cookies.single(&name("sid")), Presented::Once(b"x=y"));
        assert_eq!(cookies.single(&name("sid2")), Presented::Once(b"3"));
        assert_eq!(cookies.single(&name("si")), Presented::Absent);
        assert_eq!(cookies.single(&name("id")), Presented::Absent);
        assert_eq!(cookies.single(&name("x")), Presented::Absent);
    }

    #[test]
    fn duplicates_are_told_from_one() {
        assert_eq!(cookies(&["sid=1; sid=1"]).single(&name("sid")), Presented::Several);
        assert_eq!(cookies(&["sid=1", "sid=2"]).single(&name("sid")), Presented::Several);
        assert_eq!(cookies(&["SID=1; sid=2"]).single(&name("sid")), Presented::Once(b"2"));
    }
}
