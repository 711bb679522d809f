//! What a field is to a gateway, by its name.
//!
//! Names in which only underscores stand for dashes are never let pass for others: servers behind may take the one for the
//! other.

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
    #[expect(clippy::inline_always, reason = "most fields are told to be others by a look at a table")]
    #[inline(always)]
    pub(crate) fn of(name: &[u8]) -> Self {
        let first = name.first().map_or(0, |byte| 1 << (byte & 31));
        if FIRSTS[name.len().min(FIRSTS.len() - 1)] & first == 0 {
            debug_assert_eq!(Self::of_known(name), Self::Other, "a name that KNOWN lacks");
            return Self::Other;
        }
        Self::of_known(name)
    }

    #[inline(never)]
    fn of_known(name: &[u8]) -> Self {
        let first = name.first().map_or(0, u8::to_ascii_lowercase);
        // Length and first byte tell nearly all others from those that matter.
        match (name.len(), first) {
            (2, b't') if is(name, b"te") => Self::HopByHop,
            (4, b'h') if is(name, b"host") => Self::Host,
            (4, b'd') if is(name, b"date") => Self::Date,
            (6, b'c') if is(name, b"cookie") => Self::Cookie,
            (6, b'e') if is(name, b"expect") => Self::Expect,
            (7, b'u') if is(name, b"upgrade") => Self::HopByHop,
            (9, b'f') if is(name, b"forwarded") => Self::Forwarding,
            (10, b'c') if is(name, b"connection") => Self::Connection,
            (10, b'k') if is(name, b"keep-alive") => Self::HopByHop,
            (12, b'm') if is(name, b"max-forwards") => Self::MaxForwards,
            (12, b'x') if same(b"x-request-id", name) => Self::RequestId,
            (13, b'c') if is(name, b"cache-control") => Self::CacheControl,
            (14, b'c') if is(name, b"content-length") => Self::ContentLength,
            (14, b'h') if is(name, b"http2-settings") => Self::HopByHop,
            (16, b'p') if is(name, b"proxy-connection") => Self::HopByHop,
            (17, b't') if is(name, b"transfer-encoding") => Self::TransferEncoding,
            (18, b'p') if is(name, b"proxy-authenticate") => Self::HopByHop,
            (19, b'p') if is(name, b"proxy-authorization") => Self::HopByHop,
            (14, b'c') | (17, b't') if is_framing(name) => Self::HopByHop,
            (_, b'x') if is_forwarding(name) => Self::Forwarding,
            _ => Self::Other,
        }
    }

    /// Its place in a set of kinds.
    pub(super) fn bit(self) -> u16 {
        1 << self as u16
    }

    /// Whether a `Connection` option may take the field away. A client must not be able to strip what decides who it
    /// is or how a message is read.
    pub(super) fn yields_to_connection(self, name: &[u8]) -> bool {
        let starts = |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|p| p.eq_ignore_ascii_case(prefix));
        matches!(self, Self::Other | Self::Expect | Self::RequestId)
            && !starts(b"content-")
            && !name.eq_ignore_ascii_case(b"authorization")
            && !name.eq_ignore_ascii_case(b"set-cookie")
    }
}

/// Names that [`Kind::of`] tells from others, beside those that begin with `x`.
const KNOWN: [&[u8]; 17] = [
    b"te",
    b"host",
    b"date",
    b"cookie",
    b"expect",
    b"upgrade",
    b"forwarded",
    b"connection",
    b"keep-alive",
    b"max-forwards",
    b"cache-control",
    b"content-length",
    b"http2-settings",
    b"proxy-connection",
    b"transfer-encoding",
    b"proxy-authenticate",
    b"proxy-authorization",
];

/// By length, the last five bits of the first byte that known names of that length begin with, whatever its case: a bit each.
/// At the end, of all that are longer.
static FIRSTS: [u32; 21] = {
    let (mut firsts, mut at) = ([1 << (b'x' & 31); 21], 0);
    while at < KNOWN.len() {
        firsts[KNOWN[at].len()] |= 1 << (KNOWN[at][0] & 31);
        at += 1;
    }
    firsts
};

/// Whether these are the same letters, in whatever case, and the same other bytes. `known` is in lower case and all there is to
/// compare is known beforehand: a few words, without a loop.
#[expect(clippy::inline_always, reason = "only where the known is known there are no loops")]
#[inline(always)]
pub(super) fn is<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else { return false };
    let differences = name.iter().zip(known).fold(0, |all, (&byte, &known)| {
        let case = if known.is_ascii_alphabetic() { 0x20 } else { 0 };
        all | ((byte | case) ^ known)
    });
    differences == 0
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
    same(b"x-real-ip", name) || name.get(..12).is_some_and(|start| same(b"x-forwarded-", start))
}

/// Whether names of fields, methods and cookies may have this byte (RFC 9110, 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    static TOKENS: [bool; 256] = {
        let (mut tokens, mut byte) = ([false; 256], 0_u8);
        while byte < 128 {
            let is_mark = matches!(
                byte,
                b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
            tokens[byte as usize] = byte.is_ascii_alphanumeric() || is_mark;
            byte += 1;
        }
        tokens
    };
    TOKENS[usize::from(byte)]
}

/// Names of fields, in any case and also when spelled with underscores.
pub(crate) struct Names {
    /// In lower case, with dashes.
    list: Vec<String>,
    /// Bit n: there is one of n bytes (of 63: or more). Most fields are seen by it to be none of these.
    lengths: u64,
    /// The same for the last five bits of the first byte, and most others by this.
    firsts: u32,
}

impl Names {
    pub(crate) fn new(names: &[String]) -> Self {
        let list: Vec<_> = names.iter().map(|name| name.to_ascii_lowercase().replace('_', "-")).collect();
        let bytes = || list.iter().map(String::as_bytes);
        Self {
            lengths: bytes().fold(0, |lengths, name| lengths | Self::length(name.len())),
            firsts: bytes().fold(0, |firsts, name| firsts | Self::first(name)),
            list,
        }
    }

    /// Whether one of them has so many bytes.
    #[inline]
    pub(super) fn have_length(&self, length: usize) -> bool {
        self.lengths & Self::length(length) != 0
    }

    #[inline]
    pub(super) fn have(&self, name: &[u8]) -> bool {
        self.have_length(name.len())
            && self.firsts & Self::first(name) != 0
            && self.list.iter().any(|own| same(own.as_bytes(), name))
    }

    #[inline]
    fn length(length: usize) -> u64 {
        1 << length.min(63)
    }

    #[inline]
    fn first(name: &[u8]) -> u32 {
        match name.first() {
            Some(b'_') => 1 << (b'-' & 31),
            first => 1 << (first.copied().unwrap_or_default() & 31),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn what_the_table_lets_through_is_known_and_nothing_else_is() {
        for name in KNOWN {
            let upper = name.to_ascii_uppercase();
            assert!(Kind::of(name) != Kind::Other && Kind::of(name) == Kind::of(&upper), "{name:?}");
        }
        let mut name = Vec::new();
        for length in 1..30 {
            name.push(b'a');
            for first in 0..=u8::MAX {
                for known in KNOWN.iter().filter(|known| known.len() == length) {
                    name.copy_from_slice(known);
                    name[0] = first;
                    assert_eq!(Kind::of(&name), Kind::of_known(&name), "{name:?}");
                }
            }
        }
    }

    #[test]
    fn letters_are_compared_whatever_their_case_and_other_bytes_as_they_are() {
        let known = b"te-9";
        for at in 0..known.len() {
            for byte in 0..=u8::MAX {
                let mut name = *known;
                name[at] = byte;
                assert_eq!(is(&name, known), name.eq_ignore_ascii_case(known), "{byte} at {at}");
            }
        }
        assert!(!is(b"te-99", known) && !is(b"te-", known));
    }

    #[test]
    fn names_are_found_in_every_spelling_and_no_others() {
        let names = Names::new(&["X-User".to_owned(), "-Odd".to_owned(), "REMOTE_USER".to_owned()]);
        for name in ["x-user", "X_USER", "-odd", "_Odd", "remote_user", "Remote-User"] {
            assert!(names.have(name.as_bytes()), "{name}");
        }
        for name in ["", "x-uses", "x-users", "y-user", "odd-", "Host", "X+User"] {
            assert!(!names.have(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn tokens_are_those_of_the_rfc() {
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(is_token(byte), expected, "{byte}");
        }
    }
}
