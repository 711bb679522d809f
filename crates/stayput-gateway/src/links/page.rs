//! HTML pages on their way through: links and forms that lead to the same site carry the route.
//!
//! Nothing else in a page changes, not a byte: `lol_html` only says where links stand, and what has to be put in there is put
//! in here. Of a page it holds no more than a tag.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::sync::LazyLock;

use encoding_rs::{Encoding, WINDOWS_1252};
use lol_html::html_content::Element;
use lol_html::{
    AsciiCompatibleEncoding, ElementContentHandlers, HtmlRewriter, MemorySettings, OutputSink, Selector,
    Settings,
};

use super::attribute::Attribute;
use super::parameter::Edits;
use super::{Links, refresh};
use crate::head::{Fields, Kind};

/// A page that is being read.
pub(crate) struct Page<'a> {
    /// None once it could not go on: the rest passes as it is.
    rewriter: Option<HtmlRewriter<'a, Output>>,
    splice: Rc<RefCell<Splice>>,
    has_begun: bool,
}

/// The page with what is put into it.
#[derive(Default)]
struct Splice {
    /// How much of the source has come by.
    at: usize,
    /// How much of what comes next is taken off.
    skip: usize,
    changes: VecDeque<Change>,
    out: Vec<u8>,
}

/// Something to be put in, and how much of the source to be taken off there.
struct Change {
    at: usize,
    cut: usize,
    text: Vec<u8>,
}

struct Output(Rc<RefCell<Splice>>);

impl OutputSink for Output {
    fn handle_chunk(&mut self, chunk: &[u8]) {
        self.0.borrow_mut().pass(chunk);
    }
}

impl<'a> Page<'a> {
    pub(crate) fn new(links: Links<'a>) -> Self {
        let splice: Rc<RefCell<Splice>> = Rc::default();
        let mut marker =
            Marker { links, splice: Rc::clone(&splice), is_base_known: false, is_base_ours: true };
        let handlers = ElementContentHandlers::default().element(move |element: &mut Element<'_, '_>| {
            marker.mark(element);
            Ok(())
        });
        let memory = MemorySettings::new()
            .with_max_allowed_memory_usage(MEMORY)
            .with_graceful_bail_out_on_memory_limit_exceeded(true);
        let settings = Settings::new()
            .with_memory_settings(memory)
            .with_encoding(AsciiCompatibleEncoding::new(WINDOWS_1252).expect("its lower half is ASCII"))
            .with_adjust_charset_on_meta_tag(false)
            .with_strict(false)
            .append_element_content_handler((std::borrow::Cow::Borrowed(&*ELEMENTS), handlers));
        let rewriter = HtmlRewriter::new(settings, Output(Rc::clone(&splice)));
        Self { rewriter: Some(rewriter), splice, has_begun: false }
    }

    /// Takes the next bytes of the page. What of it can go on is in `take`.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if !self.has_begun && !bytes.is_empty() {
            self.has_begun = true;
            // What begins like this is UTF-16, whatever the fields say; only its first byte need be there.
            if matches!(bytes[0], 0xfe | 0xff) {
                self.rewriter = None;
            }
        }
        match &mut self.rewriter {
            // What it could not read any more has gone to the output by then.
            Some(rewriter) => {
                if let Err(error) = rewriter.write(bytes) {
                    tracing::debug!(%error, "a page passes as it is from here on");
                    self.rewriter = None;
                }
            }
            None => self.splice.borrow_mut().pass(bytes),
        }
    }

    /// Says that nothing more comes.
    pub(crate) fn end(&mut self) {
        if let Some(rewriter) = self.rewriter.take() {
            // An error leaves nothing behind, as above.
            let _ = rewriter.end();
        }
        self.splice.borrow_mut().finish();
    }

    /// Hands over what can go on.
    pub(crate) fn take(&self, then: impl FnOnce(&[u8])) {
        let out = &mut self.splice.borrow_mut().out;
        then(out);
        out.clear();
    }
}

impl Splice {
    fn add(&mut self, change: Change) {
        self.changes.push_back(change);
    }

    /// Passes the next bytes of the source on, with the changes that stand in them.
    fn pass(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while let Some(change) = self.changes.pop_front_if(|change| change.at < self.at + rest.len()) {
            let (before, after) = rest.split_at(change.at - self.at);
            self.copy(before);
            self.out.extend_from_slice(&change.text);
            self.skip += change.cut;
            rest = after;
        }
        self.copy(rest);
    }

    fn copy(&mut self, bytes: &[u8]) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.at += bytes.len();
        self.out.extend_from_slice(&bytes[skipped..]);
    }

    /// Puts in what stands at the very end.
    fn finish(&mut self) {
        for change in std::mem::take(&mut self.changes) {
            self.out.extend_from_slice(&change.text);
        }
    }
}

/// Finds the links of a page.
struct Marker<'a> {
    links: Links<'a>,
    splice: Rc<RefCell<Splice>>,
    /// Only the first `<base>` of a page counts.
    is_base_known: bool,
    is_base_ours: bool,
}

impl Marker<'_> {
    fn mark(&mut self, element: &Element<'_, '_>) {
        match element.tag_name().as_str() {
            "base" => self.note_base(element),
            "form" => self.mark_form(element),
            "meta" => self.mark_meta(element),
            "iframe" | "frame" => self.mark_attribute(element, "src"),
            "button" | "input" => self.mark_attribute(element, "formaction"),
            _ => self.mark_attribute(element, "href"),
        }
    }

    fn note_base(&mut self, element: &Element<'_, '_>) {
        if !self.is_base_known
            && let Some((value, _)) = attribute(element, "href")
        {
            // One that can't be read may lead anywhere, an empty one leads nowhere else.
            let is_empty = value.text.trim_ascii().is_empty();
            self.is_base_ours = is_empty || self.links.here(&value.text, true).is_some();
            self.is_base_known = true;
        }
    }

    /// Browsers put a form's own values in the place of its query, so the route has to be one of them.
    fn mark_form(&mut self, element: &Element<'_, '_>) {
        let method = element.get_attribute("method").unwrap_or_default().trim().to_ascii_lowercase();
        if method == "post" || self.links.parameter.is_in_path() {
            return self.mark_attribute(element, "action");
        }
        let leads_here = match attribute(element, "action") {
            Some((value, _)) if !value.text.trim_ascii().is_empty() => {
                self.links.here(&value.text, self.is_base_ours).is_some()
            }
            // It leads to the page itself.
            _ => true,
        };
        if method != "dialog" && leads_here {
            let carried = self.links.carried(b"&amp;");
            let (before, between, after): (&[u8], &[u8], &[u8]) =
                (b"<input type=\"hidden\" name=\"", b"\" value=\"", b"\">");
            let text = [before, self.links.parameter.name(), between, carried.token, after].concat();
            let at = element.source_location().bytes().end;
            self.splice.borrow_mut().add(Change { at, cut: 0, text });
        }
    }

    fn mark_meta(&mut self, element: &Element<'_, '_>) {
        let is_refresh = element
            .get_attribute("http-equiv")
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("refresh"));
        if is_refresh && let Some((value, place)) = attribute(element, "content") {
            let edits = refresh::url(&value.text).and_then(|url| {
                Some(self.links.edits(&value.text[url.clone()], self.is_base_ours)?.behind(url.start))
            });
            self.put_in(edits, &value, &place);
        }
    }

    fn mark_attribute(&mut self, element: &Element<'_, '_>, name: &str) {
        if let Some((value, place)) = attribute(element, name) {
            self.put_in(self.links.edits(&value.text, self.is_base_ours), &value, &place);
        }
    }

    fn put_in(&self, edits: Option<Edits>, value: &Attribute, place: &Range<usize>) {
        let Some(edits) = edits else { return };
        let mut splice = self.splice.borrow_mut();
        for cut in &edits.cuts {
            let cut = value.range(cut);
            splice.add(Change { at: place.start + cut.start, cut: cut.len(), text: Vec::new() });
        }
        let mut text = Vec::new();
        self.links.carried(b"&amp;").write(&edits, |part| text.extend_from_slice(part));
        splice.add(Change { at: place.start + value.place(edits.at), cut: 0, text });
    }
}

/// The value of an element's first attribute of that name, and where it stands in the page. Empty ones lead to the page
/// itself, and have no place.
fn attribute(element: &Element<'_, '_>, name: &str) -> Option<(Attribute, Range<usize>)> {
    let attribute = element.attributes().iter().find(|attribute| attribute.name() == name)?;
    let (value, place) = (attribute.value(), attribute.value_source_location()?.bytes());
    // One character a byte, or places would be wrong.
    (value.chars().count() == place.len()).then(|| (Attribute::read(&value), place))
}

/// Whether an answer is a whole page that can be read here: plain HTML, in an encoding whose lower half is ASCII, that
/// nobody has forbidden to change (RFC 9111, 5.2.2.6) and that is to be shown rather than kept.
pub(super) fn is_page(fields: &Fields<'_, '_>, status: u16) -> bool {
    let is_whole = status >= 200 && !matches!(status, 204 | 206 | 304);
    let is_plain = fields.named("content-encoding").all(|coding| coding.eq_ignore_ascii_case(b"identity"));
    let is_shown = !fields.named("content-disposition").any(|value| starts_with(value, b"attachment"));
    let may_change = !fields.all(Kind::CacheControl).any(|value| {
        value.split(|&byte| byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
    });
    is_whole && fields.only_named("content-type").is_some_and(is_html) && is_plain && is_shown && may_change
}

fn is_html(content_type: &[u8]) -> bool {
    let mut parts = content_type.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let is_html = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"text/html"));
    let charset = parts.find_map(|part| starts_with(part, b"charset=").then(|| &part[b"charset=".len()..]));
    let is_ascii = |label: &[u8]| {
        let label =
            label.trim_ascii().strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(label);
        Encoding::for_label(label).is_some_and(Encoding::is_ascii_compatible)
    };
    is_html && charset.is_none_or(is_ascii)
}

fn starts_with(value: &[u8], start: &[u8]) -> bool {
    value.get(..start.len()).is_some_and(|its| its.eq_ignore_ascii_case(start))
}

/// What has to do with where a browser goes next. Images, scripts and styles may come from any server, and would not be
/// cached if their addresses changed.
static ELEMENTS: LazyLock<Selector> = LazyLock::new(|| {
    "a, area, base, button, form, frame, iframe, input, meta".parse().expect("it is a list of names")
});

/// Bytes for a tag that has not come whole, and for the elements that are open: `lol_html` takes some hundred for each, and
/// all those for open that nothing closes, such as most `<li>` by hand. A page that needs more passes as it is from there on.
const MEMORY: usize = 1024 * 1024;

#[cfg(test)]
mod tests;
