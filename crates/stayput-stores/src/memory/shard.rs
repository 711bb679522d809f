//! One shard: a map, and two indexes by deadline from which it is swept and room is made.
//!
//! Every method leaves the indexes and the byte count in step with the map. It knows nothing of a subject's other
//! sessions, and only notes which records of subjects are gone.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use stayput_core::{
    Created, Record, Replaced, SWEEP_DELAY, State, StorageKey, SubjectKey, TOMBSTONE_LIFETIME, Timestamp,
    Touched, Version,
};

/// There is no room, and nothing that may be dropped.
#[derive(Debug)]
pub(super) struct Full;

pub(super) struct Shard {
    entries: HashMap<StorageKey, Entry, BuildHasherDefault<KeyHasher>>,
    /// What may be dropped to make room: anonymous sessions and tombstones.
    evictable: BTreeSet<(Timestamp, StorageKey)>,
    /// What may not: the sessions of subjects.
    kept: BTreeSet<(Timestamp, StorageKey)>,
    bytes: usize,
    capacity: usize,
    /// Records of subjects that are gone, until somebody takes the list to the index of subjects.
    pub(super) gone: Vec<(SubjectKey, StorageKey)>,
}

enum Entry {
    Record(Arc<Record>),
    Tombstone { expires: Timestamp },
}

impl Entry {
    fn expires(&self) -> Timestamp {
        match self {
            Self::Record(record) => record.header.expires,
            Self::Tombstone { expires } => *expires,
        }
    }

    fn subject(&self) -> Option<SubjectKey> {
        match self {
            Self::Record(record) => record.header.subject,
            Self::Tombstone { .. } => None,
        }
    }

    fn is_evictable(&self) -> bool {
        self.subject().is_none()
    }

    fn size(&self) -> usize {
        let record = match self {
            Self::Record(record) => record.size(),
            Self::Tombstone { .. } => 0,
        };
        OVERHEAD + record + self.subject().map_or(0, |_| LISTED)
    }
}

impl Shard {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: HashMap::default(),
            evictable: BTreeSet::new(),
            kept: BTreeSet::new(),
            bytes: 0,
            capacity,
            gone: Vec::new(),
        }
    }

    pub(super) fn create(
        &mut self,
        key: StorageKey,
        record: Record,
        now: Timestamp,
    ) -> Result<(Created, u64), Full> {
        if self.entries.get(&key).is_some_and(|entry| entry.expires() > now) {
            return Ok((Created::Exists, 0));
        }
        self.discard(&key);
        self.put(key, Entry::Record(Arc::new(record)), now).map(|evicted| (Created::Created, evicted))
    }

    pub(super) fn replace(
        &mut self,
        key: StorageKey,
        mut record: Record,
        expected: Version,
        now: Timestamp,
    ) -> Result<(Replaced, u64), Full> {
        match self.live(&key, now) {
            None => Ok((Replaced::Missing, 0)),
            Some(current) if current.header.version() != expected => {
                Ok((Replaced::Conflict(Arc::clone(current)), 0))
            }
            Some(current) => {
                record.header.keep_deadline(current.header.expires);
                self.put(key, Entry::Record(Arc::new(record)), now)
                    .map(|evicted| (Replaced::Replaced, evicted))
            }
        }
    }

    pub(super) fn touch(&mut self, key: StorageKey, expires: Timestamp, now: Timestamp) -> Touched {
        if self.live(&key, now).is_none() {
            return Touched::Missing;
        }
        if let Some(Entry::Record(mut record)) = self.take(&key) {
            let header = &mut Arc::make_mut(&mut record).header;
            header.expires = header.expires.max(expires.min(header.absolute));
            self.insert(key, Entry::Record(record));
        }
        Touched::Touched
    }

    pub(super) fn remove(&mut self, key: StorageKey, now: Timestamp) {
        self.discard(&key);
        // A tombstone is put even where there is no room: it is small, and the next record makes room again.
        self.insert(key, Entry::Tombstone { expires: now.after(TOMBSTONE_LIFETIME) });
    }

    pub(super) fn live(&self, key: &StorageKey, now: Timestamp) -> Option<&Arc<Record>> {
        match self.entries.get(key) {
            Some(Entry::Record(record)) if !record.header.is_expired(now) => Some(record),
            _ => None,
        }
    }

    /// The state of the subject's live record under `key`, if there is one.
    pub(super) fn state(&self, subject: &SubjectKey, key: &StorageKey, now: Timestamp) -> Option<State> {
        let header = &self.live(key, now)?.header;
        (header.subject == Some(*subject)).then_some(header.state)
    }

    /// Whether a record of the subject is under `key`, live or expired.
    pub(super) fn holds(&self, subject: &SubjectKey, key: &StorageKey) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.subject() == Some(*subject))
    }

    pub(super) fn sweep(&mut self, limit: usize, now: Timestamp) -> usize {
        let mut swept = 0;
        while swept < limit {
            let Some(key) = self.expired(now.before(SWEEP_DELAY)) else { break };
            self.discard(&key);
            swept += 1;
        }
        swept
    }

    /// Puts `entry` in place of whatever is under `key`, and says how many live sessions had to go for it.
    fn put(&mut self, key: StorageKey, entry: Entry, now: Timestamp) -> Result<u64, Full> {
        let replaced = self.entries.get(&key).map_or(0, Entry::size);
        let evicted = self.make_room(entry.size().saturating_sub(replaced), &key, now)?;
        let same_place =
            |old: &&mut Entry| (old.expires(), old.is_evictable()) == (entry.expires(), entry.is_evictable());
        if let Some(old) = self.entries.get_mut(&key).filter(same_place) {
            // Most writes: the indexes need not know.
            self.bytes = self.bytes - old.size() + entry.size();
            *old = entry;
        } else {
            self.take(&key);
            self.insert(key, entry);
        }
        Ok(evicted)
    }

    /// Drops what has expired, then anonymous sessions and tombstones, or nothing if that would not be enough.
    fn make_room(&mut self, needed: usize, except: &StorageKey, now: Timestamp) -> Result<u64, Full> {
        let mut excess = (self.bytes + needed).saturating_sub(self.capacity);
        let over = |(expires, _): &&(Timestamp, StorageKey)| *expires <= now;
        let expired = self.evictable.iter().take_while(over).chain(self.kept.iter().take_while(over));
        let droppable = expired.chain(self.evictable.iter().skip_while(over)).map(|(_, key)| *key);
        let mut victims = Vec::new();
        for key in droppable.filter(|key| key != except) {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(self.entries.get(&key).map_or(0, Entry::size));
            victims.push(key);
        }
        if excess > 0 {
            return Err(Full);
        }
        let dropped = victims.iter().filter_map(|key| self.discard(key));
        let live = |entry: &Entry| matches!(entry, Entry::Record(record) if !record.header.is_expired(now));
        Ok(dropped.filter(live).count() as u64)
    }

    /// Something whose deadline came at or before `deadline`.
    fn expired(&self, deadline: Timestamp) -> Option<StorageKey> {
        let first = |index: &BTreeSet<(Timestamp, StorageKey)>| {
            index.first().filter(|(expires, _)| *expires <= deadline).map(|(_, key)| *key)
        };
        first(&self.evictable).or_else(|| first(&self.kept))
    }

    /// Takes an entry out for good.
    fn discard(&mut self, key: &StorageKey) -> Option<Entry> {
        let entry = self.take(key)?;
        self.gone.extend(entry.subject().map(|subject| (subject, *key)));
        Some(entry)
    }

    fn insert(&mut self, key: StorageKey, entry: Entry) {
        self.bytes += entry.size();
        self.index(&entry).insert((entry.expires(), key));
        self.entries.insert(key, entry);
    }

    fn take(&mut self, key: &StorageKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.bytes -= entry.size();
        self.index(&entry).remove(&(entry.expires(), *key));
        Some(entry)
    }

    fn index(&mut self, entry: &Entry) -> &mut BTreeSet<(Timestamp, StorageKey)> {
        if entry.is_evictable() { &mut self.evictable } else { &mut self.kept }
    }
}

/// What an entry costs besides its record's bytes: the key three times, the header's padding, map and tree slots.
const OVERHEAD: usize = 288;

/// What the index of subjects costs for a session: both keys, when it began and was admitted, in a tree's slot.
const LISTED: usize = 136;

/// A storage key is a SHA-256 that only the server chooses: eight of its bytes are a hash already.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(tail) = bytes.last_chunk() {
            self.0 = u64::from_ne_bytes(*tail);
        }
    }

    fn write_usize(&mut self, _length_prefix: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
