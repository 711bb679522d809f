//! Which state of a session is shown while the store is out, of those that are known, and what becomes of writes that only some have.
//!
//! Nothing is asked here, and nothing decided on whether a state may be used at all.

use std::sync::Arc;

use stayput_core::State as RecordState;

use super::super::{Current, Found, Source};
use super::Drift;
use crate::events::Refusal;
use crate::lifeboat::{Merges, Value, View, Written};
use crate::near::SeenVersion;

/// Of a copy and of what a lifeboat carries, the one of the higher version; what was written since on another server comes with
/// either.
pub(super) fn newest(
    copy: Option<Result<Found, Refusal>>,
    carried: Option<Found>,
    merges: &Merges,
) -> Option<Result<Found, Refusal>> {
    match (copy, carried) {
        (Some(Ok(copy)), Some(carried)) if copy.is_written_over_by(&carried) => {
            Some(Ok(copy.written_as(&carried)))
        }
        (Some(Ok(copy)), Some(carried)) if copy.version() < carried.version() => Some(Ok(carried)),
        (Some(Ok(mut copy)), Some(carried)) if carried.writes() > 0 && copy.is_live() => {
            let since = copy.drift.take();
            Some(Ok(match since {
                Some(since) => copy.brought_together_with(&carried, &since, merges),
                None => copy,
            }))
        }
        (None, Some(carried)) => Some(Ok(carried)),
        (copy, _) => copy,
    }
}

impl View {
    /// The same writes over the same version as `found`, if that is what they were made over and the store has confirmed it since:
    /// else who wrote in an outage would not see it any more once that is longer than `max_age` ago, though it waits still.
    pub(super) fn confirmed_by(mut self, found: &Found) -> Self {
        let Some(later) = found.drift.as_deref().filter(|drift| drift.confirmed > self.drift.confirmed)
        else {
            return self;
        };
        if SeenVersion::of(&self.current.header) == found.version() {
            self.current = Arc::new(self.current.with(found.current.header.clone()));
            (self.drift.confirmed, self.drift.marker) = (later.confirmed, later.marker);
        }
        self
    }
}

impl Found {
    pub(super) fn version(&self) -> SeenVersion {
        SeenVersion::of(&self.current.header)
    }

    pub(super) fn writes(&self) -> u32 {
        self.drift.as_ref().map_or(0, |drift| drift.writes)
    }

    pub(super) fn is_live(&self) -> bool {
        self.current.header.state == RecordState::Live
    }

    /// Whether `carried` was written since the store went out, over what this has. The lifeboat of a session stays as it is while
    /// values are written that it doesn't carry: its version may be an older one.
    pub(super) fn is_written_over_by(&self, carried: &Self) -> bool {
        let is_same = |(key, before): &(String, Value)| self.current.data.get(key) == before.as_deref();
        carried.writes() > 0
            && self.is_live()
            && (self.version() == carried.version()
                || self.version() > carried.version()
                    && carried.drift.as_ref().is_some_and(|drift| drift.before.iter().all(is_same)))
    }

    /// The same session with the values that were written since, as they are in `carried`.
    pub(super) fn written_as(self, carried: &Self) -> Self {
        let Some(drift) = &carried.drift else { return self };
        let mut data = self.current.data.clone();
        for (key, _) in &drift.before {
            match carried.current.data.get(key) {
                Some(value) => data.set(key.as_bytes(), value),
                None => data.remove(key.as_bytes()),
            }
        }
        let current = Current { data, ..self.current.with(self.current.header.clone()) };
        Self { current: Arc::new(current), drift: carried.drift.clone(), ..self }
    }

    /// The same session, whose values were changed since by others or by the replay of just these writes, with what was written in
    /// `carried` as far as that is more than what there is. What it adds is not in the store yet, as of this version.
    pub(super) fn brought_together_with(self, carried: &Self, since: &Drift, merges: &Merges) -> Self {
        let Some(written) = &carried.drift else { return self };
        let (mut data, mut before) = (self.current.data.clone(), Vec::new());
        for (key, base) in &written.before {
            let stored = self.current.data.get(key);
            let (base, after) = (base.as_deref(), carried.current.data.get(key));
            let shown = merges.shown(key, Written { before: base, after, stored });
            if shown.as_deref() == stored {
                continue;
            }
            before.push((key.clone(), stored.map(<[u8]>::to_vec)));
            match shown {
                Some(value) => data.set(key.as_bytes(), &value),
                None => data.remove(key.as_bytes()),
            }
        }
        if before.is_empty() && self.source != Source::Adrift {
            return self;
        }
        let current = Current { data, ..self.current.with(self.current.header.clone()) };
        let drift = Some(Box::new(Drift { before, ..since.clone() }));
        Self { current: Arc::new(current), source: Source::Adrift, drift, ..self }
    }
}
