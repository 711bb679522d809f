//! What becomes of an answer's fields.

use super::*;
use crate::config::{UrlPlace, UrlRule};
use crate::head::{AnswerHead, Lines};

const TOKEN: &str = "1234567890123456789012345678901234567890123";

fn parameter() -> Parameter {
    Parameter::new(&UrlRule { place: UrlPlace::Query, ..UrlRule::default() })
}

fn links(parameter: &Parameter, in_pages: bool) -> Links<'_> {
    let token = TOKEN.as_bytes().try_into().unwrap();
    Links { parameter, token, host: b"shop.example", in_pages }
}

/// The fields of an answer as the client gets them, with ROUTE for the parameter.
fn copied(status: u16, lines: &str, in_pages: bool) -> (String, Marked) {
    let raw = format!("HTTP/1.1 {status} X\r\n{lines}\r\n");
    let mut lines = Lines::new();
    let head = AnswerHead::read(raw.as_bytes(), &mut lines).unwrap();
    let fields = head.fields;
    let (parameter, mut out) = (parameter(), Buffer::default());
    let drop = |kind| matches!(kind, Kind::Connection | Kind::HopByHop | Kind::ContentLength);
    let marked = links(&parameter, in_pages).copy_fields(&fields, status, drop, &mut out);
    let text = String::from_utf8(out.filled().to_vec()).unwrap();
    (text.replace(&format!("stayput-route={TOKEN}"), "ROUTE"), marked)
}

#[test]
fn fields_that_lead_to_this_site_carry_the_route() {
    for (line, written) in [
        ("Location: /a", "Location: /a?ROUTE"),
        ("location: https://shop.example/a?b#c", "Location: https://shop.example/a?b&ROUTE#c"),
        ("Location: /a?stayput-route=old&b", "Location: /a?b&ROUTE"),
        ("Refresh: 0; url=/a", "Refresh: 0; url=/a?ROUTE"),
        ("Refresh: 5;URL='http://shop.example/a'", "Refresh: 5;URL='http://shop.example/a?ROUTE'"),
    ] {
        let (text, marked) = copied(302, &format!("A: 1\r\n{line}\r\nB: 2\r\n"), false);
        assert_eq!(text, format!("A: 1\r\nB: 2\r\n{written}\r\n"));
        assert_eq!(marked, Marked { field: true, page: false });
    }
}

#[test]
fn fields_that_lead_elsewhere_or_name_something_are_as_they_were() {
    for line in [
        "Location: https://other.example/a",
        "Location: //other.example/a",
        "Location: #top",
        "Location: ",
        "Refresh: 5",
        "Refresh: 5; url=http://other.example/",
        "Content-Location: /a",
        "Link: </a>; rel=next",
    ] {
        let (text, marked) = copied(302, &format!("{line}\r\n"), true);
        assert_eq!((text, marked), (format!("{line}\r\n"), Marked::default()));
    }
    let (text, _) = copied(302, "Location: /a\r\nConnection: location\r\n", false);
    assert_eq!(text, "", "what is for this connection only stays dropped");
}

#[test]
fn fields_of_a_page_say_nothing_of_the_bytes_that_it_no_longer_has() {
    let (text, marked) = copied(
        200,
        "Content-Type: text/html\r\nAccept-Ranges: bytes\r\nETag: \"a\"\r\nContent-MD5: x\r\nDigest: x\r\n\
         Repr-Digest: x\r\nContent-Digest: x\r\nTrailer: x\r\nLast-Modified: y\r\nContent-Length: 5\r\n",
        true,
    );
    assert_eq!(text, "Content-Type: text/html\r\nLast-Modified: y\r\nETag: W/\"a\"\r\n");
    assert_eq!(marked, Marked { field: false, page: true });
    let (text, _) = copied(200, "Content-Type: text/html\r\nETag: W/\"a\"\r\n", true);
    assert!(text.ends_with("\r\nETag: W/\"a\"\r\n"));
}

#[test]
fn a_page_is_whole_plain_html_that_may_be_changed() {
    let is_page = |status: u16, lines: &str, in_pages: bool| copied(status, lines, in_pages).1.page;
    for lines in [
        "Content-Type: text/html\r\n",
        "Content-Type: Text/HTML; charset=UTF-8\r\n",
        "Content-Type: text/html;charset=\"iso-8859-1\"\r\nContent-Encoding: Identity\r\n",
        "Content-Type: text/html; charset=shift_jis\r\nCache-Control: private\r\n",
        "Content-Type: text/html\r\nContent-Disposition: inline\r\n",
    ] {
        assert!(is_page(200, lines, true) && is_page(404, lines, true), "{lines}");
        assert!(!is_page(200, lines, false), "{lines}");
        for status in [204, 206, 304] {
            assert!(!is_page(status, lines, true), "{status} {lines}");
        }
    }
    for lines in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: text/htmlx\r\n",
        "Content-Type: application/xhtml+xml\r\n",
        "Content-Type: text/html\r\nContent-Type: text/html\r\n",
        "Content-Type: text/html; charset=utf-16\r\n",
        "Content-Type: text/html; charset=iso-2022-jp\r\n",
        "Content-Type: text/html; charset=nonsense\r\n",
        "Content-Type: text/html\r\nContent-Encoding: gzip\r\n",
        "Content-Type: text/html\r\nContent-Encoding: identity\r\nContent-Encoding: br\r\n",
        "Content-Type: text/html\r\nCache-Control: max-age=1, No-Transform\r\n",
        "Content-Type: text/html\r\nContent-Disposition: Attachment; filename=a.html\r\n",
    ] {
        assert!(!is_page(200, lines, true), "{lines}");
    }
}
