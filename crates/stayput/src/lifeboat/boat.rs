//! The lifeboat itself: what of a session its browser carries, sealed, for when the store is out.
//!
//! In front of the seal stands a label that says which state of the session is inside, so that a server that has the store
//! knows without opening it whether a newer one is due. The label is bound by the seal.
//!
//! `<of the key>.<version>.<writes adrift>.<confirmed>.<sealed>`, or `ended.<sealed>` for who logged out while the store was out.

use std::fmt;

use stayput_core::{Header, Keyring, Marker, Random, StorageKey, Subject, Timestamp};

use super::entry::Value;
use super::wire::{Reader, Writer};
use crate::data::Data;
use crate::device::Device;
use crate::near::{SeenVersion, key_tag};

/// A session as its browser carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boat {
    pub(crate) header: Header,
    /// When the store last confirmed the session; of one that was born in an outage, when that was.
    pub(crate) confirmed: Timestamp,
    /// The store that did.
    pub(crate) marker: Option<Marker>,
    /// Whether no store has it yet.
    pub(crate) is_born: bool,
    /// How often it was written since.
    pub(crate) writes: u32,
    /// The server that made all of these writes; `None` if several did.
    pub(crate) writer: Option<ServerId>,
    pub(crate) subject: Option<Subject>,
    pub(crate) values: Vec<Carried>,
}

/// Tells one process that serves sessions from others: random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerId(u64);

impl ServerId {
    pub(crate) fn generate(random: &dyn Random) -> Self {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        Self(u64::from_be_bytes(bytes).max(1))
    }
}

/// One of the keys that were declared, and what the session has under it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) key: String,
    pub(crate) value: Value,
    /// What the store has there, if it was written since.
    pub(crate) before: Option<Value>,
}

/// Without the values: they are the users'.
impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Boat {
    /// The cookie for the session under `key`.
    pub(crate) fn seal(&self, key: &StorageKey, keyring: &Keyring, random: &dyn Random) -> String {
        let label = self.label().encode(key);
        let sealed = keyring.seal(&context(&label, key), &self.encode(), random);
        label + &data_encoding::BASE64URL_NOPAD.encode(&sealed)
    }

    /// The boat in a cookie, if it is one of the session under `key`, whatever bytes stand there.
    pub(crate) fn open(cookie: &[u8], key: &StorageKey, keyring: &Keyring) -> Option<Self> {
        let end = cookie.iter().rposition(|byte| *byte == b'.')? + 1;
        let (label, sealed) = cookie.split_at(end);
        let (label, sealed) = (str::from_utf8(label).ok()?, unwrapped(sealed)?);
        Self::decode(&keyring.open(&context(label, key), &sealed).ok()?)
    }

    fn label(&self) -> Label {
        Label { version: SeenVersion::of(&self.header), writes: self.writes, confirmed: self.confirmed }
    }

    /// Bytes that the cookie has.
    pub(crate) fn cookie_len(&self) -> usize {
        LONGEST_LABEL + data_encoding::BASE64URL_NOPAD.encode_len(SEAL + self.encode().len())
    }

    /// The session's data, as far as it is known: all that was declared.
    pub(crate) fn data(&self, device: &Device) -> Data {
        self.data_of(device, |carried| carried.value.as_deref())
    }

    /// The same as it was before the store was out.
    pub(crate) fn data_before(&self, device: &Device) -> Data {
        self.data_of(device, |carried| carried.before.as_ref().unwrap_or(&carried.value).as_deref())
    }

    fn data_of(&self, device: &Device, value: impl Fn(&Carried) -> Option<&[u8]>) -> Data {
        let mut data = self.subject.as_ref().map_or_else(Data::new, |subject| Data::owned(subject, device));
        for carried in &self.values {
            if let Some(value) = value(carried) {
                data.set(carried.key.as_bytes(), value);
            }
        }
        data.known_only(self.values.iter().map(|carried| carried.key.clone()))
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.bytes(&self.header.to_bytes());
        out.number(self.confirmed.as_millis());
        out.number(self.writes.into());
        out.number(self.writer.map_or(0, |writer| writer.0));
        out.flag(self.is_born);
        out.optional(self.marker.as_ref().map(|marker| &marker.as_bytes()[..]));
        out.optional(self.subject.as_ref().map(|subject| subject.as_str().as_bytes()));
        for carried in &self.values {
            out.bytes(carried.key.as_bytes());
            out.optional(carried.value.as_deref());
            out.flag(carried.before.is_some());
            if let Some(before) = &carried.before {
                out.optional(before.as_deref());
            }
        }
        out.into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (header, _) = Header::from_bytes(reader.bytes()?).ok()?;
        let confirmed = Timestamp::from_millis(reader.number()?);
        let writes = u32::try_from(reader.number()?).ok()?;
        let writer = Some(ServerId(reader.number()?)).filter(|writer| writer.0 != 0);
        let is_born = reader.flag()?;
        let marker = reader.optional()?.map(|marker| marker.try_into().map(Marker::from_bytes));
        let subject = reader.optional()?.map(|subject| str::from_utf8(subject).map(Subject::new));
        let mut values = Vec::new();
        while !reader.is_at_end() {
            let key = str::from_utf8(reader.bytes()?).ok()?.to_owned();
            let value = reader.optional()?.map(<[u8]>::to_vec);
            let before = if reader.flag()? { Some(reader.optional()?.map(<[u8]>::to_vec)) } else { None };
            values.push(Carried { key, value, before });
        }
        let (marker, subject) = (marker.transpose().ok()?, subject.transpose().ok()?);
        Some(Self { header, confirmed, marker, is_born, writes, writer, subject, values })
    }
}

/// Which state of a session a boat carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) version: SeenVersion,
    pub(crate) writes: u32,
    pub(crate) confirmed: Timestamp,
}

impl Label {
    /// The label of a cookie, if it is about the session under `key`. Anybody can make one up.
    pub(crate) fn decode(cookie: &[u8], key: &StorageKey) -> Option<Self> {
        let mut parts = str::from_utf8(cookie).ok()?.splitn(5, '.');
        if parts.next()?.as_bytes() != key_tag(key) {
            return None;
        }
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (version, writes, confirmed) = (number()?, number()?, number()?);
        let (version, writes) = (SeenVersion::of_count(version), u32::try_from(writes).ok()?);
        Some(Self { version, writes, confirmed: Timestamp::from_millis(confirmed) })
    }

    fn encode(self, key: &StorageKey) -> String {
        format!("{}.{}.{}.", self.version.encode(key), self.writes, self.confirmed.as_millis())
    }
}

/// The cookie of sessions that their user ended while the store was out, by which any server ends them there. There are several
/// if nobody could tell which of those whose cookies came with the logout is alive.
pub(crate) fn seal_ended(keys: &[StorageKey], keyring: &Keyring, random: &dyn Random) -> String {
    let keys: Vec<u8> = keys.iter().flat_map(StorageKey::as_bytes).copied().collect();
    let sealed = keyring.seal(ENDED_CONTEXT, &keys, random);
    ENDED.to_owned() + &data_encoding::BASE64URL_NOPAD.encode(&sealed)
}

/// The sessions that such a cookie is about.
pub(crate) fn open_ended(cookie: &[u8], keyring: &Keyring) -> Option<Vec<StorageKey>> {
    let sealed = unwrapped(cookie.strip_prefix(ENDED.as_bytes())?)?;
    let keys = keyring.open(ENDED_CONTEXT, &sealed).ok()?;
    let (keys, rest) = keys.as_chunks::<{ StorageKey::LEN }>();
    rest.is_empty().then(|| keys.iter().copied().map(StorageKey::from_bytes).collect())
}

fn unwrapped(text: &[u8]) -> Option<Vec<u8>> {
    let fits = text.len() <= MOST_BYTES;
    fits.then(|| data_encoding::BASE64URL_NOPAD.decode(text).ok()).flatten()
}

fn context(label: &str, key: &StorageKey) -> Vec<u8> {
    [b"stayput lifeboat\0", &key.as_bytes()[..], label.as_bytes()].concat()
}

/// Most bytes of a lifeboat cookie's value.
pub(crate) const MOST_BYTES: usize = 2048;

const ENDED: &str = "ended.";
const ENDED_CONTEXT: &[u8] = b"stayput lifeboat of an ended session\0";

/// Eight characters of the key, and numbers of at most 20, 10 and 20 digits, each with its dot.
const LONGEST_LABEL: usize = 8 + 21 + 11 + 21;

/// What a seal adds: key id, nonce and tag.
const SEAL: usize = 4 + 12 + 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stayput_core::{SystemRandom, WriteTag};

    use super::*;

    fn key(number: u8) -> StorageKey {
        StorageKey::from_bytes([number; StorageKey::LEN])
    }

    fn boat() -> Boat {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let mut header = Header::new(now, now.after(Duration::from_hours(1)), now, WriteTag(7));
        header.subject = Some(Subject::new("alice").key());
        let carried = |key: &str, value: Option<&[u8]>, before: Option<Value>| Carried {
            key: key.to_owned(),
            value: value.map(<[u8]>::to_vec),
            before,
        };
        let values = vec![
            carried("there", Some(b"1"), None),
            carried("missing", None, None),
            carried("written", Some(b"new"), Some(Some(b"old".to_vec()))),
            carried("removed", None, Some(Some(b"old".to_vec()))),
            carried("added", Some(b"new"), Some(None)),
        ];
        let (marker, subject) = (Some(Marker::from_bytes([3; 16])), Some(Subject::new("alice")));
        let writer = Some(ServerId(5));
        Boat { header, confirmed: now, marker, is_born: true, writes: 3, writer, subject, values }
    }

    #[test]
    fn a_boat_is_opened_as_it_was_sealed() {
        let keyring = Keyring::generate(&SystemRandom);
        let plain = Boat { marker: None, subject: None, is_born: false, values: Vec::new(), ..boat() };
        for boat in [boat(), plain] {
            let cookie = boat.seal(&key(1), &keyring, &SystemRandom);
            assert!(cookie.len() <= boat.cookie_len());
            assert_eq!(Boat::open(cookie.as_bytes(), &key(1), &keyring), Some(boat.clone()));
            assert_eq!(Label::decode(cookie.as_bytes(), &key(1)), Some(boat.label()));
        }
    }

    #[test]
    fn it_opens_for_its_session_and_with_its_label_only() {
        let keyring = Keyring::generate(&SystemRandom);
        let cookie = boat().seal(&key(1), &keyring, &SystemRandom);
        assert_eq!(Boat::open(cookie.as_bytes(), &key(2), &keyring), None);
        assert_eq!(Label::decode(cookie.as_bytes(), &key(2)), None);
        let others = Keyring::generate(&SystemRandom);
        assert_eq!(Boat::open(cookie.as_bytes(), &key(1), &others), None);
        for place in 0..cookie.len() {
            for byte in [b'0', b'1', b'.', b'A', 0, 0xff] {
                let mut changed = cookie.clone().into_bytes();
                if std::mem::replace(&mut changed[place], byte) != byte {
                    assert_eq!(Boat::open(&changed, &key(1), &keyring), None, "{byte} at {place}");
                }
            }
            assert_eq!(Boat::open(&cookie.as_bytes()[..place], &key(1), &keyring), None, "cut to {place}");
        }
    }

    #[test]
    fn its_data_knows_what_was_declared_and_nothing_else() {
        let (boat, device) = (boat(), Device::default());
        let data = boat.data(&device);
        assert_eq!(data.subject(), boat.subject);
        assert_eq!(data.known("there").unwrap(), Some(&b"1"[..]));
        assert_eq!(data.known("missing").unwrap(), None);
        assert_eq!(data.known("written").unwrap(), Some(&b"new"[..]));
        assert!(data.known("other").is_err());
        let before = boat.data_before(&device);
        assert_eq!(before.known("written").unwrap(), Some(&b"old"[..]));
        assert_eq!(before.known("removed").unwrap(), Some(&b"old"[..]));
        assert_eq!(before.known("added").unwrap(), None);
    }

    #[test]
    fn what_is_shown_of_it_has_no_values() {
        let shown = format!("{:?}", boat());
        assert!(shown.contains("written") && shown.contains("Carried"), "{shown}");
        let value = format!("{:?}", b"new");
        assert!(!shown.contains(&value), "{shown}");
    }

    #[test]
    fn word_of_an_end_is_nothing_else_and_nothing_else_is_that() {
        let keyring = Keyring::generate(&SystemRandom);
        let ended = seal_ended(&[key(1), key(2)], &keyring, &SystemRandom);
        assert_eq!(open_ended(ended.as_bytes(), &keyring), Some(vec![key(1), key(2)]));
        assert_eq!(Boat::open(ended.as_bytes(), &key(1), &keyring), None);
        let boat = boat().seal(&key(1), &keyring, &SystemRandom);
        assert_eq!(open_ended(boat.as_bytes(), &keyring), None);
        let sealed = boat.rsplit('.').next().unwrap();
        assert_eq!(open_ended(format!("ended.{sealed}").as_bytes(), &keyring), None);
    }
}
