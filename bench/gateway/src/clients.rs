//! Browsers: each with its own session cookie, and the one that the gateway gave it.

/// What all of them send, in the order of a well-known browser: 15 fields with `Cookie`.
const FIELDS: &str = "Connection: keep-alive\r\n\
sec-ch-ua: \"Chromium\";v=\"142\", \"Google Chrome\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\n\
sec-ch-ua-mobile: ?0\r\n\
sec-ch-ua-platform: \"Linux\"\r\n\
Upgrade-Insecure-Requests: 1\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r\n\
Sec-Fetch-Site: same-origin\r\n\
Sec-Fetch-Mode: navigate\r\n\
Sec-Fetch-User: ?1\r\n\
Sec-Fetch-Dest: document\r\n\
Referer: http://shop.example/catalogue/chairs?page=3\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n";

pub(crate) struct Clients {
    list: Vec<Client>,
    next: usize,
}

struct Client {
    session: String,
    affinity: String,
    upstream: Option<u32>,
}

impl Clients {
    /// The same ones every time.
    pub(crate) fn new(count: usize) -> Self {
        let mut chance = fastrand::Rng::with_seed(6);
        let mut session = || std::iter::repeat_with(|| chance.alphanumeric()).take(43).collect();
        let list = (0..count).map(|_| Client { session: session(), affinity: String::new(), upstream: None });
        Self { list: list.collect(), next: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Whose turn it is.
    pub(crate) fn next(&mut self) -> usize {
        let client = self.next;
        self.next = (client + 1) % self.list.len();
        client
    }

    /// Writes a client's request.
    pub(crate) fn write(&self, client: usize, path: &str, keep: bool, out: &mut Vec<u8>) {
        let Client { session, affinity, .. } = &self.list[client];
        let fields = if keep { FIELDS } else { &FIELDS[FIELDS.find('\n').expect("a line") + 1..] };
        let close = if keep { "" } else { "Connection: close\r\n" };
        let between = if affinity.is_empty() { "" } else { "; " };
        out.clear();
        for part in [
            "GET ",
            path,
            " HTTP/1.1\r\nHost: shop.example\r\n",
            close,
            fields,
            "Cookie: theme=dark; session=",
            session,
            between,
            affinity,
            "\r\n\r\n",
        ] {
            out.extend_from_slice(part.as_bytes());
        }
    }

    /// Takes a cookie, and notes who answered; says whether that was somebody else than before.
    pub(crate) fn answered(&mut self, client: usize, upstream: Option<u32>, cookie: Option<String>) -> bool {
        let client = &mut self.list[client];
        if let Some(cookie) = cookie {
            client.affinity = cookie;
        }
        let before = std::mem::replace(&mut client.upstream, upstream);
        before.is_some() && before != upstream
    }
}
