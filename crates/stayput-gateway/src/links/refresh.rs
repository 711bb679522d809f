//! Where `Refresh` leads, as a field and as a `<meta>` element (HTML, 4.2.5.3).
//!
//! It reads the form that browsers agree on, `5; url=/next`; other forms lead nowhere here.

use std::ops::Range;

/// Where the address stands in the value; `None` if it only says to load the same page again.
pub(super) fn url(value: &[u8]) -> Option<Range<usize>> {
    let skip =
        |from: usize, is: fn(&u8) -> bool| from + value[from..].iter().take_while(|byte| is(byte)).count();
    let space = u8::is_ascii_whitespace;
    let seconds = skip(skip(0, space), |byte| byte.is_ascii_digit() || *byte == b'.');
    let separator = skip(seconds, space);
    if !matches!(value.get(separator), Some(b';' | b',')) {
        return None;
    }
    let start = skip(separator + 1, space);
    let mut start = match value.get(start..start + 3) {
        Some(url) if url.eq_ignore_ascii_case(b"url") => {
            let equals = skip(start + 3, space);
            if value.get(equals) == Some(&b'=') { skip(equals + 1, space) } else { return None }
        }
        _ => start,
    };
    let mut end = value.len();
    if let Some(quote @ (b'"' | b'\'')) = value.get(start) {
        start += 1;
        end = value[start..].iter().position(|byte| byte == quote).map_or(end, |at| start + at);
    }
    (start < end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_forms_that_browsers_read() {
        for (value, found) in [
            ("0; url=/next", Some("/next")),
            ("5;URL='/next'", Some("/next")),
            (" 1.5 , url = \"/next\" rest", Some("/next")),
            ("0;/next", Some("/next")),
            ("0; url='/next", Some("/next")),
            ("0", None),
            ("0;", None),
            ("0; url=", None),
            ("0; url=''", None),
            ("0; urls", None),
            ("soon; url=/next", None),
            ("", None),
        ] {
            let is = url(value.as_bytes()).map(|range| &value[range]);
            assert_eq!(is, found, "{value}");
        }
    }
}
