//! The parameter that carries a route: found in an address, taken off, and put in.
//!
//! Everything else in the address stays as it is, byte for byte: taken off after it was put in, it leaves what was there.

use std::ops::Range;

use memchr::{memchr, memchr_iter};

use super::reference::Reference;
use crate::buffer::Buffer;
use crate::config::{UrlPlace, UrlRule};

pub(crate) struct Parameter {
    name: Box<[u8]>,
    place: UrlPlace,
}

/// A place where the parameter stands, with what separates it from the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) range: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// What has to be done to a reference: parts taken off, the parameter put in behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edits {
    pub(super) cuts: Vec<Range<usize>>,
    pub(super) at: usize,
    separator: Separator,
}

/// What stands before the parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Separator {
    Question,
    And,
    Semicolon,
    /// So that there is a segment to stand in.
    SlashSemicolon,
}

/// The parameter with its value, and how an ampersand is spelled where it goes.
pub(super) struct Carried<'a> {
    pub(super) parameter: &'a Parameter,
    pub(super) token: &'a [u8],
    pub(super) and: &'static [u8],
}

impl Parameter {
    pub(crate) fn new(rule: &UrlRule) -> Self {
        Self { name: rule.parameter.as_bytes().into(), place: rule.place }
    }

    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    pub(crate) fn is_in_path(&self) -> bool {
        self.place == UrlPlace::Path
    }

    /// Everywhere the parameter stands, from front to back.
    pub(crate) fn cuts(&self, reference: &Reference<'_>) -> Vec<Cut> {
        match (self.place, &reference.query) {
            (UrlPlace::Query, Some(query)) => self.query_cuts(reference.bytes, query),
            (UrlPlace::Query, None) => Vec::new(),
            (UrlPlace::Path, _) => self.path_cuts(reference.bytes, &reference.path),
        }
    }

    fn query_cuts(&self, bytes: &[u8], query: &Range<usize>) -> Vec<Cut> {
        let mut cuts: Vec<Cut> = Vec::new();
        let mut is_any_kept = false;
        for part in parts(bytes, query, b'&') {
            let Some(value) = self.value(bytes, &part) else {
                is_any_kept = true;
                continue;
            };
            // One ampersand goes with each: the one before it, where something stays before that.
            let range = if is_any_kept {
                part.start - 1..part.end
            } else {
                part.start..(part.end + 1).min(query.end)
            };
            cuts.push(Cut { range, value });
        }
        if !is_any_kept && let Some(first) = cuts.first_mut() {
            first.range.start = query.start - 1;
        }
        cuts
    }

    fn path_cuts(&self, bytes: &[u8], path: &Range<usize>) -> Vec<Cut> {
        let semicolons = memchr_iter(b';', &bytes[path.clone()]).map(|at| path.start + at);
        let cut = |at: usize| {
            let rest = &bytes[at + 1..path.end];
            let end = rest.iter().position(|byte| matches!(byte, b';' | b'/')).unwrap_or(rest.len());
            let value = self.value(bytes, &(at + 1..at + 1 + end))?;
            Some(Cut { range: at..at + 1 + end, value })
        };
        semicolons.filter_map(cut).collect()
    }

    /// The value's place, if the part is the parameter. Applications decode names, so other spellings of it are it, too.
    fn value(&self, bytes: &[u8], part: &Range<usize>) -> Option<Range<usize>> {
        let name = memchr(b'=', &bytes[part.clone()]).map_or(part.end, |at| part.start + at);
        let spelled = &bytes[part.start..name];
        let is_it = *spelled == *self.name || memchr(b'%', spelled).is_some() && self.is_decoded(spelled);
        is_it.then(|| (name + 1).min(part.end)..part.end)
    }

    fn is_decoded(&self, spelled: &[u8]) -> bool {
        let mut rest = spelled;
        self.name.iter().all(|&byte| next_decoded(&mut rest) == Some(byte)) && rest.is_empty()
    }

    /// Whether what is left of a path would have a segment `.` or `..` that it did not have: `/public/..;a=1/admin` is no way
    /// up for whoever read it before, and must not become one.
    pub(crate) fn uncovers_dots(&self, reference: &Reference<'_>, cuts: &[Cut]) -> bool {
        let dots_before = |cut: &Cut| {
            let before = &reference.bytes[..cut.range.start];
            let segment = before.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
            is_dots(segment.split(|&byte| byte == b';').next().unwrap_or_default())
        };
        self.is_in_path() && cuts.iter().any(dots_before)
    }

    /// What makes the reference carry this parameter, once. `None` where there is no place for it: what leads to the page
    /// that it stands in carries what that page's address does.
    pub(super) fn edits(&self, reference: &Reference<'_>) -> Option<Edits> {
        let Reference { path, query, .. } = reference;
        let is_pathless = path.is_empty() && !reference.has_authority();
        if is_pathless && (self.is_in_path() || query.is_none()) {
            return None;
        }
        let cuts: Vec<_> = self.cuts(reference).into_iter().map(|cut| cut.range).collect();
        let (at, separator) = match (self.place, query) {
            (UrlPlace::Query, Some(query)) => {
                let is_all_cut = cuts.first().is_some_and(|first| first.start < query.start);
                (query.end, if is_all_cut { Separator::Question } else { Separator::And })
            }
            (UrlPlace::Query, None) => (path.end, Separator::Question),
            (UrlPlace::Path, _) => {
                let segment = reference.bytes[path.clone()].rsplit(|&byte| byte == b'/').next();
                let needs_slash = path.is_empty() || segment.is_some_and(is_dots);
                (path.end, if needs_slash { Separator::SlashSemicolon } else { Separator::Semicolon })
            }
        };
        Some(Edits { cuts, at, separator })
    }
}

impl Edits {
    /// The same in a text where the reference begins at `start`.
    pub(super) fn behind(mut self, start: usize) -> Self {
        self.cuts.iter_mut().for_each(|cut| *cut = cut.start + start..cut.end + start);
        self.at += start;
        self
    }

    /// Writes the text with these edits.
    pub(super) fn write(&self, text: &[u8], carried: &Carried<'_>, out: &mut Buffer) {
        let mut from = 0;
        for cut in &self.cuts {
            out.put(&text[from..cut.start]);
            from = cut.end;
        }
        out.put(&text[from..self.at]);
        carried.write(self, |part| out.put(part));
        out.put(&text[self.at..]);
    }
}

impl Carried<'_> {
    /// Writes the parameter as these edits want it.
    pub(super) fn write(&self, edits: &Edits, mut put: impl FnMut(&[u8])) {
        put(match edits.separator {
            Separator::Question => b"?",
            Separator::And => self.and,
            Separator::Semicolon => b";",
            Separator::SlashSemicolon => b"/;",
        });
        put(&self.parameter.name);
        put(b"=");
        put(self.token);
    }
}

/// The parts of a range between separators.
fn parts<'a>(
    bytes: &'a [u8],
    range: &Range<usize>,
    separator: u8,
) -> impl Iterator<Item = Range<usize>> + use<'a> {
    let (mut next, end) = (Some(range.start), range.end);
    std::iter::from_fn(move || {
        let start = next?;
        let found = memchr(separator, &bytes[start..end]).map(|at| start + at);
        next = found.map(|at| at + 1);
        Some(start..found.unwrap_or(end))
    })
}

/// Whether a segment is `.` or `..`, in any spelling.
fn is_dots(segment: &[u8]) -> bool {
    let mut rest = segment;
    let decoded = std::iter::from_fn(|| next_decoded(&mut rest)).take(3);
    let (dots, others): (Vec<u8>, Vec<u8>) = decoded.partition(|&byte| byte == b'.');
    others.is_empty() && matches!(dots.len(), 1 | 2)
}

/// The next byte, percent-decoded.
fn next_decoded(rest: &mut &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if let [b'%', high, low, after @ ..] = *rest
        && let (Some(high), Some(low)) = (digit(*high), digit(*low))
    {
        *rest = after;
        return Some(high << 4 | low);
    }
    let (&first, after) = rest.split_first()?;
    *rest = after;
    Some(first)
}

#[cfg(test)]
mod tests;
