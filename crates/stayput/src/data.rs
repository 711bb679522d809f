//! What a session holds: its subject, and values by key, each encoded by itself and decoded only when read.
//!
//! It stays the one buffer that was unsealed, and is read in place: a request that asks for one of many values pays for
//! that one.

use std::collections::BTreeMap;
use std::ops::Range;

use rmp::{Marker, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stayput_core::Subject;

use crate::Error;

/// Values to be set, or with `None` to be removed: applied to whatever the session holds by then.
pub(crate) type Changes = BTreeMap<String, Option<Vec<u8>>>;

/// A session's data as it is sealed: the MessagePack array `[subject or nil, {key: bytes, …}]`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Data {
    wire: Vec<u8>,
    /// Where the map's pairs begin.
    pairs: usize,
}

impl Data {
    /// The data of a session that begins.
    pub(crate) fn new(subject: Option<&Subject>) -> Self {
        let mut wire = vec![Marker::FixArray(2).to_u8()];
        match subject {
            Some(subject) => write_str(&mut wire, subject.as_str()),
            None => wire.push(Marker::Null.to_u8()),
        }
        wire.push(Marker::Map32.to_u8());
        wire.extend_from_slice(&[0; COUNT_LEN]);
        Self { pairs: wire.len(), wire }
    }

    /// Reads what [`Data::as_bytes`] gave, and checks that all of it can be read.
    pub(crate) fn decode(wire: Vec<u8>) -> Result<Self, Malformed> {
        let mut reader = Reader(&wire);
        if decode::read_array_len(&mut reader.0).ok() != Some(2) {
            return Err(Malformed);
        }
        reader.subject()?;
        let is_wide = reader.0.first() == Some(&Marker::Map32.to_u8());
        let count = decode::read_map_len(&mut reader.0).map_err(|_| Malformed)?;
        let pairs = wire.len() - reader.0.len();
        for _ in 0..count {
            reader.pair()?;
        }
        if !reader.0.is_empty() {
            return Err(Malformed);
        }
        let data = Self { wire, pairs };
        Ok(if is_wide { data } else { data.widened() })
    }

    /// The data as it is sealed.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.wire
    }

    pub(crate) fn subject(&self) -> Option<Subject> {
        let mut reader = Reader(self.wire.get(1..)?);
        reader.subject().ok().flatten().map(Subject::new)
    }

    /// The encoded value under `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        self.iter().find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| value)
    }

    /// Keys and encoded values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut reader = Reader(&self.wire[self.pairs..]);
        // That all pairs can be read was seen when the data came in.
        std::iter::from_fn(move || reader.pair().ok())
    }

    pub(crate) fn set(&mut self, key: &[u8], value: &[u8]) {
        let place = self.place(key);
        if let Some(place) = place.clone()
            && self.wire[place.clone()].len() == pair_len(key, value)
        {
            // A counter, usually: nothing behind it has to move.
            let start = place.end - value.len();
            self.wire[start..place.end].copy_from_slice(value);
            return;
        }
        if place.is_none() {
            self.change_count(|count| count + 1);
        }
        let place = place.unwrap_or(self.wire.len()..self.wire.len());
        let mut pair = Vec::with_capacity(pair_len(key, value));
        write_bytes(&mut pair, key, encode::write_str_len);
        write_bytes(&mut pair, value, encode::write_bin_len);
        self.wire.splice(place, pair);
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        if let Some(place) = self.place(key) {
            self.wire.drain(place);
            self.change_count(|count| count - 1);
        }
    }

    pub(crate) fn apply(&mut self, changes: &Changes) {
        for (key, change) in changes {
            match change {
                Some(value) => self.set(key.as_bytes(), value),
                None => self.remove(key.as_bytes()),
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many values there are.
    pub(crate) fn count(&self) -> usize {
        u32::from_be_bytes(self.count_bytes()) as usize
    }

    /// Bytes that keys and values take.
    pub(crate) fn size(&self) -> usize {
        self.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    /// Where the pair of `key` stands.
    fn place(&self, key: &[u8]) -> Option<Range<usize>> {
        let mut reader = Reader(&self.wire[self.pairs..]);
        loop {
            let start = self.wire.len() - reader.0.len();
            if reader.pair().ok()?.0 == key {
                return Some(start..self.wire.len() - reader.0.len());
            }
        }
    }

    fn count_bytes(&self) -> [u8; COUNT_LEN] {
        *self.wire[..self.pairs].last_chunk().expect("the count stands before the pairs")
    }

    fn change_count(&mut self, change: impl FnOnce(u32) -> u32) {
        let count = change(u32::from_be_bytes(self.count_bytes()));
        self.wire[self.pairs - COUNT_LEN..self.pairs].copy_from_slice(&count.to_be_bytes());
    }

    /// The same with a count of full width, which can change in place.
    fn widened(&self) -> Self {
        let mut wide = Self::new(self.subject().as_ref());
        for (key, value) in self.iter() {
            wide.set(key, value);
        }
        wide
    }
}

/// Session data that authenticated, but isn't any: written by something that isn't Stayput.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("session data is not what Stayput writes")
    }
}

impl std::error::Error for Malformed {}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn subject(&mut self) -> Result<Option<&'a str>, Malformed> {
        if let Some(rest) = self.0.strip_prefix(&[Marker::Null.to_u8()]) {
            self.0 = rest;
            return Ok(None);
        }
        let len = decode::read_str_len(&mut self.0).map_err(|_| Malformed)?;
        std::str::from_utf8(self.take(len)?).map(Some).map_err(|_| Malformed)
    }

    fn pair(&mut self) -> Result<(&'a [u8], &'a [u8]), Malformed> {
        let len = decode::read_str_len(&mut self.0).map_err(|_| Malformed)?;
        let key = self.take(len)?;
        let len = decode::read_bin_len(&mut self.0).map_err(|_| Malformed)?;
        Ok((key, self.take(len)?))
    }

    fn take(&mut self, len: u32) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(len as usize).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }
}

fn write_str(out: &mut Vec<u8>, text: &str) {
    write_bytes(out, text.as_bytes(), encode::write_str_len);
}

fn write_bytes<E: std::fmt::Debug>(
    out: &mut Vec<u8>,
    bytes: &[u8],
    write_len: impl FnOnce(&mut Vec<u8>, u32) -> Result<Marker, E>,
) {
    let len = u32::try_from(bytes.len()).expect("a session's limit is far below 4 GiB");
    write_len(out, len).expect("a vector takes all that is written to it");
    out.extend_from_slice(bytes);
}

/// Bytes that a pair takes.
fn pair_len(key: &[u8], value: &[u8]) -> usize {
    let str_head = match key.len() {
        0..32 => 1,
        32..256 => 2,
        256..65_536 => 3,
        _ => 5,
    };
    let bin_head = match value.len() {
        0..256 => 2,
        256..65_536 => 3,
        _ => 5,
    };
    str_head + key.len() + bin_head + value.len()
}

pub(crate) fn encode<T: Serialize>(key: &str, value: &T) -> Result<Vec<u8>, Error> {
    // Field names are kept, so that an application may add fields to its types.
    rmp_serde::to_vec_named(value)
        .map_err(|source| Error::Encode { key: key.to_owned(), source: source.into() })
}

pub(crate) fn decode<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, Error> {
    rmp_serde::from_slice(value)
        .map_err(|source| Error::Decode { key: key.to_owned(), source: unquoted(&source).into() })
}

/// What is wrong with a value, up to the first quotation: serde quotes the value itself, which no log may hold.
fn unquoted(error: &rmp_serde::decode::Error) -> String {
    let text = error.to_string();
    text.split(['"', '`', '\'']).next().unwrap_or_default().trim_end().to_owned()
}

/// Length of a map's count in its widest form.
const COUNT_LEN: usize = 4;

#[cfg(test)]
mod tests;
