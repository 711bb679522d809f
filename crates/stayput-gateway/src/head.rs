//! Heads: where one ends, and what its fields are.
//!
//! The scanner refuses bare CR and bare LF as they arrive, because `httparse` accepts them and other servers
//! disagree on what they mean, which is how requests are smuggled.

use std::ops::Range;

use httparse::Header;
use memchr::memchr2;

use crate::buffer::Buffer;

/// Most fields a head may have.
pub(crate) const MAX_FIELDS: usize = 128;
/// Most options that all `Connection` fields of a head may name: each is looked for among the fields.
const MAX_OPTIONS: usize = 32;

/// Finds the end of a head that arrives piece by piece, looking at each byte once.
#[derive(Default)]
pub(crate) struct Scanner {
    line: usize,
    seen: usize,
}

/// A CR or LF on its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BareLineBreak;

impl Scanner {
    /// The head's length with its empty line, once that is there. `bytes` is all that has arrived so far.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, BareLineBreak> {
        while let Some(found) = memchr2(b'\r', b'\n', &bytes[self.seen..]) {
            let at = self.seen + found;
            match (bytes[at], bytes.get(at + 1)) {
                (b'\r', None) => {
                    self.seen = at;
                    return Ok(None);
                }
                (b'\r', Some(b'\n')) if at == self.line => return Ok(Some(at + 2)),
                (b'\r', Some(b'\n')) => (self.line, self.seen) = (at + 2, at + 2),
                _ => return Err(BareLineBreak),
            }
        }
        self.seen = bytes.len();
        Ok(None)
    }

    pub(crate) fn is_in_first_line(&self) -> bool {
        self.line == 0
    }
}

/// What a field is to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Passes as it is.
    Other,
    CacheControl,
    Connection,
    ContentLength,
    Cookie,
    Date,
    Expect,
    Host,
    MaxForwards,
    RequestId,
    TransferEncoding,
    /// For this connection only (RFC 9110, 7.6.1), by its name or because `Connection` says so.
    HopByHop,
    /// What only a gateway may say: who the client is, and what it asked for.
    Forwarding,
}

impl Kind {
    pub(crate) fn of(name: &[u8]) -> Self {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            2 if is(b"te") => Self::HopByHop,
            4 if is(b"host") => Self::Host,
            4 if is(b"date") => Self::Date,
            6 if is(b"cookie") => Self::Cookie,
            6 if is(b"expect") => Self::Expect,
            7 if is(b"upgrade") => Self::HopByHop,
            9 if is(b"forwarded") => Self::Forwarding,
            10 if is(b"connection") => Self::Connection,
            10 if is(b"keep-alive") => Self::HopByHop,
            12 if is(b"max-forwards") => Self::MaxForwards,
            12 if same(b"x-request-id", name) => Self::RequestId,
            13 if is(b"cache-control") => Self::CacheControl,
            14 if is(b"content-length") => Self::ContentLength,
            14 if is(b"http2-settings") => Self::HopByHop,
            16 if is(b"proxy-connection") => Self::HopByHop,
            17 if is(b"transfer-encoding") => Self::TransferEncoding,
            18 if is(b"proxy-authenticate") => Self::HopByHop,
            19 if is(b"proxy-authorization") => Self::HopByHop,
            14 | 17 if is_framing(name) => Self::HopByHop,
            _ if is_forwarding(name) => Self::Forwarding,
            _ => Self::Other,
        }
    }

    /// Its place in a set of kinds.
    fn bit(self) -> u16 {
        1 << self as u16
    }

    /// Whether a `Connection` option may take the field away. A client must not be able to strip what decides who it
    /// is or how a message is read.
    fn yields_to_connection(self, name: &[u8]) -> bool {
        let starts = |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|p| p.eq_ignore_ascii_case(prefix));
        matches!(self, Self::Other | Self::Expect)
            && !starts(b"content-")
            && !name.eq_ignore_ascii_case(b"authorization")
            && !name.eq_ignore_ascii_case(b"set-cookie")
    }
}

/// Whether many servers take `name` for `known`, which is in lower case: with underscores for dashes.
fn same(known: &[u8], name: &[u8]) -> bool {
    let dash = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    known.len() == name.len() && known.iter().zip(name).all(|(&known, &byte)| known == dash(byte))
}

/// `Content_Length` and `Transfer_Encoding`: to this gateway they frame nothing, so nobody behind it may see them.
fn is_framing(name: &[u8]) -> bool {
    same(b"content-length", name) || same(b"transfer-encoding", name)
}

/// `X-Forwarded-…` and `X-Real-IP`, also when spelled with underscores.
fn is_forwarding(name: &[u8]) -> bool {
    matches!(name.first(), Some(b'x' | b'X'))
        && (same(b"x-real-ip", name) || name.get(..12).is_some_and(|start| same(b"x-forwarded-", start)))
}

/// Whether names of fields, methods and cookies may have this byte (RFC 9110, 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Names of fields, in any case and also when spelled with underscores.
#[derive(Default)]
pub(crate) struct Names {
    /// In lower case.
    names: Vec<String>,
    /// Bit n: there is one of n bytes (of 63: or more). Most fields are seen by it to be none of these.
    lengths: u64,
}

impl Names {
    pub(crate) fn new(names: &[String]) -> Self {
        let lengths = names.iter().fold(0, |lengths, name| lengths | Self::length(name.as_bytes()));
        Self { names: names.iter().map(|name| name.to_ascii_lowercase()).collect(), lengths }
    }

    fn have(&self, name: &[u8]) -> bool {
        self.lengths & Self::length(name) != 0 && self.names.iter().any(|own| same(own.as_bytes(), name))
    }

    fn length(name: &[u8]) -> u64 {
        1 << name.len().min(63)
    }
}

/// The fields of a head, each known by its kind.
pub(crate) struct Fields<'h, 'b> {
    raw: &'b [u8],
    list: &'h [Header<'b>],
    kinds: [Kind; MAX_FIELDS],
    /// The kinds that are among them, a bit each: most heads have few, and each is asked for.
    present: u16,
    /// What the `Connection` fields say about the connection itself.
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
}

/// The `Connection` fields name more options than anyone needs.
#[derive(Debug)]
pub(crate) struct TooManyOptions;

impl<'h, 'b> Fields<'h, 'b> {
    /// `list` as parsed from `raw`, a whole head.
    pub(crate) fn new(raw: &'b [u8], list: &'h [Header<'b>]) -> Result<Self, TooManyOptions> {
        let mut kinds = [Kind::Other; MAX_FIELDS];
        let mut present = 0;
        for (kind, field) in kinds.iter_mut().zip(list) {
            *kind = Kind::of(field.name.as_bytes());
            present |= kind.bit();
        }
        let mut fields = Self { raw, list, kinds, present, close: false, keep_alive: false };
        if fields.has(Kind::Connection) {
            fields.apply_connection()?;
        }
        Ok(fields)
    }

    /// Takes off the fields of these names: to the gateway they are what only a proxy in front may say.
    pub(crate) fn take_off(&mut self, names: &Names) {
        for (field, kind) in self.list.iter().zip(&mut self.kinds) {
            if *kind == Kind::Other && names.have(field.name.as_bytes()) {
                *kind = Kind::Forwarding;
            }
        }
    }

    /// The values of all fields of a kind.
    pub(crate) fn all(&self, kind: Kind) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b, '_> {
        let list = if self.has(kind) { self.list } else { &[] };
        list.iter().zip(&self.kinds).filter(move |(_, its)| **its == kind).map(|(field, _)| field.value)
    }

    /// Names and values of all fields of a kind, the last one first.
    pub(crate) fn all_backwards(
        &self,
        kind: Kind,
    ) -> impl Iterator<Item = (&'b str, &'b [u8])> + use<'h, 'b, '_> {
        let kinds = &self.kinds[..self.list.len()];
        let ours = self.list.iter().zip(kinds).rev().filter(move |(_, its)| **its == kind);
        ours.map(|(field, _)| (field.name, field.value))
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
    ) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        let fields = self.list.iter().zip(&self.kinds).filter(move |(_, kind)| !drop(**kind));
        fields.map(|(field, _)| (field.name, field.value))
    }

    /// The values of all fields of that name.
    pub(crate) fn named<'n>(&self, name: &'n str) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b, 'n> {
        let named = self.list.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value)
    }

    /// Copies the field lines as they came, those excepted that `drop` names.
    pub(crate) fn copy(&self, drop: impl Fn(Kind) -> bool, out: &mut Buffer) {
        self.copy_unless(|kind, _| drop(kind), out);
    }

    /// The same where names count, too.
    pub(crate) fn copy_unless(&self, drop: impl Fn(Kind, &str) -> bool, out: &mut Buffer) {
        let mut from = self.line(0).start;
        for index in 0..self.list.len() {
            if drop(self.kinds[index], self.list[index].name) {
                let line = self.line(index);
                out.put(&self.raw[from..line.start]);
                from = line.end;
            }
        }
        out.put(&self.raw[from..self.raw.len() - 2]);
    }

    /// The request or status line, with its line break.
    pub(crate) fn start_line(&self) -> &'b [u8] {
        let end = memchr::memchr(b'\n', self.raw).map_or(0, |at| at + 1);
        &self.raw[..end]
    }

    /// Where a field's line stands in the head. Past the last one: the empty line.
    fn line(&self, index: usize) -> Range<usize> {
        self.line_start(index)..self.line_start(index + 1)
    }

    fn line_start(&self, index: usize) -> usize {
        match self.list.get(index) {
            Some(field) => field.name.as_ptr() as usize - self.raw.as_ptr() as usize,
            None => self.raw.len() - 2,
        }
    }

    fn apply_connection(&mut self) -> Result<(), TooManyOptions> {
        let list = self.list;
        let mut options = 0;
        for field in list.iter().filter(|field| field.name.eq_ignore_ascii_case("connection")) {
            for option in field.value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                options += 1;
                if options > MAX_OPTIONS {
                    return Err(TooManyOptions);
                }
                self.apply_option(option);
            }
        }
        Ok(())
    }

    fn apply_option(&mut self, option: &[u8]) {
        self.close |= option.eq_ignore_ascii_case(b"close");
        self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        for (field, kind) in self.list.iter().zip(&mut self.kinds) {
            let name = field.name.as_bytes();
            if name.eq_ignore_ascii_case(option) && kind.yields_to_connection(name) {
                *kind = Kind::HopByHop;
                self.present |= Kind::HopByHop.bit();
            }
        }
    }
}

/// A field that may stand once stands there again.
#[derive(Debug)]
pub(crate) struct Repeated;

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Result<Option<usize>, BareLineBreak> {
        Scanner::default().scan(bytes)
    }

    #[test]
    fn a_head_ends_at_its_empty_line_however_it_is_split() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        let end = bytes.len() - 4;
        assert_eq!(scan(bytes), Ok(Some(end)));
        for split in 0..end {
            let mut scanner = Scanner::default();
            assert_eq!(scanner.scan(&bytes[..split]), Ok(None), "split at {split}");
            assert_eq!(scanner.scan(bytes), Ok(Some(end)), "split at {split}");
        }
    }

    #[test]
    fn a_bare_line_break_is_refused_before_the_head_is_whole() {
        assert_eq!(scan(b"GET / HTTP/1.1\n"), Err(BareLineBreak));
        assert_eq!(scan(b"GET / HTTP/1.1\rHost"), Err(BareLineBreak));
        assert_eq!(scan(b"GET / HTTP/1.1\r\nHost: a\n"), Err(BareLineBreak));
        assert_eq!(scan(b"GET / HTTP/1.1\r\r\n"), Err(BareLineBreak));
        let mut scanner = Scanner::default();
        assert_eq!(scanner.scan(b"GET / HTTP/1.1\r"), Ok(None));
        assert_eq!(scanner.scan(b"GET / HTTP/1.1\rX"), Err(BareLineBreak));
    }

    #[test]
    fn fields_of_the_gateways_own_are_known_in_every_spelling() {
        for name in ["X-Forwarded-For", "x-forwarded-host", "X_Forwarded_Proto", "X-Real-Ip", "Forwarded"] {
            assert_eq!(Kind::of(name.as_bytes()), Kind::Forwarding, "{name}");
        }
        for name in ["Content_Length", "transfer_encoding"] {
            assert_eq!(Kind::of(name.as_bytes()), Kind::HopByHop, "{name}");
        }
        assert_eq!(Kind::of(b"X-Forwarded"), Kind::Other);
        assert_eq!(Kind::of(b"X-Requested-With"), Kind::Other);
    }

    fn copied(raw: &str) -> String {
        let mut storage = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Request::new(&mut storage);
        head.parse(raw.as_bytes()).unwrap();
        let fields = Fields::new(raw.as_bytes(), head.headers).unwrap();
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
        let mut storage = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Request::new(&mut storage);
        head.parse(raw.as_bytes()).unwrap();
        assert!(Fields::new(raw.as_bytes(), head.headers).is_err());
    }
}
