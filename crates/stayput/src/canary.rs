//! Whether this server's keyring is the one that the store's sessions are sealed with.
//!
//! Under a name of its own the store keeps a small sealed record. Who can't open it has another keyring, and would
//! turn every user away: better to find that out before the first request.

use stayput_core::{Created, Header, Keyring, Operation, Record, Replaced, StorageKey, Timestamp, WriteTag};

use crate::sessions::Inner;
use crate::{Error, Sessions};

impl Sessions {
    /// Checks that the keyring can open what the store holds, and marks a new store with it. To be called once at the
    /// start: a server with another keyring than the others' would take all their users for strangers.
    ///
    /// # Errors
    ///
    /// [`Error::Keyring`] if the store's sessions were sealed with a keyring that shares no key with this one; errors of
    /// the store; [`Error::Conflict`] if it could not be marked: trying again helps, unless somebody removed the
    /// mark within the hour.
    pub async fn check_keyring(&self) -> Result<(), Error> {
        let key = StorageKey::named("keyring canary");
        for _ in 0..TRIES {
            let Some(record) = self.call(Operation::Load, |store| store.load(key)).await? else {
                let header =
                    Header::new(self.inner.clock.now(), Timestamp::MAX, Timestamp::MAX, self.write_tag());
                let record = self.seal_canary(&key, header);
                match self.call(Operation::Create, |store| store.create(key, record)).await? {
                    Created::Created => return Ok(()),
                    Created::Exists => continue,
                }
            };
            record.open(&key, &self.inner.keyring.load()).map_err(Error::Keyring)?;
            if record.is_under_primary(&self.inner.keyring.load()) || self.reseal(key, &record).await? {
                return Ok(());
            }
        }
        Err(Error::Conflict)
    }

    /// Seals the store's mark under the keyring in force, after that has taken the place of `former`: a server that
    /// starts after a key was retired must still find the mark under one that it has.
    ///
    /// # Errors
    ///
    /// [`Error::Keyring`] if neither of the two opens it; errors of the store, after which it is to be tried again.
    pub(crate) async fn carry_mark(&self, former: &Keyring) -> Result<(), Error> {
        let (key, current) = (StorageKey::named("keyring canary"), self.inner.keyring.current());
        // Where nobody ever checked there is no mark.
        let Some(record) = self.call(Operation::Load, |store| store.load(key)).await? else {
            return Ok(());
        };
        if record.open(&key, &current).is_err() {
            record.open(&key, former).map_err(Error::Keyring)?;
        }
        // Lost against another server, it is that one's turn to see to it.
        if !record.is_under_primary(&current) {
            self.reseal(key, &record).await?;
        }
        Ok(())
    }

    async fn reseal(&self, key: StorageKey, record: &Record) -> Result<bool, Error> {
        let next = self.seal_canary(&key, record.header.next(self.write_tag()));
        let swap = self.call(Operation::Replace, |store| store.replace(key, next, record.header.version()));
        Ok(swap.await? == Replaced::Replaced)
    }

    pub(crate) fn write_tag(&self) -> WriteTag {
        WriteTag::generate(&*self.inner.random)
    }

    /// In the format that every Stayput reads: those that don't read the sessions' are to say so for each, and to start.
    fn seal_canary(&self, key: &StorageKey, header: Header) -> Record {
        Record::seal(key, header, CANARY, &self.inner.keyring.load(), &*self.inner.random)
    }

    pub(crate) fn seal(&self, key: &StorageKey, header: Header, data: &[u8]) -> Record {
        let Inner { policy, keyring, random, .. } = &*self.inner;
        Record::seal_as(policy.record_format, key, header, data, &keyring.load(), &**random)
    }
}

/// Each fails only where another server succeeded, and those are few.
const TRIES: usize = 16;

const CANARY: &[u8] = b"sealed with the keyring of this store";
