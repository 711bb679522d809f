//! What a session holds: its subject, and values by key, each encoded by itself and decoded only when read.
//!
//! It stays the one buffer that was unsealed, and is read in place: a request that asks for one of many values pays for
//! that one.

use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stayput_core::Subject;

use crate::Error;
use crate::device::Device;

/// Values to be set, or with `None` to be removed: applied to whatever the session holds by then. Each key stands once.
#[derive(Clone, Default)]
pub(crate) struct Changes(Vec<(String, Option<Vec<u8>>)>);

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Option<Vec<u8>>> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, change)| change)
    }

    pub(crate) fn insert(&mut self, key: &str, change: Option<Vec<u8>>) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, earlier)) => *earlier = change,
            None => self.0.push((key.to_owned(), change)),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Drops those that are `done`; what was changed since stays.
    pub(crate) fn settle(&mut self, done: &Self) {
        self.0.retain(|change| !done.0.contains(change));
    }
}

/// A session's data as it is sealed: `owner ‖ pair ‖ pair …`, where an owner is `0`, or
/// `1 ‖ length of subject ‖ subject ‖ length of device ‖ device`, and a pair
/// `length of key ‖ length of value ‖ key ‖ value`; lengths have four bytes, the highest first.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Data {
    wire: Vec<u8>,
    /// Where its owner's device stands, in front of the pairs; of an anonymous session there is none.
    device: usize,
    /// Where the pairs begin.
    pairs: usize,
    /// The only keys of which it is known whether there is a value; `None` if that is all of them.
    known: Option<Box<[String]>>,
}

impl Data {
    /// The data of an anonymous session that begins.
    pub(crate) fn new() -> Self {
        Self { device: 1, pairs: 1, wire: vec![0], known: None }
    }

    /// The data of a session that begins with a login of `subject` on `device`.
    pub(crate) fn owned(subject: &Subject, device: &Device) -> Self {
        let mut wire = vec![1];
        let device = device.encode();
        for part in [subject.as_str().as_bytes(), &device] {
            wire.extend_from_slice(&length(part));
            wire.extend_from_slice(part);
        }
        Self { device: wire.len() - device.len(), pairs: wire.len(), wire, known: None }
    }

    /// The same with another device, if it is anybody's.
    pub(crate) fn on(&self, device: &Device) -> Self {
        let Some(subject) = self.subject() else { return self.clone() };
        let mut data = Self::owned(&subject, device);
        data.wire.extend_from_slice(&self.wire[self.pairs..]);
        data
    }

    /// The same, of which only the values under `keys` are known.
    pub(crate) fn known_only(self, keys: impl Iterator<Item = String>) -> Self {
        Self { known: Some(keys.collect()), ..self }
    }

    /// The same, which from now on is all that there is.
    pub(crate) fn known_whole(self) -> Self {
        Self { known: None, ..self }
    }

    /// Reads what [`Data::as_bytes`] gave, and checks that all of it can be read.
    pub(crate) fn decode(wire: Vec<u8>) -> Result<Self, Malformed> {
        let mut reader = Reader(&wire);
        let owner = reader.owner()?;
        if let Some(owner) = &owner {
            // Most are plain ASCII, which is seen faster.
            if !owner.subject.is_ascii() {
                std::str::from_utf8(owner.subject).map_err(|_| Malformed)?;
            }
        }
        let pairs = wire.len() - reader.0.len();
        let device = pairs - owner.map_or(0, |owner| owner.device.len());
        while !reader.0.is_empty() {
            reader.pair()?;
        }
        Ok(Self { wire, device, pairs, known: None })
    }

    /// The data as it is sealed.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.wire
    }

    pub(crate) fn subject(&self) -> Option<Subject> {
        let owner = Reader(&self.wire).owner().ok()??;
        // That it is text was seen when the data came in.
        std::str::from_utf8(owner.subject).ok().map(Subject::new)
    }

    /// The device that the session was begun or last seen on, encoded; `None` if it is anonymous.
    pub(crate) fn device(&self) -> Option<&[u8]> {
        let is_owned = self.wire.first() != Some(&0);
        is_owned.then(|| &self.wire[self.device..self.pairs])
    }

    /// The encoded value under `key`.
    #[inline]
    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        self.iter().find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| value)
    }

    /// The encoded value under `key`.
    ///
    /// # Errors
    ///
    /// [`Error::Adrift`] if it isn't known whether there is one.
    #[inline]
    pub(crate) fn known(&self, key: &str) -> Result<Option<&[u8]>, Error> {
        if self.knows(key) { Ok(self.get(key)) } else { Err(Error::Adrift) }
    }

    /// Whether it is known what is under `key`.
    pub(crate) fn knows(&self, key: &str) -> bool {
        self.known.as_ref().is_none_or(|known| known.iter().any(|known| known == key))
    }

    /// Keys and encoded values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut reader = Reader(&self.wire[self.pairs..]);
        // That all pairs can be read was seen when the data came in.
        std::iter::from_fn(move || reader.pair().ok())
    }

    pub(crate) fn set(&mut self, key: &[u8], value: &[u8]) {
        match self.place(key) {
            // A counter, usually: nothing behind it has to move.
            Some(place) if place.len() == PAIR_HEAD + key.len() + value.len() => {
                self.wire[place.end - value.len()..place.end].copy_from_slice(value);
            }
            place => {
                let end = self.wire.len();
                let pair = [&length(key)[..], &length(value), key, value].concat();
                self.wire.splice(place.unwrap_or(end..end), pair);
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        if let Some(place) = self.place(key) {
            self.wire.drain(place);
        }
    }

    pub(crate) fn apply(&mut self, changes: &Changes) {
        for (key, change) in &changes.0 {
            match change {
                Some(value) => self.set(key.as_bytes(), value),
                None => self.remove(key.as_bytes()),
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wire.len() == self.pairs
    }

    /// How many values there are, and how many bytes they take with their keys.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.iter().fold((0, 0), |(count, bytes), (key, value)| (count + 1, bytes + key.len() + value.len()))
    }

    /// The keys whose values differ from those of `other`.
    pub(crate) fn differing(&self, other: &Self) -> Vec<String> {
        let value = |data: &Self, key: &[u8]| {
            data.iter().find(|(name, _)| *name == key).map(|(_, value)| value.to_vec())
        };
        let keys = self.iter().chain(other.iter()).map(|(key, _)| key);
        let mut keys: Vec<_> = keys.filter(|key| value(self, key) != value(other, key)).collect();
        keys.sort_unstable();
        keys.dedup();
        // Keys come from the application, as text.
        keys.into_iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
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

/// Whose a session is, encoded.
struct Owner<'a> {
    subject: &'a [u8],
    device: &'a [u8],
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn owner(&mut self) -> Result<Option<Owner<'a>>, Malformed> {
        match self.take(1)? {
            [0] => Ok(None),
            [1] => Ok(Some(Owner { subject: self.part()?, device: self.part()? })),
            _ => Err(Malformed),
        }
    }

    fn part(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.length()?;
        self.take(len)
    }

    fn pair(&mut self) -> Result<(&'a [u8], &'a [u8]), Malformed> {
        let (key, value) = (self.length()?, self.length()?);
        Ok((self.take(key)?, self.take(value)?))
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        let (length, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*length) as usize)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("keys and values are far below 4 GiB").to_be_bytes()
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

/// Length of what stands before a pair's key.
const PAIR_HEAD: usize = 8;

#[cfg(test)]
mod tests;
