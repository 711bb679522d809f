//! What a client may call the site that it asks for: a host with or without a port (RFC 9110, 4.2 and 7.2).
//!
//! It resolves nothing, and lets nothing through that two servers could split in different places.

use std::net::Ipv6Addr;

/// Whether this is a name or an address, and perhaps a port. User information makes it none.
pub(crate) fn is_authority(authority: &[u8]) -> bool {
    // Nearly all are letters, digits, dots and dashes, and perhaps a port.
    let usual = authority.iter().position(|&byte| !USUAL[usize::from(byte)]).unwrap_or(authority.len());
    if usual > 0 && authority.get(usual).is_none_or(|&byte| byte == b':') {
        return is_port(&authority[usual..]);
    }
    let (is_host, port) = if let [b'[', rest @ ..] = authority {
        let end = rest.iter().position(|&byte| byte == b']').unwrap_or(rest.len());
        (is_ipv6(&rest[..end]), rest.get(end + 1..))
    } else {
        let end = authority.iter().position(|&byte| byte == b':').unwrap_or(authority.len());
        (is_name(&authority[..end]), Some(&authority[end..]))
    };
    is_host && port.is_some_and(is_port)
}

fn is_ipv6(host: &[u8]) -> bool {
    std::str::from_utf8(host).is_ok_and(|host| host.parse::<Ipv6Addr>().is_ok())
}

/// A registered name (RFC 3986, 3.2.2), of which an IPv4 address is one.
fn is_name(host: &[u8]) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
    let mut rest = host;
    while let [byte, after @ ..] = rest {
        rest = match (byte, after) {
            (b'%', [one, other, after @ ..]) if one.is_ascii_hexdigit() && other.is_ascii_hexdigit() => after,
            _ if is_plain(*byte) => after,
            _ => return false,
        };
    }
    !host.is_empty()
}

/// Nothing, or a colon and a port, which may be left out.
fn is_port(port: &[u8]) -> bool {
    match port {
        [] | [b':'] => true,
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(digits).is_ok_and(|digits| digits.parse::<u16>().is_ok())
        }
        _ => false,
    }
}

/// Which bytes most names are made of.
static USUAL: [bool; 256] = {
    let (mut usual, mut byte) = ([false; 256], 0_u8);
    while byte < 128 {
        usual[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
        byte += 1;
    }
    usual
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_from_what_only_looks_like_them() {
        for good in
            ["a", "a.b:80", "a:", "127.0.0.1:65535", "[::1]", "[::1]:80", "a_b", "%61", "a,b", "xn--a."]
        {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ":80",
            "a:b",
            "a:80:80",
            "a:65536",
            "::1",
            "[::1",
            "[::1]x",
            "[a]",
            "[]",
            "%",
            "%6",
            "%zz",
            "u@a",
            "a b",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a\u{e9}",
            "a:+80",
            "[::1%25lo]",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}
