//! The rules of a session: how long it lives, what its cookies look like, how much it holds.
//!
//! Rules that browsers or standards reject are reported all at once by [`Policy::validate`]; nothing is corrected
//! silently.

mod cookie;
mod lifeboat;
mod presets;
#[cfg(test)]
mod tests;
mod validate;

use std::time::Duration;

use crate::clock::{Timestamp, millis};
use crate::record::{Header, RecordFormat};
use crate::store::SessionLimit;

pub use cookie::{CookiePolicy, SameSite};
pub use lifeboat::{LifeboatKey, Merge, OnWiped};
pub use validate::PolicyError;

/// The rules that sessions live by. Start from a preset and change what differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A session ends after this much inactivity (OWASP ASVS 5.0, 7.3.1).
    pub idle_timeout: Duration,
    /// A session ends this long after it began, no matter what (OWASP ASVS 5.0, 7.3.2).
    pub absolute_timeout: Duration,
    /// The idle timeout of sessions without a subject.
    pub anonymous_idle_timeout: Duration,
    /// The timeouts of sessions whose user asked to be remembered; `None` if nobody may ask.
    pub remember: Option<Remember>,
    /// Which requests count as activity.
    pub activity: Activity,
    /// How much later the idle deadline must come to be worth a write; `None` for a tenth of the idle timeout. A session
    /// ends up to this much earlier than its idle timeout says.
    pub touch_interval: Option<Duration>,
    /// A session gets a new cookie (a new generation of the same session) when the last one is this old.
    pub renewal_interval: Duration,
    /// How long the previous generation of a session is still answered after the newest was presented, and the previous
    /// id after a login. At least twice `store_timeout`: in that time a login whose store calls are in doubt is settled.
    pub grace: Duration,
    /// Keys whose values an anonymous session hands on to the session it logs in to.
    pub carry: Vec<String>,
    /// Most bytes that a session's values may take together with their keys, encoded.
    pub max_data: usize,
    /// Most values that a session may hold.
    pub max_values: usize,
    /// How sessions are written; every format up to the newest is read. A newer one than the default is for when all servers read
    /// it, and none is to be taken back to a Stayput that doesn't.
    pub record_format: RecordFormat,
    /// The longest that a store may take for one operation.
    pub store_timeout: Duration,
    /// What requests get while the store is out.
    pub outage: Outage,
    /// How long ago the store must have confirmed a session for it to be served while the store is out: what a session that was
    /// ended in the meantime, or is in the wrong hands, can live on for.
    pub max_age: Duration,
    /// What the lifeboat carries, with [`Outage::Lifeboat`]; in the order in which it is filled, up to 2 KB.
    pub lifeboat: Vec<LifeboatKey>,
    /// What happens to sessions that a wiped store has lost.
    pub on_wiped: OnWiped,
    /// How many sessions a subject may have at a time, and what happens to one more; `None` for any number.
    pub session_limit: Option<SessionLimit>,
    /// What the cookies look like.
    pub cookie: CookiePolicy,
}

/// Timeouts of a session whose user asked to be remembered; its cookies outlive the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remember {
    /// It ends after this much inactivity.
    pub idle_timeout: Duration,
    /// It ends this long after the login, no matter what.
    pub absolute_timeout: Duration,
}

/// What requests get while the store is out. Nobody is logged out in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outage {
    /// 503, all that ask for their session.
    Refuse,
    /// Their session as this server knows it from its near cache, to read; 503 where it doesn't know it, or that was longer ago
    /// than [`Policy::max_age`], and for all that is written.
    ReadOnly,
    /// The same, and where this server doesn't know the session, as the sealed copy in the browser has it, the lifeboat: who they
    /// are, and the values under [`Policy::lifeboat`]'s keys, of which those with a merge can be written. Logging out and in works,
    /// too.
    Lifeboat,
}

/// Which requests push the idle deadline out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Those whose handler asks for its session. The others cost the store nothing.
    Session,
    /// All that carry a session cookie: each of them loads its session.
    Any,
}

impl Policy {
    /// The one rule of expiry: the absolute deadline, or `now` plus the idle timeout, whichever comes first.
    pub fn expiry(&self, header: &Header, now: Timestamp) -> Timestamp {
        header.absolute.min(now.after(self.idle(header)))
    }

    /// When a session ends no matter what that begins `now`.
    pub fn absolute(&self, now: Timestamp, is_remembered: bool) -> Timestamp {
        let remember = self.remember.filter(|_| is_remembered);
        now.after(remember.map_or(self.absolute_timeout, |remember| remember.absolute_timeout))
    }

    /// Whether the idle deadline would move so much that a touch is worth its write. With the tenth of the idle timeout
    /// that is the default, sessions end between 0.9 and 1.0 idle timeouts after their last request.
    pub fn touch_is_due(&self, header: &Header, now: Timestamp) -> bool {
        let target = self.expiry(header, now);
        let later = target.as_millis().saturating_sub(header.expires.as_millis());
        // The last step is shorter where the absolute deadline cuts it off.
        target > header.expires && (later >= self.touch_step(header) || target == header.absolute)
    }

    /// Whether a touch that is due can't wait until the request is answered: the session could end before that.
    pub fn touch_is_urgent(&self, header: &Header, now: Timestamp) -> bool {
        let next = now.as_millis().saturating_add(self.touch_step(header));
        header.expires.as_millis() < next && self.touch_is_due(header, now)
    }

    /// Until when a session needs nothing to be kept up that is used under the primary key, and whose newest cookie was presented:
    /// neither a touch nor a renewal is due before. It says one thing too few rather than one too many.
    pub fn rests_until(&self, header: &Header) -> Timestamp {
        let touched = header.expires.as_millis().saturating_add(self.touch_step(header));
        // From there on the absolute deadline cuts the steps short.
        let step = Timestamp::from_millis(touched).min(header.absolute).before(self.idle(header));
        step.min(header.renewed.after(self.renewal_interval))
    }

    /// When the session was last active, as well as its deadline tells: up to one touch interval later in truth.
    pub fn last_active(&self, header: &Header) -> Timestamp {
        header.expires.before(self.idle(header)).max(header.created)
    }

    /// Whether a session is to be renewed: on schedule or, where its cookie is `under_former_key`, as soon as two renewals
    /// may follow each other. Never while the generation before this one is still answered, which a renewal would end, nor
    /// while such an answer may be at work or under way: it would put this generation back in the next one's place.
    pub fn renewal_is_due(&self, header: &Header, now: Timestamp, under_former_key: bool) -> bool {
        let interval = if under_former_key { self.least_renewal_interval() } else { self.renewal_interval };
        let settled = self.grace.saturating_mul(SETTLED);
        let is_alone = header.presented.is_some_and(|presented| now >= presented.after(settled));
        is_alone && now >= header.renewed.after(interval)
    }

    /// Whether a session's newest cookie may be handed out in an answer that leaves at `now`: it arrives before any server can
    /// renew the session. One that came later would put the generation before in the new one's place, and whoever is then away for
    /// longer than the grace would be logged out.
    pub fn may_hand_out(&self, header: &Header, now: Timestamp) -> bool {
        !self.renewal_is_due(header, now.after(self.grace.saturating_mul(UNDER_WAY)), true)
    }

    /// How long the longest session lives: as long as a key must stay in the keyring after it ceased to be primary.
    pub fn longest_absolute_timeout(&self) -> Duration {
        self.remember.map_or(Duration::ZERO, |remember| remember.absolute_timeout).max(self.absolute_timeout)
    }

    /// Renewals closer to each other would end the generation before the previous one while requests with it are under
    /// way.
    fn least_renewal_interval(&self) -> Duration {
        self.grace.saturating_mul(10)
    }

    /// In milliseconds, which is what deadlines have.
    fn touch_step(&self, header: &Header) -> u64 {
        self.touch_interval.map_or_else(|| millis(self.idle(header)) / 10, millis)
    }

    fn idle(&self, header: &Header) -> Duration {
        match self.remember {
            _ if header.subject.is_none() => self.anonymous_idle_timeout,
            Some(remember) if header.is_remembered => remember.idle_timeout,
            _ => self.idle_timeout,
        }
    }
}

/// Graces from a generation's first presentation to the next renewal: one in which the generation before is answered, one for
/// the handlers of such requests, and [`UNDER_WAY`] for their answers.
const SETTLED: u32 = 2 + UNDER_WAY;

/// Graces that an answer may be under way; one more than that, for clocks that differ.
const UNDER_WAY: u32 = 2;
