//! How a value that was written while the store was out is brought together with the one that the store has by then.
//!
//! Three are known: the one that was written over, the one that was written, and the store's. What can't be brought together is
//! said, never guessed.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rmpv::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stayput_core::{LifeboatKey, Merge, Policy};

use crate::{Error, data};

/// What a merge brings together, each `None` where there was no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<T> {
    /// What was written over while the store was out.
    pub before: Option<T>,
    /// What was written.
    pub after: Option<T>,
    /// What the store has when it is back.
    pub stored: Option<T>,
}

type OwnMerge = Arc<dyn Fn(Written<&[u8]>) -> Result<Option<Vec<u8>>, Error> + Send + Sync>;

/// The merges of all keys that can be written while the store is out.
#[derive(Clone, Default)]
pub(crate) struct Merges {
    declared: HashMap<String, Merge>,
    own: HashMap<String, OwnMerge>,
}

/// A write can't be brought together with what the store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unmerged;

impl Merges {
    /// Adds one of the application's own.
    pub(crate) fn add_own<T, M>(&mut self, key: String, merge: M)
    where
        T: Serialize + DeserializeOwned,
        M: Fn(Written<T>) -> Option<T> + Send + Sync + 'static,
    {
        let name = key.clone();
        let own = move |written: Written<&[u8]>| {
            let decoded = |value: Option<&[u8]>| value.map(|value| data::decode(&name, value)).transpose();
            let (before, after) = (decoded(written.before)?, decoded(written.after)?);
            let merged = merge(Written { before, after, stored: decoded(written.stored)? });
            merged.map(|value| data::encode(&name, &value)).transpose()
        };
        self.own.insert(key, Arc::new(own));
    }

    /// Takes what the policy declares. Says which keys have no merge though they should, or one that nobody asked for.
    pub(crate) fn declare(&mut self, policy: &Policy) -> Vec<String> {
        let written = |key: &LifeboatKey| key.merge().map(|merge| (key.name().to_owned(), merge));
        self.declared = policy.lifeboat.iter().filter_map(written).collect();
        let is_own = |key: &str| self.declared.get(key) == Some(&Merge::Own);
        let without = self.declared.keys().filter(|key| is_own(key) && !self.own.contains_key(*key));
        let without =
            without.map(|key| format!("lifeboat key `{key}` wants a merge of its own, by Builder::merge"));
        let unasked = self.own.keys().filter(|key| !is_own(key));
        let unasked = unasked
            .map(|key| format!("lifeboat doesn't declare `{key}` with Merge::Own, as Builder::merge wants"));
        without.chain(unasked).collect()
    }

    /// Whether what the store had at the very beginning is as good as what was written over, if others wrote in between.
    pub(crate) fn goes_by_origin(&self, key: &str) -> bool {
        self.declared.get(key) == Some(&Merge::IfUnchanged)
    }

    /// What is to be under `key` from now on.
    pub(crate) fn merge(&self, key: &str, written: Written<&[u8]>) -> Result<Option<Vec<u8>>, Unmerged> {
        match self.declared.get(key).ok_or(Unmerged)? {
            // Somebody may have been there before with the same.
            Merge::IfUnchanged if [written.before, written.after].contains(&written.stored) => {
                Ok(written.after.map(<[u8]>::to_vec))
            }
            Merge::Add => add(written).map(Some),
            Merge::Union => union(written),
            Merge::Own => {
                let own = self.own.get(key).ok_or(Unmerged)?;
                // One that panics must not end the replay of everybody's writes, and again after each restart.
                let merged = catch_unwind(AssertUnwindSafe(|| own(written)));
                let merged = merged.map_err(|_| tracing::error!(value = key, "a merge panicked"));
                merged.map_err(|()| Unmerged)?.map_err(|error| {
                    error.log();
                    Unmerged
                })
            }
            _ => Err(Unmerged),
        }
    }

    /// What is shown under `key` of a write of which nobody here knows whether it is in the stored value already: never more than
    /// both would come to, and nothing that is stored is hidden.
    pub(crate) fn shown(&self, key: &str, written: Written<&[u8]>) -> Option<Vec<u8>> {
        let Written { before, after, stored } = written;
        let merged = match self.declared.get(key) {
            _ if stored == before => Ok(after.map(<[u8]>::to_vec)),
            Some(Merge::Add) => further(written),
            // It comes to the same, however often.
            Some(Merge::Union) => union(written),
            _ => Err(Unmerged),
        };
        merged.unwrap_or_else(|_| stored.map(<[u8]>::to_vec))
    }
}

impl fmt::Debug for Merges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merges").field("declared", &self.declared).finish_non_exhaustive()
    }
}

/// The stored number and what was added to the one before. A counter that never was below zero doesn't get there by this.
fn add(written: Written<&[u8]>) -> Result<Vec<u8>, Unmerged> {
    let number = |value: Option<&[u8]>| value.map_or(Ok(0), number);
    let (before, after) = (number(written.before)?, number(written.after)?);
    let stored = number(written.stored)?;
    let sum = (stored + after - before).clamp(i64::MIN.into(), u64::MAX.into());
    if sum < 0 && before.min(after).min(stored) >= 0 {
        return Err(Unmerged);
    }
    let value = u64::try_from(sum).map(Value::from).or_else(|_| i64::try_from(sum).map(Value::from));
    encode(&value.map_err(|_| Unmerged)?)
}

/// Of the stored number and the one that was written, the one that is further the way that was counted.
fn further(written: Written<&[u8]>) -> Result<Option<Vec<u8>>, Unmerged> {
    let number = |value: Option<&[u8]>| value.map_or(Ok(0), number);
    let (before, after, stored) = (number(written.before)?, number(written.after)?, number(written.stored)?);
    let is_further = if after >= before { after > stored } else { after < stored };
    let shown = if is_further { written.after } else { written.stored };
    Ok(shown.map(<[u8]>::to_vec))
}

/// The stored list without what was taken out, and then what was put in.
fn union(written: Written<&[u8]>) -> Result<Option<Vec<u8>>, Unmerged> {
    let list = |value: Option<&[u8]>| value.map_or_else(|| Ok(Vec::new()), list);
    let (before, after) = (list(written.before)?, list(written.after)?);
    let mut merged = list(written.stored)?;
    merged.retain(|item| after.contains(item) || !before.contains(item));
    for item in after {
        if !before.contains(&item) && !merged.contains(&item) {
            merged.push(item);
        }
    }
    let is_removed = written.after.is_none() && merged.is_empty();
    if is_removed { Ok(None) } else { encode(&Value::Array(merged)).map(Some) }
}

fn number(value: &[u8]) -> Result<i128, Unmerged> {
    let Value::Integer(number) = decode(value)? else { return Err(Unmerged) };
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)).ok_or(Unmerged)
}

fn list(value: &[u8]) -> Result<Vec<Value>, Unmerged> {
    let Value::Array(items) = decode(value)? else { return Err(Unmerged) };
    Ok(items)
}

fn decode(mut value: &[u8]) -> Result<Value, Unmerged> {
    let decoded = rmpv::decode::read_value(&mut value).map_err(|_| Unmerged)?;
    if value.is_empty() { Ok(decoded) } else { Err(Unmerged) }
}

fn encode(value: &Value) -> Result<Vec<u8>, Unmerged> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).map_err(|_| Unmerged)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merges(merge: Merge) -> Merges {
        let mut merges = Merges::default();
        if merge == Merge::Own {
            merges.add_own("key".to_owned(), |written: Written<i64>| written.after.max(written.stored));
        }
        let lifeboat = vec![LifeboatKey::written("key", merge)];
        assert!(merges.declare(&Policy { lifeboat, ..Policy::web() }).is_empty());
        merges
    }

    fn merged<T: Serialize + DeserializeOwned>(
        merge: Merge,
        before: Option<T>,
        after: Option<T>,
        stored: Option<T>,
    ) -> Result<Option<T>, Unmerged> {
        let encode = |value: Option<T>| value.map(|value| data::encode("key", &value).unwrap());
        let (before, after, stored) = (encode(before), encode(after), encode(stored));
        let written =
            Written { before: before.as_deref(), after: after.as_deref(), stored: stored.as_deref() };
        let merged = merges(merge).merge("key", written)?;
        Ok(merged.map(|value| data::decode("key", &value).unwrap()))
    }

    #[test]
    fn what_was_written_over_the_stored_value_counts_and_over_another_one_does_not() {
        let merged = |before, after, stored| merged(Merge::IfUnchanged, before, after, stored);
        assert_eq!(merged(Some(1), Some(2), Some(1)), Ok(Some(2)));
        assert_eq!(merged(None, Some(2), None), Ok(Some(2)));
        assert_eq!(merged(Some(1), None, Some(1)), Ok(None));
        assert_eq!(merged(Some(1), Some(2), Some(2)), Ok(Some(2)));
        assert_eq!(merged(Some(1), Some(2), Some(3)), Err(Unmerged));
        assert_eq!(merged(Some(1), Some(2), None), Err(Unmerged));
    }

    #[test]
    fn what_was_added_is_added_to_whatever_is_there() {
        let merged = |before, after, stored| merged::<i64>(Merge::Add, before, after, stored);
        assert_eq!(merged(Some(4), Some(7), Some(10)), Ok(Some(13)));
        assert_eq!(merged(None, Some(1), None), Ok(Some(1)));
        assert_eq!(merged(Some(5), Some(2), Some(10)), Ok(Some(7)));
        assert_eq!(merged(Some(-5), Some(-7), Some(1)), Ok(Some(-1)));
        // Nobody knows whether the counter may be negative.
        assert_eq!(merged(Some(5), Some(2), Some(1)), Err(Unmerged));
    }

    #[test]
    fn numbers_stop_at_the_ends_of_64_bits_and_other_values_are_no_numbers() {
        let most = merged(Merge::Add, Some(0), Some(u64::MAX), Some(u64::MAX));
        assert_eq!(most, Ok(Some(u64::MAX)));
        assert_eq!(merged(Merge::Add, Some('a'), Some('b'), Some('c')), Err(Unmerged));
    }

    #[test]
    fn what_was_put_in_is_put_in_once_and_what_was_taken_out_is_out() {
        let merged = |before: &[&str], after: &[&str], stored: &[&str]| {
            let owned = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect::<Vec<_>>());
            merged(Merge::Union, owned(before), owned(after), owned(stored)).unwrap().unwrap()
        };
        assert_eq!(merged(&["a"], &["a", "b"], &["a", "c"]), ["a", "c", "b"]);
        assert_eq!(merged(&["a"], &["b"], &["a", "b", "c"]), ["b", "c"]);
        assert_eq!(merged(&["a", "b"], &["a", "b"], &["c"]), ["c"]);
    }

    #[test]
    fn what_is_shown_hides_nothing_that_is_stored_and_makes_no_write_twice() {
        let shown = |merge, [before, after, stored]: [i64; 3]| {
            let [before, after, stored] =
                [before, after, stored].map(|value| data::encode("key", &value).unwrap());
            let (before, after, stored) = (Some(&*before), Some(&*after), Some(&*stored));
            let shown = merges(merge).shown("key", Written { before, after, stored });
            data::decode::<i64>("key", &shown.unwrap()).unwrap()
        };
        for merge in [Merge::Add, Merge::IfUnchanged, Merge::Own] {
            assert_eq!(shown(merge, [1, 2, 1]), 2, "{merge:?}");
            assert_eq!(shown(merge, [1, 2, 2]), 2, "{merge:?}");
            assert_eq!(shown(merge, [1, 2, 5]), 5, "{merge:?}");
        }
        assert_eq!(shown(Merge::Add, [1, 4, 2]), 4);
        assert_eq!(shown(Merge::Add, [4, 1, 3]), 1);
        assert_eq!(shown(Merge::Add, [4, 3, 0]), 0);
        assert_eq!(shown(Merge::IfUnchanged, [1, 4, 2]), 2);
        let list = |items: &[u8]| data::encode("key", &items).unwrap();
        let (before, after, stored) = (list(&[1]), list(&[1, 2]), list(&[1, 3]));
        let written = Written { before: Some(&*before), after: Some(&*after), stored: Some(&*stored) };
        assert_eq!(merges(Merge::Union).shown("key", written), Some(list(&[1, 3, 2])));
    }

    #[test]
    fn a_merge_of_the_applications_own_sees_all_three() {
        assert_eq!(merged(Merge::Own, Some(1), Some(5), Some(3)), Ok(Some(5)));
        assert_eq!(merged(Merge::Own, Some(1), Some(5), Some(8)), Ok(Some(8)));
    }

    #[test]
    fn a_merge_that_is_missing_or_that_nobody_asked_for_is_named() {
        let mut merges = Merges::default();
        merges.add_own("there".to_owned(), |written: Written<i64>| written.after);
        let lifeboat = vec![LifeboatKey::written("here", Merge::Own)];
        let mistakes = merges.declare(&Policy { lifeboat, ..Policy::web() });
        assert!(mistakes[0].contains("`here`") && mistakes[1].contains("`there`"), "{mistakes:?}");
    }
}
