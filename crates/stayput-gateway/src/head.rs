//! Heads: how they are read, and what their fields are.
//!
//! Nearly all come whole, and are read in one go by the `reader`; for those that don't, the `scanner` finds the end first,
//! looking at each byte once. Nothing is mended on the way: what two servers could read differently is refused.

mod kind;
#[cfg(test)]
mod peer;
mod reader;
mod scanner;
mod words;

use std::ops::Range;

pub(crate) use self::kind::{Kind, Names, is_token};
use self::reader::Line;
pub(crate) use self::reader::{AnswerHead, Fault, Lines, RequestHead};
pub(crate) use self::scanner::Scanner;
use crate::buffer::Buffer;

/// Most fields a head may have.
pub(crate) const MAX_FIELDS: usize = 128;
/// Most options that all `Connection` fields of a head may name: each is looked for among the fields.
const MAX_OPTIONS: usize = 32;

/// The fields of a head, each known by its kind.
pub(crate) struct Fields<'h, 'b> {
    raw: &'b [u8],
    lines: &'h mut [Line],
    /// The kinds that are among them, a bit each: most heads have few, and each is asked for.
    present: u16,
    /// What the `Connection` fields say about the connection itself.
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
}

impl<'h, 'b> Fields<'h, 'b> {
    /// These lines of the head `raw`.
    fn new(raw: &'b [u8], lines: &'h mut [Line]) -> Result<Self, Fault> {
        let mut present = 0;
        // Not while they are read: a call amid that would take the vectors' registers away.
        for line in &mut *lines {
            line.kind = Kind::of(line.name(raw));
            present |= line.kind.bit();
        }
        let mut fields = Self { raw, lines, present, close: false, keep_alive: false };
        if fields.has(Kind::Connection) {
            fields.apply_connection()?;
        }
        Ok(fields)
    }

    /// Takes off the fields of these names: to the gateway they are what only a proxy in front may say.
    pub(crate) fn take_off(&mut self, names: &Names) {
        for line in &mut *self.lines {
            if names.have_length(line.name_length())
                && matches!(line.kind, Kind::Other | Kind::RequestId)
                && names.have(line.name(self.raw))
            {
                line.kind = Kind::Forwarding;
                self.present |= Kind::Forwarding.bit();
            }
        }
    }

    /// How long the head is.
    pub(crate) fn head_length(&self) -> usize {
        self.raw.len()
    }

    /// The values of all fields of a kind.
    pub(crate) fn all(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &'b [u8]> + use<'b, '_> {
        self.of(kind).map(|line| line.value(self.raw))
    }

    /// Names and values of all fields of a kind, the last one first.
    pub(crate) fn all_backwards(
        &self,
        kind: Kind,
    ) -> impl Iterator<Item = (&'b [u8], &'b [u8])> + use<'b, '_> {
        self.of(kind).rev().map(|line| (line.name(self.raw), line.value(self.raw)))
    }

    /// The value of the only field of that name, whatever it is to a gateway; nothing if there are several.
    pub(crate) fn only_named(&self, name: &str) -> Option<&'b [u8]> {
        let mut named = self.named(name);
        let first = named.next()?;
        if named.next().is_some() { None } else { Some(first) }
    }

    /// The value of the only field of a kind; an error if there are several.
    pub(crate) fn only(&self, kind: Kind) -> Result<Option<&'b [u8]>, Repeated> {
        let mut all = self.all(kind);
        let first = all.next();
        if all.next().is_some() { Err(Repeated) } else { Ok(first) }
    }

    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.present & kind.bit() != 0
    }

    /// Names and values of all fields but those that `drop` names.
    pub(crate) fn list_unless(
        &self,
        drop: impl Fn(Kind) -> bool,
    ) -> impl Iterator<Item = (&'b [u8], &'b [u8])> {
        let lines = self.lines.iter().filter(move |line| !drop(line.kind));
        lines.map(|line| (line.name(self.raw), line.value(self.raw)))
    }

    /// The values of all fields of that name.
    pub(crate) fn named<'n>(&self, name: &'n str) -> impl Iterator<Item = &'b [u8]> + use<'b, 'n, '_> {
        let is_it = |line: &&Line| line.name(self.raw).eq_ignore_ascii_case(name.as_bytes());
        self.lines.iter().filter(is_it).map(|line| line.value(self.raw))
    }

    /// Copies the field lines as they came, those excepted that `drop` names.
    pub(crate) fn copy(&self, drop: impl Fn(Kind) -> bool, out: &mut Buffer) {
        self.copy_lines_unless(|line| drop(line.kind), out);
    }

    /// The same where names count, too.
    pub(crate) fn copy_unless(&self, drop: impl Fn(Kind, &[u8]) -> bool, out: &mut Buffer) {
        self.copy_lines_unless(|line| drop(line.kind, line.name(self.raw)), out);
    }

    fn copy_lines_unless(&self, drop: impl Fn(&Line) -> bool, out: &mut Buffer) {
        let mut from = self.line_start(0);
        for (index, line) in self.lines.iter().enumerate() {
            if drop(line) {
                // Those that go are often neighbours.
                if from < line.start as usize {
                    out.put(&self.raw[from..line.start as usize]);
                }
                from = self.line_start(index + 1);
            }
        }
        out.put(&self.raw[from..self.raw.len() - 2]);
    }

    /// The request or status line, with its line break.
    pub(crate) fn start_line(&self) -> &'b [u8] {
        &self.raw[..self.line_start(0)]
    }

    fn of(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Line> {
        let lines = if self.has(kind) { &*self.lines } else { &[] };
        lines.iter().filter(move |line| line.kind == kind)
    }

    /// Where a field's line begins. Past the last one: the empty line.
    fn line_start(&self, index: usize) -> usize {
        self.lines.get(index).map_or(self.raw.len() - 2, |line| line.start as usize)
    }

    fn apply_connection(&mut self) -> Result<(), Fault> {
        let (raw, mut options) = (self.raw, 0);
        for index in 0..self.lines.len() {
            if self.lines[index].kind != Kind::Connection {
                continue;
            }
            let value = self.lines[index].value(raw);
            for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                options += 1;
                if options > MAX_OPTIONS {
                    return Err(Fault::TooManyOptions);
                }
                self.apply_option(option);
            }
        }
        Ok(())
    }

    fn apply_option(&mut self, option: &[u8]) {
        if kind::is(option, b"keep-alive") {
            // A field of that name goes no further in any case.
            self.keep_alive = true;
            return;
        }
        self.close |= kind::is(option, b"close");
        for line in &mut *self.lines {
            let name = line.name(self.raw);
            if name.eq_ignore_ascii_case(option) && line.kind.yields_to_connection(name) {
                line.kind = Kind::HopByHop;
                self.present |= Kind::HopByHop.bit();
            }
        }
    }
}

impl Line {
    fn name_length(&self) -> usize {
        (self.colon - self.start) as usize
    }

    fn name<'b>(&self, raw: &'b [u8]) -> &'b [u8] {
        &raw[range(self.start, self.colon)]
    }

    fn value<'b>(&self, raw: &'b [u8]) -> &'b [u8] {
        &raw[range(self.value, self.value_end)]
    }
}

fn range(start: u32, end: u32) -> Range<usize> {
    start as usize..end as usize
}

/// A field that may stand once stands there again.
#[derive(Debug)]
pub(crate) struct Repeated;

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(raw: &str) -> String {
        let mut lines = Lines::new();
        let fields = RequestHead::read(raw.as_bytes(), &mut lines).unwrap().fields;
        let mut out = Buffer::default();
        fields.copy(|kind| matches!(kind, Kind::Connection | Kind::HopByHop), &mut out);
        String::from_utf8(out.filled().to_vec()).unwrap()
    }

    #[test]
    fn fields_that_stay_are_copied_byte_for_byte() {
        let raw = "GET / HTTP/1.1\r\nHost:  a \r\nTE: x\r\naB: c\td\r\nKeep-Alive: 1\r\n\r\n";
        assert_eq!(copied(raw), "Host:  a \r\naB: c\td\r\n");
        assert_eq!(copied("GET / HTTP/1.1\r\n\r\n"), "");
    }

    #[test]
    fn connection_takes_away_what_it_names_but_never_what_identifies_or_frames() {
        let raw = "GET / HTTP/1.1\r\nConnection: x-a, Cookie,host ,authorization\r\nX-A: 1\r\nHost: a\r\n\
                   Cookie: b\r\nconnection: content-type\r\nContent-Type: c\r\nAuthorization: d\r\n\r\n";
        assert_eq!(copied(raw), "Host: a\r\nCookie: b\r\nContent-Type: c\r\nAuthorization: d\r\n");
    }

    #[test]
    fn a_flood_of_connection_options_is_refused() {
        let raw = format!("GET / HTTP/1.1\r\nConnection: {}\r\n\r\n", "a,".repeat(MAX_OPTIONS));
        let read = RequestHead::read(raw.as_bytes(), &mut Lines::new()).map(|head| head.is_1_0);
        assert_eq!(read, Err(Fault::TooManyOptions));
    }
}
