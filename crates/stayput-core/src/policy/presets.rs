//! Rules to start from. None of them weakens a cookie.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{Activity, CookiePolicy, OnWiped, Outage, Policy, Remember, SameSite};
use crate::record::RecordFormat;
use crate::store::{Overflow, SessionLimit};

impl Policy {
    /// A web shop or community: 30 minutes of inactivity, 12 hours at most; for who asks to be remembered, 14 and 30
    /// days (NIST SP 800-63B allows 30 days at assurance level 1).
    pub fn web() -> Self {
        let day = Duration::from_hours(24);
        Self {
            idle_timeout: Duration::from_mins(30),
            absolute_timeout: Duration::from_hours(12),
            anonymous_idle_timeout: Duration::from_mins(20),
            remember: Some(Remember { idle_timeout: 14 * day, absolute_timeout: 30 * day }),
            activity: Activity::Session,
            touch_interval: None,
            renewal_interval: Duration::from_mins(15),
            grace: Duration::from_secs(30),
            carry: Vec::new(),
            max_data: 64 * 1024,
            max_values: 256,
            record_format: RecordFormat::V1,
            store_timeout: Duration::from_secs(5),
            outage: Outage::ReadOnly,
            max_age: Duration::from_mins(15),
            lifeboat: Vec::new(),
            on_wiped: OnWiped::LogOut,
            session_limit: None,
            cookie: CookiePolicy::default(),
        }
    }

    /// A bank or a health record at NIST assurance level 2: 30 minutes of inactivity, 12 hours at most (SP 800-63B-3,
    /// 4.2.3; revision 4 allows an hour and a day). Nobody is remembered, a login ends the user's other session, and other
    /// sites' requests are strangers'.
    pub fn bank_aal2() -> Self {
        Self {
            anonymous_idle_timeout: Duration::from_mins(10),
            remember: None,
            renewal_interval: Duration::from_mins(5),
            outage: Outage::Refuse,
            session_limit: Some(SessionLimit { most: NonZeroU32::MIN, overflow: Overflow::EndOldest }),
            cookie: CookiePolicy::default().same_site(SameSite::Strict),
            ..Self::web()
        }
    }

    /// The same at assurance level 3: 15 minutes of inactivity, 12 hours at most (SP 800-63B-3, 4.3.3, and revision 4).
    pub fn bank_aal3() -> Self {
        Self { idle_timeout: Duration::from_mins(15), ..Self::bank_aal2() }
    }

    /// A tool for a company's own people: 2 hours of inactivity, a working day at most. All requests count as activity,
    /// since such pages often work for long without asking for their session.
    pub fn internal() -> Self {
        Self {
            idle_timeout: Duration::from_hours(2),
            absolute_timeout: Duration::from_hours(12),
            remember: None,
            activity: Activity::Any,
            ..Self::web()
        }
    }
}
