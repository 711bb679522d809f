//! Handing out lifeboats: while the store is there, whenever the one that the client has is out of date; while it isn't, after
//! each write.

use std::time::Duration;

use stayput_core::{LifeboatKey, StorageKey};

use super::{Current, Drift, Session, State};
use crate::answer::CookieChange;
use crate::cookies::Presented;
use crate::lifeboat::boat::MOST_BYTES;
use crate::lifeboat::{Boat, Carried, Label, View};
use crate::near::SeenVersion;

/// What becomes of the lifeboat that the client has.
#[derive(PartialEq, Eq)]
enum Due {
    /// It is good.
    No,
    /// It is of an older version of the session, which may not matter.
    IfDifferent,
    Yes,
}

impl Session {
    /// Whether the client has a good lifeboat, if it is to have one.
    pub(super) fn has_lifeboat(&self, state: &State) -> bool {
        self.lifeboat_due(state) == Due::No
    }

    /// Gives the client a new lifeboat if it is to have one.
    pub(super) fn hand_out_lifeboat(&self) {
        let inner = &self.sessions().inner;
        if inner.lifeboat.is_none() {
            return;
        }
        let (current, confirmed) = {
            let state = self.state();
            let (due, Some(current)) = (self.lifeboat_due(&state), state.current.clone()) else { return };
            let is_same = || {
                let boat = self.boat(&current.key, &inner.keyring.load());
                boat.is_some_and(|boat| self.is_same(&boat, &current))
            };
            if due == Due::No || due == Due::IfDifferent && is_same() {
                return;
            }
            (current, state.confirmed)
        };
        let cookie = self.lifeboat_of(&current, &Drift::since(confirmed, inner.marker.get()));
        self.state().answer.lifeboat = cookie;
    }

    /// Gives the client the lifeboat of the session as it is while the store is out.
    pub(crate) fn hand_out_boat(&self) {
        let (current, drift) = {
            let state = self.state();
            (state.current.clone(), state.drift.clone())
        };
        if let (Some(current), Some(drift)) = (current, drift)
            && let Some(cookie) = self.lifeboat_of(&current, &drift)
        {
            self.state().answer.lifeboat = Some(cookie);
        }
    }

    fn lifeboat_due(&self, state: &State) -> Due {
        let inner = &self.sessions().inner;
        let Some(current) = state.live() else { return Due::No };
        if inner.lifeboat.is_none() || state.answer.logged_out {
            return Due::No;
        }
        let Some(label) = self.lifeboat_label(&current.key) else { return Due::Yes };
        let now = inner.clock.now();
        let is_old = now >= label.confirmed.after(inner.policy.max_age / 3);
        // Made up, or by a clock that is far ahead.
        let is_ahead = label.confirmed > now.after(MOST_SKEW);
        if label.writes > 0 || is_ahead || is_old && state.confirmed > label.confirmed {
            Due::Yes
        } else if label.version == SeenVersion::of(&current.header) || state.has_seen_version() {
            // Who was told of this version got the lifeboat with it, if another one was due.
            Due::No
        } else {
            Due::IfDifferent
        }
    }

    /// The label of the lifeboat that the client presents for the session under `key`. Anybody can make one up.
    pub(super) fn lifeboat_label(&self, key: &StorageKey) -> Option<Label> {
        match self.cookies().single(&self.sessions().inner.names.lifeboat) {
            Presented::Once(value) => Label::decode(value, key),
            Presented::Absent | Presented::Several => None,
        }
    }

    /// Whether a lifeboat has all that one of the session would have now.
    fn is_same(&self, boat: &Boat, current: &Current) -> bool {
        let (old, new) = (&boat.header, &current.header);
        let fresh = self.boat_of(current, &Drift::since(boat.confirmed, boat.marker));
        (old.generation, old.absolute, old.subject) == (new.generation, new.absolute, new.subject)
            && fresh.values == boat.values
            && !boat.is_born
            && self.sessions().inner.marker.get().is_none_or(|marker| boat.marker == Some(marker))
    }

    /// The cookie of a lifeboat; `None` if even without values it would be too large.
    pub(crate) fn lifeboat_of(&self, current: &Current, drift: &Drift) -> Option<CookieChange> {
        let inner = &self.sessions().inner;
        let boat = self.boat_of(current, drift);
        if boat.cookie_len() > MOST_BYTES {
            tracing::warn!(
                bytes = boat.cookie_len(),
                most = MOST_BYTES,
                "session is too large for a lifeboat"
            );
            return None;
        }
        let value = boat.seal(&current.key, &inner.keyring.load(), &*inner.random);
        Some(CookieChange::Set { value, left: self.lifetime(current) })
    }

    /// Whether the lifeboat of a session carries all that was written since the store went out: where it doesn't, another server
    /// would take an older value for the one there is.
    pub(super) fn has_room(&self, view: &View) -> bool {
        let boat = self.boat_of(&view.current, &view.drift);
        let is_carried = |name: &String| boat.values.iter().any(|carried| carried.key == *name);
        boat.cookie_len() <= MOST_BYTES && view.drift.before.iter().all(|(name, _)| is_carried(name))
    }

    /// The lifeboat of a session, with as many of the declared values as have room in it.
    pub(crate) fn boat_of(&self, current: &Current, drift: &Drift) -> Boat {
        let mut boat = Boat {
            header: current.header.clone(),
            confirmed: drift.confirmed,
            marker: drift.marker,
            is_born: drift.is_born,
            writes: drift.writes,
            writer: drift.writer,
            subject: current.data.subject(),
            values: Vec::new(),
        };
        let policy = &self.sessions().inner.policy;
        for key in policy.lifeboat.iter().map(LifeboatKey::name).filter(|key| current.data.knows(key)) {
            let value = current.data.get(key).map(<[u8]>::to_vec);
            boat.values.push(Carried { key: key.to_owned(), value, before: drift.before(key).cloned() });
            if boat.cookie_len() > MOST_BYTES {
                boat.values.pop();
                tracing::warn!(value = key, most = MOST_BYTES, "value has no room in the lifeboat");
            }
        }
        boat
    }
}

/// How far the clocks of two servers may be apart before one's lifeboats are replaced by the other's.
const MOST_SKEW: Duration = Duration::from_mins(1);
