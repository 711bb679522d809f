//! What a session holds: its subject, and values by key, each encoded by itself and decoded only when read.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use stayput_core::Subject;

use crate::Error;

/// Encoded values by key.
pub(crate) type Values = BTreeMap<String, ByteBuf>;

/// Values to be set, or with `None` to be removed: applied to whatever the session holds by then.
pub(crate) type Changes = BTreeMap<String, Option<ByteBuf>>;

/// A session's data, as it is sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) subject: Option<Subject>,
    pub(crate) values: Values,
}

/// Encoded as a MessagePack array of the two.
#[derive(Serialize)]
struct Wire<'a>(Option<&'a str>, &'a Values);

#[derive(Deserialize)]
struct OwnedWire(Option<String>, Values);

impl Data {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let wire = Wire(self.subject.as_ref().map(Subject::as_str), &self.values);
        rmp_serde::to_vec(&wire).expect("strings and bytes always encode")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
        let OwnedWire(subject, values) = rmp_serde::from_slice(bytes)?;
        Ok(Self { subject: subject.map(Subject::new), values })
    }

    pub(crate) fn apply(&mut self, changes: &Changes) {
        for (key, change) in changes {
            match change {
                Some(value) => self.values.insert(key.clone(), value.clone()),
                None => self.values.remove(key),
            };
        }
    }

    /// Bytes that the values take.
    pub(crate) fn size(&self) -> usize {
        self.values.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

pub(crate) fn encode<T: Serialize>(key: &str, value: &T) -> Result<ByteBuf, Error> {
    // Field names are kept, so that an application may add fields to its types.
    rmp_serde::to_vec_named(value)
        .map(ByteBuf::from)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_read_as_it_was_written() {
        let values = [("n".to_owned(), encode("n", &7u32).unwrap())].into();
        let data = Data { subject: Some(Subject::new("alice")), values };
        let read = Data::decode(&data.encode()).unwrap();
        assert_eq!(read, data);
        assert_eq!(decode::<u32>("n", &read.values["n"]).unwrap(), 7);
    }

    #[test]
    fn a_value_of_another_type_is_an_error_that_names_its_key_and_not_the_value() {
        let error = decode::<u32>("n", &encode("n", &"personal").unwrap()).unwrap_err();
        assert!(error.to_string().contains("`n`"), "{error}");
        assert!(!format!("{error:?}").contains("personal"), "{error:?}");
        let error = decode::<u8>("n", &encode("n", &40_961).unwrap()).unwrap_err();
        assert!(!format!("{error:?}").contains("40961"), "{error:?}");
    }
}
