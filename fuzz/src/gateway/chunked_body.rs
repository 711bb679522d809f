//! Chunked bodies: read on their way, in pieces, they come to what a decoder finds that has all of them before it.

use stayput_gateway::fuzzing::{self, Malformed};

use super::Target;
use super::split::pieces;
use super::strict::{self, Next};

/// See the module.
pub const TARGET: Target = Target { name: "chunked_body", check, seeds, words };

fn check(input: &[u8]) -> bool {
    let Some((&how, bytes)) = input.split_first() else { return false };
    let passed = fuzzing::chunked(bytes, pieces(how));
    let bare = fuzzing::chunked_bare(bytes, pieces(how));
    let text = String::from_utf8_lossy(bytes);
    match strict::dechunked(bytes) {
        Next::Whole(data, length) => {
            assert_eq!(passed, Ok((data.clone(), length, true)), "{text:?}");
            assert_eq!(bare, Ok((data, length, true)), "{text:?}");
            true
        }
        Next::Malformed(why) => {
            assert_eq!(passed, Err(Malformed), "{why}: {text:?}");
            assert_eq!(bare, Err(Malformed), "{why}: {text:?}");
            false
        }
        // What is wrong already may be seen before the line is whole.
        Next::Incomplete => {
            assert_eq!(passed, bare, "{text:?}");
            assert!(
                passed.is_err() || passed.is_ok_and(|(_, taken, done)| taken == bytes.len() && !done),
                "{text:?}"
            );
            false
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let bodies = [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
        "005;a=b;c=\"d\"\r\nhello\r\nA\r\n0123456789\r\n0;x\r\nX-Sum: 1\r\nServer-Timing: a\r\n\r\n",
        "2\r\n\r\n\r\n0\r\n\r\n",
        "ffffffffffffffff\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
        "5\nhello\n0\n\n",
        "5 \r\nhello\r\n0\r\n\r\n",
    ];
    let split = |body: &str| [0, 1, 7].map(|how| [&[how], body.as_bytes()].concat());
    bodies.into_iter().flat_map(split).collect()
}

fn words() -> Vec<String> {
    [
        "\\x0d\\x0a",
        "0\\x0d\\x0a\\x0d\\x0a",
        "5\\x0d\\x0ahello\\x0d\\x0a",
        ";a=b",
        "Host:a",
        "X:a",
        "Content-Length:5",
        "0x",
        "ffffffffffffffff",
    ]
    .map(str::to_owned)
    .to_vec()
}
