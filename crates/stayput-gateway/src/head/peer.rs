//! The reader beside another one: what `httparse` behind the scanner refuses is refused, and what it takes is read alike.
//!
//! The only difference is meant: by itself, without the scanner before it, `httparse` would take bare LFs and empty lines in
//! front.

use fastrand::Rng;
use httparse::{EMPTY_HEADER, Header, Status};

use super::*;

type Read = (Vec<u8>, Vec<u8>, bool, Vec<(Vec<u8>, Vec<u8>)>);

fn fields<'a>(all: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<(Vec<u8>, Vec<u8>)> {
    all.map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

fn theirs<'a>(headers: &'a [Header<'a>]) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields(headers.iter().map(|header| (header.name.as_bytes(), header.value)))
}

/// The head at the start, if the scanner finds its end.
fn scanned(bytes: &[u8]) -> Option<&[u8]> {
    let end = Scanner::default().scan(bytes).ok()??;
    Some(&bytes[..end]).filter(|head| !head.starts_with(b"\r\n"))
}

/// What of options no parser knows is left out.
fn is_readable(fault: Fault) -> bool {
    fault == Fault::TooManyOptions
}

fn check_request(bytes: &[u8]) -> bool {
    let mut headers = [EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut headers);
    let expected = scanned(bytes).map(|head| match parsed.parse(head) {
        Ok(Status::Complete(length)) if length == head.len() => Ok(head),
        Err(httparse::Error::TooManyHeaders) => Err(Fault::TooManyFields),
        Err(httparse::Error::Version) => Err(Fault::Version),
        Ok(_) | Err(_) => Err(Fault::Syntax),
    });
    let mut lines = Lines::new();
    let read = RequestHead::read(bytes, &mut lines);
    let text = String::from_utf8_lossy(bytes);
    match (&read, expected) {
        (Ok(head), Some(Ok(raw))) => {
            let ours: Read = (
                head.method.to_vec(),
                head.target.as_bytes().to_vec(),
                head.is_1_0,
                fields(head.fields.list_unless(|_| false)),
            );
            let theirs: Read = (
                parsed.method.unwrap().as_bytes().to_vec(),
                parsed.path.unwrap().as_bytes().to_vec(),
                parsed.version == Some(0),
                theirs(parsed.headers),
            );
            assert_eq!(ours, theirs, "{text:?}");
            assert_eq!(head.fields.head_length(), raw.len(), "{text:?}");
            is_laid_out(&head.fields, raw);
            true
        }
        (Err(fault), Some(Ok(_))) => is_readable(*fault) || panic!("{fault:?}, and httparse reads {text:?}"),
        (Err(fault), Some(Err(other))) => {
            assert_eq!(*fault, other, "{text:?}");
            false
        }
        (Err(_), None) => false,
        (Ok(_), other) => panic!("read, and to httparse it is {other:?}: {text:?}"),
    }
}

fn check_answer(bytes: &[u8]) -> bool {
    let mut headers = [EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut headers);
    let head = scanned(bytes).filter(|head| parsed.parse(head) == Ok(Status::Complete(head.len())));
    let mut lines = Lines::new();
    let read = AnswerHead::read(bytes, &mut lines);
    let text = String::from_utf8_lossy(bytes);
    match (&read, head) {
        (Ok(ours), Some(raw)) => {
            assert_eq!((Some(ours.status), Some(u8::from(!ours.is_1_0))), (parsed.code, parsed.version));
            assert_eq!(fields(ours.fields.list_unless(|_| false)), theirs(parsed.headers), "{text:?}");
            assert_eq!(ours.fields.head_length(), raw.len(), "{text:?}");
            is_laid_out(&ours.fields, raw);
            true
        }
        (Err(fault), Some(_)) => is_readable(*fault) || panic!("{fault:?}, and httparse reads {text:?}"),
        (Err(_), None) => false,
        (Ok(_), None) => panic!("httparse refuses {text:?}"),
    }
}

/// The first line and all field lines make up the head, and each is of the kind that its name says, but for what `Connection`
/// takes away.
fn is_laid_out(fields: &Fields<'_, '_>, raw: &[u8]) {
    let mut copied = Buffer::default();
    fields.copy(|_| false, &mut copied);
    assert_eq!([fields.start_line(), copied.filled(), b"\r\n"].concat(), raw);
    for line in &*fields.lines {
        let kind = Kind::of(line.name(raw));
        assert!(line.kind == kind || line.kind == Kind::HopByHop && fields.has(Kind::Connection));
        assert!(fields.has(line.kind));
    }
}

const NAMES: &[&str] = &[
    "Host",
    "TE",
    "te",
    "Date",
    "Cookie",
    "Accept",
    "User-Agent",
    "Content-Length",
    "content_length",
    "X-Forwarded-For",
    "x_forwarded_for",
    "X-Real-IP",
    "Connection",
    "Keep-Alive",
    "Transfer-Encoding",
    "HTTP2-Settings",
    "a",
    "A-",
    "Abcdefg",
    "Abcdefgh",
    "abcdefgh-abcdefg",
    "Sec-CH-UA",
    "!#$%&'*+-.^_`|~",
    "Upgrade-Insecure-Requests",
    "9",
    "",
];
const VALUES: &[&str] = &[
    "",
    " ",
    "a",
    "close",
    "keep-alive, a, x-a",
    "a\tb",
    "\t a \t ",
    "1234567",
    "12345678",
    "text/html;q=0.8, */*",
    "\u{e9}",
    "theme=dark; session=0123456789abcdef0123456789abcdef; stayput-affinity=abc",
    "~",
    "a:b",
    "5",
];

fn pick<'a>(chance: &mut Rng, from: &[&'a str]) -> &'a str {
    from[chance.usize(..from.len())]
}

/// A head that is well-formed more often than not.
fn head(chance: &mut Rng, first: &str) -> Vec<u8> {
    let mut head = first.as_bytes().to_vec();
    let most = if chance.u8(..) < 4 { 140 } else { 12 };
    for _ in 0..chance.usize(..most) {
        let blank = pick(chance, &["", " ", "  ", "\t"]);
        let names = NAMES.len() - usize::from(chance.u8(..) > 4);
        let (name, value) = (pick(chance, &NAMES[..names]), pick(chance, VALUES));
        head.extend(format!("{name}:{blank}{value}\r\n").into_bytes());
    }
    head.extend(pick(chance, &["\r\n", "\r\n", "\r\nGET / HTTP/1.1\r\n\r\n", "\r\n0123456789"]).bytes());
    head
}

/// Some bytes of it are others, gone, or there twice.
fn mutate(chance: &mut Rng, head: &mut Vec<u8>) {
    const ODD: &[u8] = b"\r\n\t :\0\x7f\x80\xff\x1f\x0b\x0c!~az@[`{_-/\\\"(),;";
    for _ in 0..chance.usize(..4) {
        let at = chance.usize(..head.len());
        let odd = if chance.bool() { ODD[chance.usize(..ODD.len())] } else { chance.u8(..) };
        match chance.u8(..5) {
            0 => head[at] = odd,
            1 => head.insert(at, odd),
            2 if head.len() > 1 => drop(head.remove(at)),
            3 => {
                let end = chance.usize(at..=head.len());
                let part = head[at..end].to_vec();
                head.splice(at..at, part);
            }
            _ if chance.u8(..) < 32 => head.truncate(at.max(1)),
            _ => {}
        }
    }
}

fn seed() -> u64 {
    std::env::var("STAYPUT_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap())
}

const TIMES: usize = 40_000;

/// Runs `check` over made-up heads, whole and mutated, and sees to it that both verdicts are common.
fn compare(firsts: &[&str], check: fn(&[u8]) -> bool) {
    let seed = seed();
    println!("STAYPUT_SEED={seed}");
    let mut chance = Rng::with_seed(seed);
    let mut taken = 0;
    for _ in 0..TIMES {
        let first = pick(&mut chance, firsts);
        let mut head = head(&mut chance, first);
        mutate(&mut chance, &mut head);
        taken += usize::from(check(&head));
    }
    assert!((TIMES / 10..TIMES * 9 / 10).contains(&taken), "{taken} of {TIMES} taken");
}

#[test]
fn requests_are_read_as_httparse_reads_them() {
    let firsts = [
        "GET / HTTP/1.1\r\n",
        "GET /small?a=b HTTP/1.1\r\n",
        "POST /0123456789/0123456789 HTTP/1.0\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "M-SEARCH http://a/b HTTP/1.1\r\n",
        "GET /caf\u{e9} HTTP/1.1\r\n",
        "GET / HTTP/2.0\r\n",
        "GET /\r\n",
        "G / H\r\n",
    ];
    compare(&firsts, check_request);
}

#[test]
fn answers_are_read_as_httparse_reads_them() {
    let firsts = [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 404 Not Found at all, caf\u{e9}\r\n",
        "HTTP/1.0 204 \r\n",
        "HTTP/1.1 304\r\n",
        "HTTP/1.1 099 Odd\r\n",
        "HTTP/1.1 20 OK\r\n",
        "HTTP/2 200\r\n",
    ];
    compare(&firsts, check_answer);
}

#[test]
fn each_byte_is_judged_as_httparse_judges_it_wherever_it_stands() {
    let request = b"GET /a HTTP/1.1\r\nHost: shop.example\r\nX-Long-Name-Of-A-Field:  a value of some length \r\nA:b\r\n\r\n";
    let answer =
        b"HTTP/1.1 200 All is well\r\nX-Long-Name-Of-A-Field:  a value of some length \r\nA:b\r\n\r\n";
    for byte in 0..=u8::MAX {
        for at in 0..request.len() {
            let mut bytes = request.to_vec();
            bytes[at] = byte;
            check_request(&bytes);
        }
        for at in 0..answer.len() {
            let mut bytes = answer.to_vec();
            bytes[at] = byte;
            check_answer(&bytes);
        }
    }
}

#[test]
fn no_part_of_a_head_is_a_head() {
    let request = b"GET /a HTTP/1.1\r\nHost: shop.example\r\nA:b\r\n\r\n";
    for length in 0..request.len() {
        assert!(!check_request(&request[..length]));
    }
    assert!(check_request(request));
}
