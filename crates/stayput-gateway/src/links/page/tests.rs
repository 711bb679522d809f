//! Which links of a page carry the route, and that nothing else in it changes.

use stayput_testkit::Seed;

use super::*;
use crate::config::{UrlPlace, UrlRule};
use crate::links::Parameter;

const TOKEN: &str = "1234567890123456789012345678901234567890123";

/// The page with its route, fed in pieces of these sizes.
fn rewritten(place: UrlPlace, page: &[u8], mut piece: impl FnMut() -> usize) -> Vec<u8> {
    let parameter = Parameter::new(&UrlRule { place, ..UrlRule::default() });
    let token = TOKEN.as_bytes().try_into().unwrap();
    let mut reader = Page::new(Links { parameter: &parameter, token, host: b"shop.example", in_pages: true });
    let (mut out, mut rest) = (Vec::new(), page);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
        reader.write(now);
        reader.take(|bytes| out.extend_from_slice(bytes));
        rest = later;
    }
    reader.end();
    reader.take(|bytes| out.extend_from_slice(bytes));
    out
}

/// The same with ROUTE for the parameter, HIDDEN for the form's own.
fn shown(place: UrlPlace, page: &str) -> String {
    let whole = rewritten(place, page.as_bytes(), || usize::MAX);
    assert_eq!(rewritten(place, page.as_bytes(), || 1), whole, "byte by byte: {page}");
    let hidden = format!(r#"<input type="hidden" name="stayput-route" value="{TOKEN}">"#);
    let whole = String::from_utf8(whole).unwrap();
    whole.replace(&hidden, "HIDDEN").replace(&format!("stayput-route={TOKEN}"), "ROUTE")
}

#[test]
fn links_that_a_client_follows_carry_the_route() {
    for (page, is) in [
        (r#"<a href="/b">c</a>"#, r#"<a href="/b?ROUTE">c</a>"#),
        (r"<A HREF='/b?c=1&amp;d#e'>", r"<A HREF='/b?c=1&amp;d&amp;ROUTE#e'>"),
        (r"<a class=x href=/b?c id=y>", r"<a class=x href=/b?c&amp;ROUTE id=y>"),
        (r"<a href=b/>", r"<a href=b/?ROUTE>"),
        (r#"<a href = "&#x2F;b&#35;c" >"#, r#"<a href = "&#x2F;b?ROUTE&#35;c" >"#),
        (r#"<a href="/b" href="/c">"#, r#"<a href="/b?ROUTE" href="/c">"#),
        (r#"<a href=" https://Shop.example/ ">"#, r#"<a href=" https://Shop.example/?ROUTE ">"#),
        (r#"<map><area href="b">"#, r#"<map><area href="b?ROUTE">"#),
        (
            r#"<iframe src="/b"></iframe><frame src="/c">"#,
            r#"<iframe src="/b?ROUTE"></iframe><frame src="/c?ROUTE">"#,
        ),
        (r#"<button formaction="/b">"#, r#"<button formaction="/b?ROUTE">"#),
        (r"<input type=submit formaction=/b>", r"<input type=submit formaction=/b?ROUTE>"),
        (
            r#"<meta http-equiv="Refresh" content="0; url=/b">"#,
            r#"<meta http-equiv="Refresh" content="0; url=/b?ROUTE">"#,
        ),
        (r#"<svg><a href="/b"/></svg>"#, r#"<svg><a href="/b?ROUTE"/></svg>"#),
        (r#"<a href="/b?x&amp;stayput-route=old&amp;stayput-route&y">"#, r#"<a href="/b?x&y&amp;ROUTE">"#),
        (r#"<a href="/b?stayput-route=old#c">"#, r#"<a href="/b?ROUTE#c">"#),
    ] {
        assert_eq!(shown(UrlPlace::Query, page), is);
    }
    assert_eq!(shown(UrlPlace::Path, r#"<a href="/b?c">"#), r#"<a href="/b;ROUTE?c">"#);
    assert_eq!(shown(UrlPlace::Path, r#"<a href="/b&#59;c">"#), r#"<a href="/b&#59;c;ROUTE">"#);
}

#[test]
fn forms_carry_it_where_it_survives() {
    for (page, is) in [
        (r#"<form method=post action="/b">"#, r#"<form method=post action="/b?ROUTE">"#),
        (r#"<form METHOD=" POST ">"#, r#"<form METHOD=" POST ">"#),
        (r#"<form action="/b?c">x</form>"#, r#"<form action="/b?c">HIDDENx</form>"#),
        ("<form>", "<form>HIDDEN"),
        (r##"<form action="#a">"##, r##"<form action="#a">HIDDEN"##),
        (r#"<form action="" method=odd>"#, r#"<form action="" method=odd>HIDDEN"#),
        ("<form method=dialog>", "<form method=dialog>"),
        (r#"<form action="//other.example/">"#, r#"<form action="//other.example/">"#),
        (
            r#"<form method=post action="//other.example/">"#,
            r#"<form method=post action="//other.example/">"#,
        ),
    ] {
        assert_eq!(shown(UrlPlace::Query, page), is);
    }
    assert_eq!(shown(UrlPlace::Path, r#"<form action="/b">"#), r#"<form action="/b;ROUTE">"#);
}

#[test]
fn what_leads_elsewhere_or_nowhere_is_as_it_was() {
    for page in [
        r#"<a href="https://other.example/b">"#,
        r##"<a href="#b">"##,
        r#"<a href="">"#,
        "<a href>",
        "<a name=b>",
        r#"<a href="javascript:go('/b')">"#,
        r#"<a href="mailto:a@shop.example">"#,
        r#"<a href="data:text/html,b">"#,
        r#"<a href="/b&NewLine;c">"#,
        r#"<a href="/&bsol;other.example">"#,
        r#"<img src="/b"><script src="/c"></script><link href="/d" rel=stylesheet>"#,
        r#"<!-- <a href="/b"> --><script>"<a href='/b'>"</script><textarea><a href="/b"></textarea>"#,
        r#"<title><a href="/b"></title><style>a{b:url(/c)}</style>"#,
        r#"<meta name="refresh" content="0; url=/b">"#,
        r#"&lt;a href="/b"&gt; <a href="/b"#,
    ] {
        assert_eq!(shown(UrlPlace::Query, page), page);
    }
}

#[test]
fn relative_links_lead_where_the_pages_base_does() {
    let links = r#"<a href="b"><a href="http://shop.example/">"#;
    for (base, leads_here) in [
        (r#"<base href="/x/">"#, true),
        (r#"<base href="https://shop.example/x/">"#, true),
        (r"<base target=_top>", true),
        (r#"<base href="">"#, true),
        (r#"<base href="https://cdn.example/">"#, false),
        (r#"<base href="//cdn.example/"><base href="/">"#, false),
    ] {
        let relative = if leads_here { r#"<a href="b?ROUTE">"# } else { r#"<a href="b">"# };
        let is = format!(r#"{base}{relative}<a href="http://shop.example/?ROUTE">"#);
        assert_eq!(shown(UrlPlace::Query, &format!("{base}{links}")), is);
    }
}

#[test]
fn bytes_of_any_encoding_stay_as_they_are() {
    for (page, is) in [
        (
            &b"\xef\xbb\xbf<a href=\"/\xc3\xa9\">\xff\xfe"[..],
            &b"\xef\xbb\xbf<a href=\"/\xc3\xa9?R\">\xff\xfe"[..],
        ),
        (b"<a href=\"/\x80\x81\x9f\">", b"<a href=\"/\x80\x81\x9f?R\">"),
        // A mark that nobody writes there, and at which `lol_html` changes the encoding.
        (b"<a href=\"\xef\xbb\xbfb\">", b"<a href=\"\xef\xbb\xbfb\">"),
        (b"<p title=\"\x83\x5c\"><a href=\"/\x83\x41\">", b"<p title=\"\x83\x5c\"><a href=\"/\x83\x41?R\">"),
        (
            b"\xff\xfe<\0a\0 \0h\0r\0e\0f\0=\0/\0>\0<a href=/b>",
            b"\xff\xfe<\0a\0 \0h\0r\0e\0f\0=\0/\0>\0<a href=/b>",
        ),
    ] {
        let out = rewritten(UrlPlace::Query, page, || 1);
        let route = format!("stayput-route={TOKEN}").into_bytes();
        let mut short = out.clone();
        if let Some(at) = out.windows(route.len()).position(|window| window == route) {
            short.splice(at..at + route.len(), *b"R");
        }
        assert_eq!(short, is, "{page:?}");
    }
}

#[test]
fn a_tag_of_any_length_and_elements_of_any_depth_pass() {
    let long = format!(r#"<a href="/1"><a href="/{}"><a href="/3">"#, "x".repeat(MEMORY));
    let deep = format!(r#"<a href="/1">{}<a href="/3">"#, "<a><p><i>".repeat(20_000));
    for page in [long, deep] {
        let out = rewritten(UrlPlace::Query, page.as_bytes(), || 4096);
        let out = String::from_utf8(out).unwrap().replace(&format!("?stayput-route={TOKEN}"), "");
        assert!(out == page, "a page of {} bytes became one of {}", page.len(), out.len());
    }
}

#[test]
fn what_needs_more_memory_than_allowed_is_no_longer_read() {
    let routes = |page: &str| {
        let out = rewritten(UrlPlace::Query, page.as_bytes(), || 4096);
        String::from_utf8(out).unwrap().matches(TOKEN).count()
    };
    let long = |length: usize| format!(r#"<a href="/1"><a href="/{}"><a href="/3">"#, "x".repeat(length));
    assert_eq!((routes(&long(MEMORY / 2)), routes(&long(2 * MEMORY))), (3, 1));
    // Many elements are never closed, and that is no mistake in HTML.
    let open = |count: usize| format!(r#"{}<a href="/1">"#, "<li>".repeat(count));
    assert_eq!((routes(&open(4000)), routes(&open(100_000))), (1, 0));
    // What is not looked into is not held, be it as long as it may.
    let image = format!(r#"<a href="/1"><img src="data:{}"><a href="/3">"#, "x".repeat(2 * MEMORY));
    assert_eq!(routes(&image), 2);
}

#[test]
fn of_a_page_of_any_length_only_a_tag_is_held() {
    let parameter = Parameter::new(&UrlRule::default());
    let token = TOKEN.as_bytes().try_into().unwrap();
    let mut page = Page::new(Links { parameter: &parameter, token, host: b"a", in_pages: true });
    let piece = r#"<p>text</p><a href="/b">c</a> and <script>"<a href=1>"</script>"#.repeat(200);
    let (mut most, mut links) = (0, 0);
    for _ in 0..1000 {
        page.write(piece.as_bytes());
        page.take(|bytes| {
            most = most.max(bytes.len());
            links += bytes.windows(TOKEN.len()).filter(|window| *window == TOKEN.as_bytes()).count();
        });
    }
    assert_eq!(links, 200_000);
    assert!(most < 3 * piece.len(), "{most} bytes at a time");
    assert!(page.splice.borrow().out.capacity() < 8 * piece.len());
}

#[test]
#[ignore = "a measurement"]
fn what_a_page_costs() {
    let link = r#"<li class="item"><a class="title" href="/item?id=12&amp;page=3">Some item</a> <img src="/i.png" alt="">"#;
    let (text, script) = ("Some text that says what it is. ".repeat(5), "<script>a(\"<b>\")</script>");
    let page =
        format!("<!doctype html><html><body><ul>{}</ul>", format!("{link}{text}{script}</li>\n").repeat(200));
    let best = (0..200).map(|_| {
        let start = std::time::Instant::now();
        std::hint::black_box(rewritten(UrlPlace::Query, page.as_bytes(), || 16 * 1024));
        start.elapsed()
    });
    println!("{} bytes with 200 links: {:?}", page.len(), best.min().unwrap());
    let best = (0..1000).map(|_| {
        let start = std::time::Instant::now();
        std::hint::black_box(rewritten(UrlPlace::Query, b"<p>", || 16));
        start.elapsed()
    });
    println!("a page of three bytes: {:?}", best.min().unwrap());
}

#[test]
fn of_random_pages_nothing_but_links_changes() {
    let mut rng = Seed::announce().rng();
    let pieces = [
        "<a ",
        "<a href=",
        "<form action=",
        "<form>",
        "<iframe src=",
        "<base href=",
        "<meta http-equiv=refresh content=",
        "\"/b?c&amp;d#e\"",
        "'0;url=/b'",
        "/b",
        "\"",
        "'",
        ">",
        "/>",
        "</a>",
        "</form>",
        "<!--",
        "-->",
        "<script>",
        "</script>",
        "<svg>",
        "<![CDATA[",
        "]]>",
        "<textarea>",
        "</textarea>",
        "<select>",
        "<template>",
        "<plaintext>",
        "<",
        "&",
        "&#x2f;",
        "&quest;",
        " ",
        "=",
        "é",
        "\u{1f600}",
        "\0",
        "\n",
        "<!doctype html>",
        "<math><mi>",
        "</math>",
        "href=",
        "x",
    ];
    let route = format!("stayput-route={TOKEN}");
    let hidden = format!(r#"<input type="hidden" name="stayput-route" value="{TOKEN}">"#);
    let mut changed = 0;
    for turn in 0..10_000 {
        let length = rng.usize(1..40);
        let page: String = (0..length).map(|_| pieces[rng.usize(..pieces.len())]).collect();
        let place = if turn % 2 == 0 { UrlPlace::Query } else { UrlPlace::Path };
        let whole = rewritten(place, page.as_bytes(), || usize::MAX);
        assert_eq!(rewritten(place, page.as_bytes(), || rng.usize(1..8)), whole, "{page:?}");
        let mut bare = String::from_utf8(whole).unwrap().replace(&hidden, "");
        changed += usize::from(bare.contains(&route));
        for before in ["?", "&amp;", ";"] {
            bare = bare.replace(&format!("{before}{route}"), "");
        }
        assert_eq!(bare, page);
    }
    assert!(changed > 500, "{changed} of 10,000 had links");
}
