//! What a sentinel says of a service, in the words of Redis' guide for clients of Sentinel.

use redis::{ErrorKind, Pipeline, RedisResult, Value};

use super::Host;
use crate::redis::link::Link;
use crate::redis::message::Message;

/// Where the master is, by the word of one sentinel.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) master: Host,
    /// The configuration epoch: of two sentinels that differ, the one with the higher knows of a later failover. 0 if it
    /// doesn't say.
    pub(super) epoch: u64,
}

impl Told {
    /// Before any sentinel was asked.
    pub(super) fn nothing() -> Self {
        Self { master: Host { name: String::new(), port: 0 }, epoch: 0 }
    }
}

/// Asks a sentinel.
pub(super) async fn by(link: &Link, service: &str) -> RedisResult<Told> {
    let mut questions = Pipeline::new();
    for word in ["GET-MASTER-ADDR-BY-NAME", "MASTER"] {
        questions.cmd("SENTINEL").arg(word).arg(service);
    }
    let mut answers = link.send_all(questions.cmd_iter().map(Message::Command)).await?.into_iter();
    let address = answers.next().unwrap_or(Ok(Value::Nil))?;
    let Some(master) = host_in(&address) else {
        return Err((ErrorKind::InvalidClientConfig, UNKNOWN, service.to_owned()).into());
    };
    // A user of the sentinels' may be denied this one.
    let epoch = answers.next().and_then(Result::ok).as_ref().and_then(epoch_in).unwrap_or(0);
    Ok(Told { master, epoch })
}

fn host_in(answer: &Value) -> Option<Host> {
    let Value::Array(parts) = answer else { return None };
    let [name, port] = parts.as_slice() else { return None };
    Some(Host { name: text(name)?.to_owned(), port: text(port)?.parse().ok()? })
}

/// Names and values: by turns, or in pairs if the connection listens, too.
fn epoch_in(answer: &Value) -> Option<u64> {
    let is_epoch = |name: &Value| text(name) == Some("config-epoch");
    let value = match answer {
        Value::Array(fields) => fields.chunks_exact(2).find(|pair| is_epoch(&pair[0])).map(|pair| &pair[1]),
        Value::Map(fields) => fields.iter().find(|(name, _)| is_epoch(name)).map(|(_, value)| value),
        _ => None,
    };
    text(value?)?.parse().ok()
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

const UNKNOWN: &str = "its sentinels know no service of that name";
