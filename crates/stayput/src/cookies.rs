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
    #[inline]
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut all = headers.get_all(&COOKIE).iter();
        let (first, second) = (all.next().cloned(), all.next());
        // HTTP/1.1 allows but one, so usually there are no more.
        let more = second.map(|second| std::iter::once(second).chain(all).cloned().collect());
        Self { first, more: more.unwrap_or_default() }
    }

    /// The value of the cookie `name`; of duplicates none, since somebody else may have planted one of them.
    pub(crate) fn single(&self, name: &str) -> Presented<'_> {
        let mut found = Presented::Absent;
        self.each_after(name, |rest| {
            if let Some(value) = rest.strip_prefix(b"=") {
                found.see(value);
            }
        });
        found
    }

    /// The same of each of Stayput's cookies that lead to a session, in one pass. Their names begin with `stem`.
    #[inline]
    pub(crate) fn ours(&self, stem: &str) -> Ours<'_> {
        let mut ours = Ours::default();
        self.each_after(stem, |rest| {
            // Of known lengths, these are compared in no time.
            if let Some(value) = rest.strip_prefix(b"-session=") {
                ours.session.see(value);
            } else if let Some(value) = rest.strip_prefix(b"-version=") {
                ours.version.see(value);
            } else if let Some(value) = rest.strip_prefix(b"-anonymous=") {
                ours.anonymous.see(value);
            } else if let Some(value) = rest.strip_prefix(b"-spare=") {
                ours.spare.see(value);
            }
        });
        ours
    }

    /// Gives `see` what follows `start` in each pair that begins with it.
    #[inline]
    fn each_after<'h>(&'h self, start: &str, mut see: impl FnMut(&'h [u8])) {
        for mut rest in self.first.iter().chain(&self.more).map(HeaderValue::as_bytes) {
            while !rest.is_empty() {
                let pair = split_pair(&mut rest).trim_ascii_start();
                if let Some(rest) = pair.strip_prefix(start.as_bytes()) {
                    see(rest.trim_ascii_end());
                }
            }
        }
    }
}

/// Takes the first pair off `rest`.
fn split_pair<'h>(rest: &mut &'h [u8]) -> &'h [u8] {
    let end = memchr(b';', rest).unwrap_or(rest.len());
    let (pair, after) = rest.split_at(end);
    *rest = after.get(1..).unwrap_or_default();
    pair
}

/// How a cookie appears in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Presented<'a> {
    #[default]
    Absent,
    Once(&'a [u8]),
    Several,
}

impl<'a> Presented<'a> {
    /// Takes note of one more.
    fn see(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Absent => Self::Once(value),
            Self::Once(_) | Self::Several => Self::Several,
        };
    }
}

/// How those of Stayput's cookies appear in a request that lead to a session.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ours<'a> {
    pub(crate) session: Presented<'a>,
    pub(crate) anonymous: Presented<'a>,
    pub(crate) spare: Presented<'a>,
    pub(crate) version: Presented<'a>,
}

impl<'a> Ours<'a> {
    /// The cookie of a session with a subject, or of an anonymous one.
    pub(crate) fn of(&self, with_subject: bool) -> Presented<'a> {
        if with_subject { self.session } else { self.anonymous }
    }
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
    #[test]
    fn stayputs_own_cookies_are_found_by_the_names_that_the_policy_gives_them() {
        let policy = stayput_core::CookiePolicy::default();
        let names =
            [policy.session_name(), policy.anonymous_name(), policy.spare_name(), policy.version_name()];
        let pairs: Vec<_> = names.iter().zip(1..).map(|(name, n)| format!("{name}={n} ")).collect();
        let mut map = HeaderMap::new();
        map.append(COOKIE, HeaderValue::try_from(pairs.join("; ")).unwrap());
        let cookies = RequestCookies::of(&map);
        let ours = cookies.ours(&policy.stem());
        let found = [ours.session, ours.anonymous, ours.spare, ours.version];
        assert_eq!(found, [b"1", b"2", b"3", b"4"].map(|value| Presented::Once(value)));
        for (name, found) in names.iter().zip(found) {
            assert_eq!(cookies.single(name), found);
        }
        assert_eq!(cookies.ours("stayput").session, Presented::Absent);
    }
}
