//! HTTP/1.1 requests as RFC 9112 writes them, read the plain way: what the gateway forwards is judged by this.
//!
//! It shares no code with the gateway, and guesses nothing: a message in doubt is malformed.

/// What a request comes to, for whoever acts on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub is_1_0: bool,
    pub fields: Vec<(String, Vec<u8>)>,
    /// Without its coding.
    pub body: Vec<u8>,
    /// As it came, from its first byte to its last.
    pub raw: Vec<u8>,
}

/// What bytes begin with.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// It took so many bytes.
    Whole(T, usize),
    /// So far so good.
    Incomplete,
    Malformed(&'static str),
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
}

impl Request {
    /// The values of all fields of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.fields.iter().filter(move |(its, _)| its.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_slice())
    }

    /// RFC 9112, 6.
    pub fn framing(&self) -> Result<Framing, &'static str> {
        let lengths: Vec<_> = self.all("content-length").collect();
        let codings: Vec<_> = self.all("transfer-encoding").collect();
        match (&lengths[..], &codings[..]) {
            ([], []) => Ok(Framing::Length(0)),
            ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
                let digits = String::from_utf8_lossy(length);
                digits.parse().map(Framing::Length).map_err(|_| "a length beyond 64 bits")
            }
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && !self.is_1_0 => Ok(Framing::Chunked),
            _ => Err("framing that can be read in two ways"),
        }
    }
}

/// The request at the start of `bytes`.
pub fn request(bytes: &[u8]) -> Next<Request> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Next::Incomplete };
    let mut request = match head(&bytes[..end]) {
        Ok(request) => request,
        Err(why) => return Next::Malformed(why),
    };
    let (begin, rest) = (end + 4, &bytes[end + 4..]);
    let body = match request.framing() {
        Err(why) => return Next::Malformed(why),
        Ok(Framing::Chunked) => dechunked(rest),
        Ok(Framing::Length(length)) => match usize::try_from(length) {
            Ok(length) if length <= rest.len() => Next::Whole(rest[..length].to_vec(), length),
            _ => Next::Incomplete,
        },
    };
    match body {
        Next::Whole(body, length) => {
            request.body = body;
            request.raw = bytes[..begin + length].to_vec();
            Next::Whole(request, begin + length)
        }
        Next::Incomplete => Next::Incomplete,
        Next::Malformed(why) => Next::Malformed(why),
    }
}

/// A head without the empty line at its end.
pub fn head(bytes: &[u8]) -> Result<Request, &'static str> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = find(rest, b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    if lines.iter().any(|line| line.contains(&b'\r') || line.contains(&b'\n')) {
        return Err("a CR or LF on its own");
    }
    let words: Vec<_> = lines[0].split(|&byte| byte == b' ').collect();
    let [method, target, version] = words[..] else { return Err("a request line of other than three words") };
    if method.is_empty() || !method.iter().all(|&byte| is_token(byte)) {
        return Err("a method that is none");
    }
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err("a target with bytes that none has");
    }
    let is_1_0 = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return Err("a version that is none"),
    };
    let fields = lines[1..].iter().map(|line| field(line)).collect::<Result<_, _>>()?;
    let [method, target] = [method, target].map(|word| String::from_utf8_lossy(word).into_owned());
    Ok(Request { method, target, is_1_0, fields, body: Vec::new(), raw: bytes.to_vec() })
}

/// A field line without its end: RFC 9112, 5.
fn field(line: &[u8]) -> Result<(String, Vec<u8>), &'static str> {
    let colon = line.iter().position(|&byte| byte == b':').ok_or("a field without a colon")?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
        return Err("a field name that is none");
    }
    if !value.iter().all(|&byte| is_text(byte)) {
        return Err("a field value with control characters");
    }
    let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    Ok((String::from_utf8_lossy(name).into_owned(), value[start..end].to_vec()))
}

/// The data of the chunked body at the start of `bytes` (RFC 9112, 7.1), which are all there are for now.
pub fn dechunked(bytes: &[u8]) -> Next<Vec<u8>> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let (line, next) = match line(bytes, at) {
            Next::Whole(line, next) => (line, next),
            Next::Incomplete => return Next::Incomplete,
            Next::Malformed(why) => return Next::Malformed(why),
        };
        let (digits, extension) = match line.iter().position(|&byte| byte == b';') {
            Some(semicolon) => line.split_at(semicolon),
            None => (line, &[][..]),
        };
        let is_size = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
        if !is_size || !extension.iter().all(|&byte| is_text(byte)) {
            return Next::Malformed("a chunk's size that is none");
        }
        let size =
            u64::from_str_radix(&String::from_utf8_lossy(digits), 16).expect("up to 16 digits of 4 bits");
        at = next;
        if size == 0 {
            break;
        }
        let left = bytes.len() - at;
        let Some(size) = usize::try_from(size).ok().filter(|&size| size <= left) else {
            return Next::Incomplete;
        };
        data.extend_from_slice(&bytes[at..at + size]);
        at += size;
        match &bytes[at..] {
            [b'\r', b'\n', ..] => at += 2,
            [] | [b'\r'] => return Next::Incomplete,
            _ => return Next::Malformed("a chunk longer than its size"),
        }
    }
    loop {
        let (line, next) = match line(bytes, at) {
            Next::Whole(line, next) => (line, next),
            Next::Incomplete => return Next::Incomplete,
            Next::Malformed(why) => return Next::Malformed(why),
        };
        at = next;
        if line.is_empty() {
            return Next::Whole(data, at);
        }
        match field(line) {
            Ok((name, _)) if may_trail(&name) => {}
            Ok(_) => return Next::Malformed("a trailer that must not be one"),
            Err(why) => return Next::Malformed(why),
        }
    }
}

/// The line that begins at `at`, and where the next one does.
fn line(bytes: &[u8], at: usize) -> Next<&[u8]> {
    let rest = &bytes[at..];
    match rest.iter().position(|byte| b"\r\n".contains(byte)) {
        None => Next::Incomplete,
        Some(end) => match &rest[end..] {
            [b'\r', b'\n', ..] => Next::Whole(&rest[..end], at + end + 2),
            [b'\r'] => Next::Incomplete,
            _ => Next::Malformed("a CR or LF on its own"),
        },
    }
}

/// RFC 9110, 6.5.1: nothing that frames, routes, authenticates, controls or says how to read the content.
fn may_trail(name: &str) -> bool {
    const NEVER: [&str; 25] = [
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "location",
        "max-forwards",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-real-ip",
    ];
    let name = name.to_ascii_lowercase();
    let plain = name.replace('_', "-");
    let is_ours = plain.starts_with("x-forwarded-")
        || ["x-real-ip", "content-length", "transfer-encoding"].contains(&plain.as_str());
    !is_ours && !NEVER.contains(&name.as_str())
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte)
}

/// What field values and chunk extensions may have: no control character but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
