//! References to other addresses, absolute and relative, and the parts that matter to affinity (RFC 3986, 4.1).
//!
//! It resolves nothing, and doesn't guess: what browsers and RFC 3986 may read differently is not parsed at all.

use std::ops::Range;

use memchr::memchr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    pub(super) bytes: &'a [u8],
    scheme: Option<&'a [u8]>,
    authority: Option<&'a [u8]>,
    pub(super) path: Range<usize>,
    /// Without its question mark.
    pub(super) query: Option<Range<usize>>,
}

impl<'a> Reference<'a> {
    /// A reference as it stands in a field or an attribute, with white space around it or without. `None` if it leads to no
    /// web address, or can be read in more than one way: browsers drop line breaks, and take backslashes for slashes.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let is_odd = |byte: &u8| byte.is_ascii_control() || *byte == b'\\';
        let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace())?;
        let end = start + bytes[start..].trim_ascii_end().len();
        if bytes[start..end].iter().any(is_odd) {
            return None;
        }
        let (scheme, rest) = scheme(bytes, start, end)?;
        let authority = bytes[rest..end].starts_with(b"//").then(|| {
            let from = rest + 2;
            from..find(bytes, from..end, b"/?#")
        });
        let path = authority.as_ref().map_or(rest, |authority| authority.end);
        let (path, query) = split(bytes, path..end);
        Some(Self { bytes, scheme, authority: authority.map(|range| &bytes[range]), path, query })
    }

    /// The target of a request in origin form.
    pub(crate) fn target(bytes: &'a [u8]) -> Self {
        let (path, query) = split(bytes, 0..bytes.len());
        Self { bytes, scheme: None, authority: None, path, query }
    }

    /// Whether it leads to this authority; relative ones do if `is_base_ours`.
    pub(crate) fn leads_to(&self, host: &[u8], is_base_ours: bool) -> bool {
        let bare = |authority: &'a [u8]| without_port(self.scheme, authority);
        match self.authority {
            None => is_base_ours,
            Some(authority) => bare(authority).eq_ignore_ascii_case(without_port(self.scheme, host)),
        }
    }

    pub(super) fn has_authority(&self) -> bool {
        self.authority.is_some()
    }
}

/// The scheme, if there is one, and where what follows it begins. `None` if it is none of the web's, or nothing hierarchical
/// follows.
fn scheme(bytes: &[u8], start: usize, end: usize) -> Option<(Option<&[u8]>, usize)> {
    let first = find(bytes, start..end, b":/?#");
    if bytes.get(first).filter(|_| first < end) != Some(&b':') {
        return Some((None, start));
    }
    let scheme = &bytes[start..first];
    let is_webs = [&b"http"[..], b"https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    (is_webs && bytes[first + 1..end].starts_with(b"//")).then_some((Some(scheme), first + 1))
}

/// Path and query, without a fragment.
fn split(bytes: &[u8], range: Range<usize>) -> (Range<usize>, Option<Range<usize>>) {
    let end = find(bytes, range.clone(), b"#");
    match memchr(b'?', &bytes[range.start..end]) {
        Some(at) => (range.start..range.start + at, Some(range.start + at + 1..end)),
        None => (range.start..end, None),
    }
}

/// Where the first of these bytes stands, or the range's end.
fn find(bytes: &[u8], range: Range<usize>, any: &[u8]) -> usize {
    let found = bytes[range.clone()].iter().position(|byte| any.contains(byte));
    found.map_or(range.end, |at| range.start + at)
}

/// The authority without the port that its scheme has anyway.
fn without_port<'a>(scheme: Option<&[u8]>, authority: &'a [u8]) -> &'a [u8] {
    let port: &[u8] = match scheme {
        Some(scheme) if scheme.len() == b"https".len() => b":443",
        Some(_) => b":80",
        None => b":",
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_leads_here_by_host_and_port_under_either_scheme() {
        for (reference, leads) in [
            ("/a", true),
            ("a?b:c", true),
            ("?a", true),
            ("", false),
            ("#top", true),
            ("http://shop.example/a", true),
            ("HTTPS://SHOP.example", true),
            ("https://shop.example:443/", true),
            ("http://shop.example:80/", true),
            ("//shop.example/a", true),
            (" /a ", true),
            ("http://shop.example:81/", false),
            ("https://shop.example:80/", false),
            ("http://shop.example.evil/", false),
            ("http://www.shop.example/", false),
            ("http://user@shop.example/", false),
            ("http://shop.example@evil/", false),
            ("//evil/shop.example", false),
            ("http:///a", false),
            ("http:a", false),
            ("https:/a", false),
            ("javascript:go('/a')", false),
            ("mailto:a@shop.example", false),
            ("data:text/html,a", false),
            ("tel:1", false),
            ("ftp://shop.example/", false),
            ("/\\evil/a", false),
            ("java\tscript:a", false),
            ("/a\n/b", false),
            ("/a\0", false),
        ] {
            let parsed = Reference::parse(reference.as_bytes());
            let is = parsed.is_some_and(|parsed| parsed.leads_to(b"shop.example", true));
            assert_eq!(is, leads, "{reference:?}");
        }
    }

    #[test]
    fn a_port_of_the_gateways_own_counts() {
        let leads = |reference: &str| {
            Reference::parse(reference.as_bytes()).unwrap().leads_to(b"shop.example:8080", true)
        };
        assert!(leads("http://shop.example:8080/") && leads("//shop.example:8080"));
        assert!(!leads("http://shop.example/") && !leads("http://shop.example:80/"));
        let host = Reference::parse(b"http://shop.example/").unwrap();
        assert!(host.leads_to(b"shop.example:80", true), "clients leave the usual port out, or not");
    }

    #[test]
    fn path_and_query_are_found() {
        let parts = |reference: &str| {
            let parsed = Reference::parse(reference.as_bytes()).unwrap();
            let of = |range: Range<usize>| reference[range].to_owned();
            (of(parsed.path.clone()), parsed.query.clone().map(of))
        };
        let query = |query: &str| Some(query.to_owned());
        assert_eq!(parts("http://a/b/c?d?e#f?g"), ("/b/c".into(), query("d?e")));
        assert_eq!(parts("http://a?"), (String::new(), query("")));
        assert_eq!(parts(" b#c?d "), ("b".into(), None));
        assert_eq!(parts("#c"), (String::new(), None));
        let target = Reference::target(b"//a/b?c");
        assert_eq!((target.path, target.query), (0..5, Some(6..7)), "a target has no authority");
    }
}
