//! A store of one's own: a map behind a mutex, with all that Stayput asks of a store. `tests/conformance.rs` shows that it does.
//!
//! It is meant to be read, not used: it takes as much memory as it is given, and looks through all it has to find one
//! user's sessions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use stayput_core::{
    Admission, Admitted, Clock, Created, Epoch, Overflow, Record, Replaced, SWEEP_DELAY, SessionStore, State,
    StorageKey, StoreFuture, SubjectKey, TOMBSTONE_LIFETIME, Timestamp, Touched, Version,
};

/// Sessions in a map.
#[derive(Debug)]
pub struct MapStore {
    map: Mutex<Map>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct Map {
    places: HashMap<StorageKey, Place>,
    epochs: HashMap<SubjectKey, Epoch>,
    admissions: u64,
}

/// What is under a key.
#[derive(Debug)]
struct Place {
    /// Until then; a record's own deadline is the same.
    until: Timestamp,
    /// `None` is a tombstone.
    record: Option<Record>,
    /// Which of all admissions was this session's.
    admitted: Option<u64>,
}

impl MapStore {
    /// An empty one. Tests move its clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { map: Mutex::default(), clock }
    }

    /// Everything happens under one lock, and therefore wholly or not at all, and in one order.
    fn with<T: Send + 'static>(&self, act: impl FnOnce(&mut Map, Timestamp) -> T) -> StoreFuture<'_, T> {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        StoreFuture::ready(Ok(act(&mut map, self.clock.now())))
    }
}

impl SessionStore for MapStore {
    fn name(&self) -> &'static str {
        "map"
    }

    fn create(&self, key: StorageKey, record: Record) -> StoreFuture<'_, Created> {
        self.with(|map, now| match map.places.get(&key) {
            Some(place) if place.until > now => Created::Exists,
            _ => {
                let place = Place { until: record.header.expires, record: Some(record), admitted: None };
                map.places.insert(key, place);
                Created::Created
            }
        })
    }

    fn load(&self, key: StorageKey) -> StoreFuture<'_, Option<Arc<Record>>> {
        self.with(|map, now| map.live(&key, now).map(|place| Arc::new(place.record().clone())))
    }

    fn replace(&self, key: StorageKey, mut record: Record, expected: Version) -> StoreFuture<'_, Replaced> {
        self.with(|map, now| match map.live(&key, now) {
            None => Replaced::Missing,
            Some(place) if place.record().header.version() != expected => {
                Replaced::Conflict(Arc::new(place.record().clone()))
            }
            Some(place) => {
                // What a touch did since the record was read stays done.
                record.header.keep_deadline(place.until);
                (place.until, place.record) = (record.header.expires, Some(record));
                Replaced::Replaced
            }
        })
    }

    fn touch(&self, key: StorageKey, expires: Timestamp) -> StoreFuture<'_, Touched> {
        self.with(|map, now| {
            let Some(Place { until, record: Some(record), .. }) = map.live(&key, now) else {
                return Touched::Missing;
            };
            *until = expires.min(record.header.absolute).max(*until);
            record.header.expires = *until;
            Touched::Touched
        })
    }

    fn remove(&self, key: StorageKey) -> StoreFuture<'_, ()> {
        self.with(|map, now| map.bury(key, now))
    }

    fn admit(&self, subject: SubjectKey, key: StorageKey, admission: Admission) -> StoreFuture<'_, Admitted> {
        self.with(|map, now| {
            if map.epoch(&subject, now) != admission.epoch {
                return Admitted::Revoked;
            }
            let mut ended: Vec<_> = map.of(&subject, now).into_iter().filter(Seen::is_session).collect();
            match ended.iter().find(|session| session.key == key) {
                None => return Admitted::Missing,
                Some(session) if session.admitted.is_some() => {
                    return Admitted::Admitted { ended: Vec::new() };
                }
                Some(_) => {}
            }
            ended.retain(|other| other.admitted.is_some() && Some(other.key) != admission.replaces);
            ended.sort_by_key(|other| other.admitted);
            let most = admission.limit.map_or(usize::MAX, |limit| limit.most.get() as usize);
            ended.truncate((ended.len() + 1).saturating_sub(most));
            if !ended.is_empty() && admission.limit.is_some_and(|limit| limit.overflow == Overflow::Reject) {
                return Admitted::Rejected;
            }
            for other in &ended {
                map.bury(other.key, now);
            }
            map.admissions += 1;
            if let Some(place) = map.places.get_mut(&key) {
                place.admitted = Some(map.admissions);
            }
            Admitted::Admitted { ended: ended.into_iter().map(|other| other.key).collect() }
        })
    }

    fn subject_sessions(&self, subject: SubjectKey) -> StoreFuture<'_, Vec<StorageKey>> {
        self.with(|map, now| map.of(&subject, now).into_iter().map(|seen| seen.key).collect())
    }

    fn end_subject(&self, subject: SubjectKey, except: Option<StorageKey>) -> StoreFuture<'_, Option<usize>> {
        self.with(|map, now| {
            let mut ended = map.of(&subject, now);
            if except.is_some_and(|key| !ended.iter().any(|seen| seen.key == key && seen.is_session())) {
                return None;
            }
            // First of all, so that a login under way is refused.
            let raised = map.epoch(&subject, now).raised(now);
            map.epochs.insert(subject, raised);
            ended.retain(|seen| Some(seen.key) != except);
            for seen in &ended {
                map.bury(seen.key, now);
            }
            Some(ended.iter().filter(|seen| seen.is_session()).count())
        })
    }

    fn subject_epoch(&self, subject: SubjectKey) -> StoreFuture<'_, Epoch> {
        self.with(|map, now| map.epoch(&subject, now))
    }

    fn sweep(&self, limit: usize) -> StoreFuture<'_, usize> {
        self.with(|map, now| {
            let long_ago = now.before(SWEEP_DELAY);
            let places = map.places.extract_if(|_, place| place.until <= long_ago).take(limit).count();
            let epochs = map.epochs.extract_if(|_, epoch| epoch.expires() <= long_ago);
            places + epochs.take(limit - places).count()
        })
    }
}

impl Map {
    fn live(&mut self, key: &StorageKey, now: Timestamp) -> Option<&mut Place> {
        self.places.get_mut(key).filter(|place| place.record.is_some() && place.until > now)
    }

    /// Leaves a tombstone, so that nothing that is under way brings the session back.
    fn bury(&mut self, key: StorageKey, now: Timestamp) {
        let tombstone = Place { until: now.after(TOMBSTONE_LIFETIME), record: None, admitted: None };
        self.places.insert(key, tombstone);
    }

    /// The subject's live records, the oldest first.
    fn of(&self, subject: &SubjectKey, now: Timestamp) -> Vec<Seen> {
        let mut of = Vec::new();
        for (key, Place { until, record, admitted }) in &self.places {
            if let Some(Record { header, .. }) = record
                && header.subject == Some(*subject)
                && *until > now
            {
                let (state, created) = (header.state, header.created);
                of.push(Seen { key: *key, state, created, admitted: *admitted });
            }
        }
        of.sort_by_key(|seen| seen.created);
        of
    }

    fn epoch(&self, subject: &SubjectKey, now: Timestamp) -> Epoch {
        self.epochs.get(subject).copied().filter(|epoch| epoch.expires() > now).unwrap_or_default()
    }
}

impl Place {
    fn record(&self) -> &Record {
        self.record.as_ref().expect("only what holds a record is live")
    }
}

/// A subject's record, as it was found.
struct Seen {
    key: StorageKey,
    state: State,
    created: Timestamp,
    admitted: Option<u64>,
}

impl Seen {
    /// A login may have left a remainder of it.
    fn is_session(&self) -> bool {
        self.state == State::Live
    }
}
