//! The cluster as one of its nodes sees it: the answer to `CLUSTER SLOTS`.
//!
//! It may be of the past; whoever is sent elsewhere by a node believes that one.

use redis::Value;

use super::shares::Shares;
use super::slot::Slot;
use crate::redis::config::Endpoint;

/// Who has which slots.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    /// First slot, last slot, and their primary.
    pub(super) ranges: Vec<(Slot, Slot, Endpoint)>,
    pub(super) replicas: Vec<Endpoint>,
}

impl View {
    /// Reads the answer of the node `from`. `None` if it is none, or names nobody for any slot.
    pub(super) fn from_value(value: &Value, from: &Endpoint) -> Option<Self> {
        let Value::Array(rows) = value else { return None };
        let mut view = Self { ranges: Vec::new(), replicas: Vec::new() };
        for row in rows {
            let Value::Array(row) = row else { return None };
            let [first, last, nodes @ ..] = row.as_slice() else { return None };
            let mut nodes = nodes.iter().map(|node| endpoint(node, from));
            // Nobody knows yet how one is reached whose name is unknown.
            if let Some(primary) = nodes.next()? {
                view.ranges.push((slot(first)?, slot(last)?, primary));
            }
            view.replicas.extend(nodes.flatten());
        }
        (!view.ranges.is_empty()).then_some(view)
    }

    pub(super) fn shares(&self) -> Shares {
        Shares::of(self.ranges.iter().map(|(first, last, owner)| (first.index(), last.index(), owner)))
    }
}

fn slot(value: &Value) -> Option<Slot> {
    let Value::Int(number) = value else { return None };
    Slot::from_number(u16::try_from(*number).ok()?)
}

fn endpoint(node: &Value, from: &Endpoint) -> Option<Endpoint> {
    let Value::Array(node) = node else { return None };
    let [host, Value::Int(port), ..] = node.as_slice() else { return None };
    let host = match host {
        // Behind one name: the one by which it was asked.
        Value::Nil => "",
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        _ => return None,
    };
    Endpoint::named(host, u16::try_from(*port).ok()?, from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: Value, port: i64) -> Value {
        Value::Array(vec![host, Value::Int(port), Value::BulkString(b"id".into())])
    }

    fn row(first: i64, last: i64, nodes: impl IntoIterator<Item = Value>) -> Value {
        Value::Array([Value::Int(first), Value::Int(last)].into_iter().chain(nodes).collect())
    }

    #[test]
    fn a_view_is_read_whatever_it_names_hosts_by() {
        let from = Endpoint { host: "seed".to_owned(), port: 1 };
        let name = |name: &str| Value::BulkString(name.into());
        let answer = Value::Array(vec![
            row(0, 99, [node(name("10.0.0.1"), 7000), node(name("10.0.0.2"), 7001)]),
            row(100, 100, [node(Value::Nil, 7002)]),
            row(101, 200, [node(name("?"), 7003)]),
        ]);
        let view = View::from_value(&answer, &from).unwrap();
        let at = |host: &str, port| Endpoint { host: host.to_owned(), port };
        let slot = |number| Slot::from_number(number).unwrap();
        assert_eq!(
            view.ranges,
            [(slot(0), slot(99), at("10.0.0.1", 7000)), (slot(100), slot(100), at("seed", 7002))]
        );
        assert_eq!(view.replicas, [at("10.0.0.2", 7001)]);
    }

    #[test]
    fn what_is_no_view_is_refused() {
        let from = Endpoint { host: "seed".to_owned(), port: 1 };
        let far = row(0, 16_384, [node(Value::Nil, 1)]);
        for answer in
            [Value::Nil, Value::Array(vec![]), Value::Array(vec![far]), Value::Array(vec![Value::Nil])]
        {
            assert_eq!(View::from_value(&answer, &from), None, "{answer:?}");
        }
    }
}
