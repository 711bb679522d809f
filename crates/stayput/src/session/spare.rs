//! A login's spare cookie: it leads to the login's session where an answer that was under way since before has put an older
//! session cookie in the place of the login's.
//!
//! It never counts by itself, nor beside a session cookie that it was not signed for: planted there it is forged.

use stayput_core::{CookieValue, DecodedCookie, Keyring, SessionHandle, StorageKey};

use super::find::Claim;
use super::{CookieState, Current, Found, Session, Upkeep};
use crate::Error;
use crate::answer::CookieChange;
use crate::cookies::Presented;

impl Session {
    /// What a login of a client that presents a session cookie leaves beside its own.
    pub(crate) fn spare_for(&self, session: &Current) -> Option<CookieChange> {
        let inner = &self.sessions().inner;
        let keyring = inner.keyring.load();
        let before = self.decode(&inner.names.session, &keyring).ok().flatten();
        let Some(before) = before else { return self.presents_spare().then_some(CookieChange::Delete) };
        let line = self.line_before(&before.value.id.storage_key(), &keyring);
        let line = line.iter().map(SessionHandle::to_string).collect::<Vec<_>>().join(".");
        let value = format!("{}.{line}", self.value_under(&self.spare_name(&line), session));
        Some(CookieChange::Set { value, left: self.lifetime(session) })
    }

    pub(crate) fn presents_spare(&self) -> bool {
        self.cookies().single(&self.sessions().inner.names.spare) != Presented::Absent
    }

    /// Whether the client has a spare cookie, or may be given one by a login that is under way beside this request.
    pub(crate) fn may_have_spare(&self) -> bool {
        self.presents_spare()
            || self.cookies().single(&self.sessions().inner.names.session) != Presented::Absent
    }

    /// The session of the login that took the place of the one under `before`, if its spare cookie is there.
    pub(super) async fn find_spare(
        &self,
        before: StorageKey,
        keyring: &Keyring,
    ) -> Result<Option<Found>, Error> {
        let ours = self.cookies().ours(&self.sessions().inner.names.stem);
        let Some(cookie) = self.spare_beside(&before, keyring) else { return Ok(None) };
        let key = cookie.value.id.storage_key();
        let (seen, with_subject) = (self.seen(&ours, &key), true);
        let claim = Claim { cookie, key, with_subject, seen, has_spare: false, is_second: true };
        let found = self.fetch(&claim, None, keyring).await?.ok();
        let is_spare = |found: Found| {
            let cookie = CookieState { is_spare: true, ..found.cookie };
            Found { cookie, upkeep: Upkeep::Unknown, ..found }
        };
        Ok(found.map(is_spare))
    }

    /// The spare cookie, if it counts beside the cookie of the session under `before`.
    pub(super) fn spare_beside(&self, before: &StorageKey, keyring: &Keyring) -> Option<DecodedCookie> {
        let presented = self.cookies().single(&self.sessions().inner.names.spare);
        let spare = self.decode_spare(presented, keyring).filter(|spare| spare.counts_beside(before));
        spare.map(|spare| spare.cookie)
    }

    /// The sessions whose cookies a late answer may put back over that of a login which is made now: the one that the client
    /// presents, the one that it is in, and those before them whose place was taken so lately that such answers may be under
    /// way still.
    fn line_before(&self, before: &StorageKey, keyring: &Keyring) -> Vec<SessionHandle> {
        let inner = &self.sessions().inner;
        let old = self.current().filter(|old| old.header.subject.is_some());
        let is_late = |old: &Current| {
            inner.clock.now() >= old.header.created.after(inner.policy.grace.saturating_mul(UNDER_WAY))
        };
        let earlier = if old.as_deref().is_some_and(is_late) {
            None
        } else {
            let spare = self.decode_spare(self.cookies().single(&inner.names.spare), keyring);
            spare.filter(|spare| spare.counts_beside(before) || spare.leads_to(before))
        };
        let found = old.iter().map(|old| old.key.handle());
        let all = std::iter::once(before.handle()).chain(found);
        let mut line = Vec::new();
        for handle in all.chain(earlier.into_iter().flat_map(|spare| spare.line)) {
            if line.len() < LONGEST && !line.contains(&handle) {
                line.push(handle);
            }
        }
        line
    }

    fn decode_spare(&self, presented: Presented<'_>, keyring: &Keyring) -> Option<Spare> {
        let Presented::Once(value) = presented else { return None };
        let (cookie, line) = value.split_at_checked(CookieValue::ENCODED_LEN)?;
        let line =
            line.strip_prefix(b".").filter(|line| line.len() < LONGEST * (2 * SessionHandle::LEN + 1))?;
        let line = str::from_utf8(line).ok()?;
        let cookie = CookieValue::decode(&self.spare_name(line), cookie, keyring).ok()?;
        let line = line.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Spare { cookie, line })
    }

    /// The name that a spare cookie is signed for.
    fn spare_name(&self, line: &str) -> String {
        format!("{} beside {line}", self.sessions().inner.names.spare)
    }
}

/// A spare cookie of ours.
struct Spare {
    cookie: DecodedCookie,
    /// The sessions beside whose cookies it counts.
    line: Vec<SessionHandle>,
}

impl Spare {
    fn counts_beside(&self, before: &StorageKey) -> bool {
        self.line.contains(&before.handle())
    }

    fn leads_to(&self, key: &StorageKey) -> bool {
        self.cookie.value.id.storage_key() == *key
    }
}

/// The most sessions that one spare cookie counts beside. Each takes 25 of its characters.
const LONGEST: usize = 4;

/// Graces after which no answer with the cookie of a session that was left is under way any more, however long its handler took.
const UNDER_WAY: u32 = 10;
