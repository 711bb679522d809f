//! Finding Stayput's cookies in a request. Any bytes may stand there.

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};
use memchr::memchr;

/// The `Cookie` headers of a request, kept unparsed until somebody asks for the session.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestCookies {
    first: Option<HeaderValue>,
    more: Vec<HeaderValue>,
}

impl RequestCookies {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut all = headers.get_all(&COOKIE).iter();
        let (first, second) = (all.next().cloned(), all.next());
        // HTTP/1.1 allows but one, so usually there are no more.
        let more = second.map(|second| std::iter::once(second).chain(all).cloned().collect());
        Self { first, more: more.unwrap_or_default() }
    }

    /// The value of the cookie `name`; of duplicates none, since somebody else may have planted one of them.
    pub(crate) fn single(&self, name: &str) -> Presented<'_> {
        let [value] = self.each([name]);
        value
    }

    /// The same of each of several names that differ, in one pass.
    pub(crate) fn each<const N: usize>(&self, names: [&str; N]) -> [Presented<'_>; N] {
        let mut found = [Presented::Absent; N];
        for mut rest in self.first.iter().chain(&self.more).map(HeaderValue::as_bytes) {
            while !rest.is_empty() {
                let pair = split_pair(&mut rest).trim_ascii();
                let Some(which) = names.iter().position(|name| is_named(name, pair)) else { continue };
                found[which] = match found[which] {
                    Presented::Absent => Presented::Once(&pair[names[which].len() + 1..]),
                    Presented::Once(_) | Presented::Several => Presented::Several,
                };
            }
        }
        found
    }
}

/// Whether `pair` is of the cookie `name`. Of most it is seen from where the name would end.
fn is_named(name: &str, pair: &[u8]) -> bool {
    pair.get(name.len()) == Some(&b'=') && pair.starts_with(name.as_bytes())
}

/// Takes the first pair off `rest`.
fn split_pair<'h>(rest: &mut &'h [u8]) -> &'h [u8] {
    let end = memchr(b';', rest).unwrap_or(rest.len());
    let (pair, after) = rest.split_at(end);
    *rest = after.get(1..).unwrap_or_default();
    pair
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

    #[test]
    fn a_cookie_is_found_among_others_and_across_headers() {
        let cookies = cookies(&["a=1; sid=x=y ;b=2", "sid2=3"]);
        assert_eq!(cookies.single("sid"), Presented::Once(b"x=y"));
        assert_eq!(cookies.single("sid2"), Presented::Once(b"3"));
        assert_eq!(cookies.single("si"), Presented::Absent);
        assert_eq!(cookies.single("id"), Presented::Absent);
        assert_eq!(cookies.single("x"), Presented::Absent);
    }

    #[test]
    fn duplicates_are_told_from_one() {
        assert_eq!(cookies(&["sid=1; sid=1"]).single("sid"), Presented::Several);
        assert_eq!(cookies(&["sid=1", "sid=2"]).single("sid"), Presented::Several);
        assert_eq!(cookies(&["SID=1; sid=2"]).single("sid"), Presented::Once(b"2"));
    }
}
