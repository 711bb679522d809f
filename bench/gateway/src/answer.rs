//! An answer as it comes in: where it ends, its status, upstream and cookie.

use memchr::memmem;

/// One answer, read piece by piece.
#[derive(Default)]
pub(crate) struct Incoming {
    /// The head, if it came in pieces.
    begun: Vec<u8>,
    /// What is to come of the body, once the head is known.
    left: Option<usize>,
    pub(crate) status: u16,
    pub(crate) upstream: Option<u32>,
    pub(crate) cookie: Option<String>,
}

impl Incoming {
    /// Takes what has come; says whether the answer is whole.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> bool {
        let left = match self.left {
            Some(left) => left.checked_sub(bytes.len()).expect("no more than one answer"),
            None if self.begun.is_empty() => match self.take_head(bytes) {
                Some(left) => left,
                None => {
                    self.begun.extend_from_slice(bytes);
                    return false;
                }
            },
            None => {
                self.begun.extend_from_slice(bytes);
                let begun = std::mem::take(&mut self.begun);
                match self.take_head(&begun) {
                    Some(left) => left,
                    None => {
                        self.begun = begun;
                        return false;
                    }
                }
            }
        };
        self.left = Some(left);
        left == 0
    }

    /// What is to come of the body, if the head is whole.
    fn take_head(&mut self, bytes: &[u8]) -> Option<usize> {
        let end = memmem::find(bytes, b"\r\n\r\n")?;
        let head = &bytes[..end + 2];
        self.status = digits(&head[9..]);
        self.upstream = value(head, b"\r\nX-Upstream: ").map(digits);
        self.cookie =
            [b"\r\nSet-Cookie: ", b"\r\nset-cookie: "].iter().find_map(|name| value(head, *name)).map(pair);
        let length: usize = [b"\r\nContent-Length: ", b"\r\ncontent-length: "]
            .iter()
            .find_map(|name| value(head, *name))
            .map(digits)
            .expect("an answer with a length");
        Some((length + end + 4).checked_sub(bytes.len()).expect("no more than one answer"))
    }
}

fn value<'b>(head: &'b [u8], name: &[u8]) -> Option<&'b [u8]> {
    memmem::find(head, name).map(|at| &head[at + name.len()..])
}

fn digits<N: From<u16> + std::ops::Mul<Output = N> + std::ops::Add<Output = N>>(bytes: &[u8]) -> N {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(N::from(0), |number, digit| number * N::from(10) + N::from(u16::from(digit - b'0')))
}

/// A cookie's name and value.
fn pair(line: &[u8]) -> String {
    let end = line.iter().position(|byte| b";\r".contains(byte)).expect("a line's end");
    String::from_utf8(line[..end].to_vec()).expect("a cookie of ASCII")
}
