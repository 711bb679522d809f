//! One check of one server, from connecting to a verdict.
//!
//! It keeps no connection, reads no body, and never more than a head's worth: what it talks to may be broken in any way.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::buffer::Buffer;
use crate::config::{Check, CheckKind};
use crate::connect::{connect, is_ours};
use crate::io;
use crate::upstream::Upstream;

/// What a check found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Pass,
    Fail(String),
    /// Nothing: this machine could not ask.
    Nothing,
}

/// Larger heads are no answer to so small a question.
const LARGEST_HEAD: usize = 16 * 1024;
const MOST_FIELDS: usize = 128;

/// Asks a server, where requests ask it, too.
pub(super) async fn ask(check: &Check, upstream: &Upstream) -> Found {
    let late = |_| Found::Fail(format!("it did not answer within {:?}", check.timeout));
    timeout(check.timeout, put(check, upstream)).await.unwrap_or_else(late)
}

/// Whether the server reacts at all to being asked whether it is there.
pub(super) async fn is_alive(upstream: &Upstream, limit: Duration) -> bool {
    let ping = async {
        let Ok(mut stream) = connect(&upstream.addresses, limit).await else { return };
        let question = format!("OPTIONS * HTTP/1.1\r\nHost: {}\r\n{REST}", upstream.address);
        let (mut from, mut to) = stream.split();
        if io::write_all(&mut to, question.as_bytes(), |_| {}).await.is_ok() {
            // Whatever comes, and be it the end: whoever hangs sends nothing.
            let _ = io::read(&mut from, &mut Buffer::with_capacity(1)).await;
        }
    };
    timeout(limit, ping).await.is_ok()
}

async fn put(check: &Check, upstream: &Upstream) -> Found {
    let stream = match connect(&upstream.addresses, check.timeout).await {
        Ok(stream) => stream,
        Err(error) if is_ours(&error) => {
            tracing::warn!(%error, address = %upstream.address, "a check can't be made from here");
            return Found::Nothing;
        }
        Err(error) => return Found::Fail(format!("it can't be reached: {error}")),
    };
    let CheckKind::Http { path, host, statuses } = &check.kind else { return Found::Pass };
    let host = host.clone().unwrap_or_else(|| upstream.address.to_string());
    match get(stream, path, &host).await {
        Ok(status) if statuses.contains(&status) => Found::Pass,
        Ok(status) => Found::Fail(format!("it answered {status}")),
        Err(why) => Found::Fail(why.to_owned()),
    }
}

/// The status of the answer.
async fn get(mut stream: TcpStream, path: &str, host: &str) -> Result<u16, &'static str> {
    const GONE: &str = "it closed the connection without an answer";
    let question = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{REST}");
    let (mut from, mut to) = stream.split();
    io::write_all(&mut to, question.as_bytes(), |_| {}).await.map_err(|_| GONE)?;
    let mut head = Buffer::with_capacity(LARGEST_HEAD);
    loop {
        if let Some(status) = status(&mut head)? {
            return Ok(status);
        }
        if head.spare() == 0 {
            return Err("its answer's head has no end");
        }
        match io::read(&mut from, &mut head).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err(GONE),
        }
    }
}

/// The status of the answer proper, if its head is whole; interim ones are taken off.
fn status(head: &mut Buffer) -> Result<Option<u16>, &'static str> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut answer = httparse::Response::new(&mut fields);
        match answer.parse(head.filled()) {
            Ok(httparse::Status::Partial) => return Ok(None),
            Ok(httparse::Status::Complete(length)) => match answer.code {
                Some(interim) if interim < 200 => head.consume(length),
                status => return Ok(status),
            },
            Err(_) => return Err("its answer is no HTTP"),
        }
    }
}

const REST: &str = "User-Agent: stayput-check\r\nAccept: */*\r\nConnection: close\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_that_of_the_answer_proper() {
        let read = |text: &str| {
            let mut head = Buffer::default();
            head.put(text.as_bytes());
            status(&mut head)
        };
        assert_eq!(read("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody"), Ok(Some(200)));
        assert_eq!(read("HTTP/1.0 503 Down\r\n\r\n"), Ok(Some(503)));
        assert_eq!(read("HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 404 No\r\n\r\n"), Ok(Some(404)));
        assert_eq!(read("HTTP/1.1 200 OK\r\nA: b\r\n"), Ok(None));
        assert_eq!(read(""), Ok(None));
        assert!(read("SSH-2.0-OpenSSH\r\n").is_err());
    }
}
