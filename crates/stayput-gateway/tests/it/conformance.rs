//! What RFC 9112 and RFC 9110 ask of a gateway, section by section, over real sockets: docs/conformance.md is made of it.
//!
//! Each room is a table of rules, and each rule has the bytes that it is shown by. What takes more than bytes in and
//! bytes out is a test of its own, which `document` names.

mod answers;
mod bodies;
mod connections;
mod document;
mod fields;
mod lines;
mod rule;

pub(crate) use self::rule::without_pins;
