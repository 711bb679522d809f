//! Which sessions are a subject's: one shard of the index, by subject.
//!
//! It doesn't know whether a session is live; that is asked of the shard that holds its record.

use std::collections::{BTreeMap, HashMap};

use stayput_core::{Epoch, StorageKey, SubjectKey, Timestamp};

#[derive(Default)]
pub(super) struct Index {
    sessions: BTreeMap<(SubjectKey, StorageKey), Listed>,
    epochs: HashMap<SubjectKey, Epoch>,
    /// How many admissions there were, to tell which came first.
    admissions: u64,
}

struct Listed {
    created: Timestamp,
    /// Which admission it was.
    admitted: Option<u64>,
}

impl Index {
    /// Lists a session that begins, not admitted yet.
    pub(super) fn list(&mut self, subject: SubjectKey, key: StorageKey, created: Timestamp) {
        self.sessions.insert((subject, key), Listed { created, admitted: None });
    }

    pub(super) fn unlist(&mut self, subject: SubjectKey, key: StorageKey) {
        self.sessions.remove(&(subject, key));
    }

    pub(super) fn admit(&mut self, subject: SubjectKey, key: StorageKey) {
        if let Some(listed) = self.sessions.get_mut(&(subject, key)) {
            self.admissions += 1;
            listed.admitted = Some(self.admissions);
        }
    }

    pub(super) fn raise_epoch(&mut self, subject: SubjectKey, now: Timestamp) {
        let raised = self.epoch(&subject, now).raised(now);
        self.epochs.insert(subject, raised);
    }

    /// Forgets at most `limit` epochs that expired by `deadline`, and says how many.
    pub(super) fn sweep(&mut self, limit: usize, deadline: Timestamp) -> usize {
        // There are only the last hour's: looking at each is cheaper than an index by deadline.
        self.epochs.extract_if(|_, epoch| epoch.expires() <= deadline).take(limit).count()
    }

    pub(super) fn is_admitted(&self, subject: SubjectKey, key: StorageKey) -> bool {
        self.sessions.get(&(subject, key)).is_some_and(|listed| listed.admitted.is_some())
    }

    /// The subject's sessions, the oldest first.
    pub(super) fn sessions(&self, subject: SubjectKey) -> Vec<StorageKey> {
        self.sorted(subject, |listed| Some(listed.created))
    }

    /// The subject's admitted sessions, the longest admitted first.
    pub(super) fn admitted(&self, subject: SubjectKey) -> Vec<StorageKey> {
        self.sorted(subject, |listed| listed.admitted)
    }

    pub(super) fn epoch(&self, subject: &SubjectKey, now: Timestamp) -> Epoch {
        self.epochs.get(subject).copied().filter(|epoch| epoch.expires() > now).unwrap_or_default()
    }

    /// The subject's sessions that have a rank, in its order.
    fn sorted<R: Ord>(&self, subject: SubjectKey, rank: impl Fn(&Listed) -> Option<R>) -> Vec<StorageKey> {
        let lowest = (subject, StorageKey::from_bytes([0; StorageKey::LEN]));
        let of_subject = self.sessions.range(lowest..).take_while(|((owner, _), _)| *owner == subject);
        let mut ranked: Vec<_> =
            of_subject.filter_map(|((_, key), listed)| Some((rank(listed)?, *key))).collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, key)| key).collect()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.epochs.is_empty()
    }
}
