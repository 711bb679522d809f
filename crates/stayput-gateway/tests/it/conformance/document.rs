//! docs/conformance.md is the tables of this suite: written by `STAYPUT_WRITE=1`, compared without it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::rule::Rule;
use super::{answers, bodies, fields, lines};

/// The tables, by the tests that check them.
const ROOMS: &[(&str, &str, &[Rule])] = &[
    ("Requests: line", "conformance::lines::request_lines_are_read_in_one_way_only", lines::LINES),
    ("Requests: target", "conformance::lines::a_target_says_what_is_asked_for_and_of_whom", lines::TARGETS),
    ("Requests: host", "conformance::lines::a_host_stands_once_and_is_one", lines::HOSTS),
    (
        "Requests: fields",
        "conformance::fields::field_lines_are_read_in_one_way_only_and_stay_as_they_are",
        fields::FIELDS,
    ),
    ("Requests: length", "conformance::bodies::a_length_is_a_number_that_stands_once", bodies::LENGTHS),
    ("Requests: coding", "conformance::bodies::the_only_coding_is_chunked_once", bodies::CODINGS),
    (
        "Requests of HTTP/1.0: coding",
        "conformance::bodies::an_http_1_0_request_has_no_coding",
        bodies::CODINGS_OF_1_0,
    ),
    ("Requests: chunks", "conformance::bodies::chunked_bodies_are_read_in_one_way_only", bodies::CHUNKS),
    ("Answers: head", "conformance::answers::answers_are_read_in_one_way_only", answers::HEADS),
    ("Answers: end", "conformance::answers::answers_end_where_they_end", answers::ENDS),
    ("Answers to HEAD", "conformance::answers::the_answer_to_a_head_has_no_body", answers::TO_HEAD),
    (
        "Answers to HTTP/1.0",
        "conformance::answers::an_http_1_0_client_gets_what_it_understands",
        answers::TO_1_0,
    ),
];

/// What tests of their own show: section, what holds, test.
const TESTS: &[(&str, &str, &str)] = &[
    (
        "9110, 6.6.1",
        "an answer without Date gets one",
        "conformance::connections::an_answer_without_a_date_gets_one_and_any_other_keeps_its_own",
    ),
    (
        "9110, 6.6.1; 9.3.2",
        "the gateway's own have one, and no body for a HEAD",
        "conformance::connections::the_gateways_own_answers_have_a_date_and_none_to_a_head_has_a_body",
    ),
    (
        "9112, 3; 6585, 5",
        "too long a target is 414, too much of fields 431",
        "conformance::connections::a_target_too_long_is_414_and_a_field_too_long_431",
    ),
    (
        "9110, 10.1.1",
        "100 Continue passes to who waits for it",
        "bodies::a_client_that_waits_for_100_gets_it_and_then_its_answer",
    ),
    (
        "9110, 10.1.1",
        "an answer instead ends the connection",
        "conformance::connections::a_client_that_waits_for_100_may_get_its_answer_instead_and_then_an_end",
    ),
    (
        "9112, 3.3",
        "an HTTP/1.0 client that names no host means the gateway",
        "conformance::connections::an_http_1_0_client_that_names_no_host_means_the_gateway",
    ),
    (
        "9112, 9.2",
        "bytes on an idle connection are no answer",
        "connections::a_connection_that_was_closed_or_spoken_on_while_idle_is_not_used_again",
    ),
    ("9112, 9.2", "nor bytes after an answer", "connections::bytes_after_an_answer_are_nobodys"),
    ("9112, 9.3", "connections carry many requests", "connections::both_connections_carry_many_requests"),
    (
        "9112, 9.3",
        "HTTP/1.0 keeps a connection when asked to",
        "bodies::a_1_0_client_may_keep_a_connection_whose_answers_have_a_length",
    ),
    (
        "9112, 9.3.1",
        "only idempotent requests are sent again by themselves",
        "failure::a_post_that_may_have_been_acted_on_is_502_and_never_sent_twice",
    ),
    (
        "9112, 9.3.2",
        "pipelined requests are answered in order",
        "connections::pipelined_requests_are_answered_in_order",
    ),
    (
        "9112, 9.5",
        "a slow head is 408, silence is closed silently",
        "framing::a_slow_head_is_408_and_silence_is_closed_silently",
    ),
    (
        "9112, 9.6",
        "Connection: close is respected on either side",
        "connections::close_from_either_side_is_respected",
    ),
    (
        "9112, 9.6",
        "who is refused while sending sees why",
        "bodies::a_client_that_is_refused_while_sending_is_read_on_so_that_it_sees_why",
    ),
    ("9112, 9.6", "half-closed clients get their answer", "bodies::a_half_closed_client_gets_its_answer"),
    (
        "9112, 8; 11.2",
        "nothing after a refused request is forwarded",
        "conformance::connections::nothing_after_a_refused_request_reaches_an_upstream",
    ),
    (
        "9112, 11.2",
        "what looks like a request in a body is none",
        "conformance::connections::what_looks_like_a_request_in_a_body_is_none",
    ),
    (
        "9110, 7.7",
        "an answer may come before the request is whole",
        "bodies::an_early_answer_reaches_a_client_that_is_still_sending",
    ),
    (
        "9112, 7.1",
        "chunked bodies pass byte by byte",
        "bodies::chunked_bodies_pass_both_ways_with_extensions_and_trailers",
    ),
];

const BEGIN: &str = "<!-- made by tests/it/conformance: STAYPUT_WRITE=1 -->\n";

fn tables() -> String {
    let mut text = String::new();
    for (title, test, rules) in ROOMS {
        write!(text, "\n**{title}** (`{test}`)\n\n| RFC, section | what holds |\n|---|---|\n").unwrap();
        for rule in *rules {
            let mark = if rule.differs.is_some() { " †" } else { "" };
            writeln!(text, "| {} | {}{mark} |", rule.section, rule.holds.replace('|', "\\|")).unwrap();
        }
    }
    text.push_str("\n**Connections, and what takes more than bytes in and bytes out**\n\n| RFC, section | what holds | test |\n|---|---|---|\n");
    for (section, holds, test) in TESTS {
        writeln!(text, "| {section} | {holds} | `{test}` |").unwrap();
    }
    text.push_str("\n## Deliberately different (†)\n\n| RFC, section | here | why, and what the RFC says |\n|---|---|---|\n");
    for rule in ROOMS.iter().flat_map(|(_, _, rules)| *rules) {
        if let Some(why) = rule.differs {
            writeln!(text, "| {} | {} | {why} |", rule.section, rule.holds).unwrap();
        }
    }
    text
}

#[test]
fn the_document_is_what_the_suite_checks() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    let text = fs::read_to_string(&path).unwrap();
    let (above, _) = text.split_once(BEGIN).expect("the document has the line where its tables begin");
    let expected = [above, BEGIN, &tables()].concat();
    if std::env::var_os("STAYPUT_WRITE").is_some() {
        fs::write(&path, &expected).unwrap();
    } else {
        assert!(text == expected, "docs/conformance.md is out of date: run this test with STAYPUT_WRITE=1");
    }
}

#[test]
fn every_test_that_the_document_names_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let named = ROOMS.iter().map(|(_, test, _)| *test).chain(TESTS.iter().map(|(_, _, test)| *test));
    for test in named {
        let (file, name) = test.rsplit_once("::").unwrap();
        let file = folder.join(file.replace("::", "/")).with_extension("rs");
        let source = fs::read_to_string(&file).unwrap_or_else(|_| panic!("{} is not there", file.display()));
        assert!(source.contains(&format!("#[test]\nfn {name}()")), "there is no test {test}");
    }
}
