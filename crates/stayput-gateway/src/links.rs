//! Links that carry a route: in redirects and in pages, for clients that send no cookie.
//!
//! It touches no link to another site, and of those to this one nothing but the parameter.

mod attribute;
mod page;
mod parameter;
mod reference;
mod refresh;

pub(crate) use self::page::Page;
pub(crate) use self::parameter::Parameter;
use self::parameter::{Carried, Edits};
pub(crate) use self::reference::Reference;
use crate::affinity::Token;
use crate::buffer::Buffer;
use crate::head::{Fields, Kind};

/// What the links of one answer are to carry.
#[derive(Clone, Copy)]
pub(crate) struct Links<'a> {
    pub(crate) parameter: &'a Parameter,
    pub(crate) token: Token,
    /// The authority that the client asked for, to which links lead that carry it.
    pub(crate) host: &'a [u8],
    /// Whether those in pages do, too.
    pub(crate) in_pages: bool,
}

/// What has been done to an answer's fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marked {
    /// Whether one carries the route now.
    pub(crate) field: bool,
    /// Whether the body is a page, to be rewritten; what the fields said of its bytes is gone.
    pub(crate) page: bool,
}

impl Links<'_> {
    /// Copies an answer's fields, but for those that `drop` names, with the route in those that lead somewhere.
    pub(crate) fn copy_fields(
        &self,
        fields: &Fields<'_, '_>,
        status: u16,
        drop: impl Fn(Kind) -> bool,
        out: &mut Buffer,
    ) -> Marked {
        let page = self.in_pages && page::is_page(fields, status);
        let is_marked = |name: &[u8]| is(name, LEADING) || page && is(name, OF_BYTES);
        fields.copy_unless(|kind, name| drop(kind) || is_marked(name), out);
        let mut field = false;
        for (name, value) in fields.list_unless(drop) {
            if is(name, &["location"]) {
                field |= self.put_field("Location", value, self.edits(value, true).as_ref(), out);
            } else if is(name, &["refresh"]) {
                field |= self.put_field("Refresh", value, self.refresh_edits(value).as_ref(), out);
            } else if page && is(name, &["etag"]) {
                // The client's bytes are others than the upstream's, and mean the same.
                let weak: &[u8] = if value.starts_with(b"W/") { b"" } else { b"W/" };
                out.put_all(&[b"ETag: ", weak, value, b"\r\n"]);
            }
        }
        Marked { field, page }
    }

    fn put_field(&self, name: &str, value: &[u8], edits: Option<&Edits>, out: &mut Buffer) -> bool {
        out.put_all(&[name.as_bytes(), b": "]);
        match edits {
            Some(edits) => edits.write(value, &self.carried(b"&"), out),
            None => out.put(value),
        }
        out.put(b"\r\n");
        edits.is_some()
    }

    /// The edits by which a reference comes to carry the route; none if it is not to. `is_base_ours` says whether relative
    /// ones lead to this site.
    fn edits(&self, reference: &[u8], is_base_ours: bool) -> Option<Edits> {
        self.parameter.edits(&self.here(reference, is_base_ours)?)
    }

    /// The reference, if it leads to this site.
    fn here<'r>(&self, reference: &'r [u8], is_base_ours: bool) -> Option<Reference<'r>> {
        Reference::parse(reference).filter(|parsed| parsed.leads_to(self.host, is_base_ours))
    }

    /// The same for what tells a browser to go elsewhere after some seconds.
    fn refresh_edits(&self, value: &[u8]) -> Option<Edits> {
        let url = refresh::url(value)?;
        Some(self.edits(&value[url.clone()], true)?.behind(url.start))
    }

    fn carried(&self, and: &'static [u8]) -> Carried<'_> {
        Carried { parameter: self.parameter, token: &self.token, and }
    }
}

fn is(name: &[u8], known: &[&str]) -> bool {
    known.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Fields that clients follow. `Content-Location` and `Link` name things, and are left alone.
const LEADING: &[&str] = &["location", "refresh"];

/// Fields that speak of a body's very bytes, which will be others.
const OF_BYTES: &[&str] = &[
    "accept-ranges",
    "content-digest",
    "content-length",
    "content-md5",
    "digest",
    "etag",
    "repr-digest",
    "trailer",
];

#[cfg(test)]
mod tests;
