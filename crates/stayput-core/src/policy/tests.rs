use super::*;
use crate::record::WriteTag;
use crate::subject::Subject;

fn minute(minute: u64) -> Timestamp {
    Timestamp::from_millis(minute * 60_000)
}

/// A logged-in session that began at 0 and ends at 720 minutes, with the idle deadline `expires`.
fn header(expires: Timestamp) -> Header {
    let mut header = Header::new(minute(0), minute(720), expires, WriteTag(0));
    header.subject = Some(Subject::new("alice").key());
    header
}

#[test]
fn the_presets_are_valid_and_keep_to_their_standards() {
    for preset in [Policy::web(), Policy::bank_aal2(), Policy::bank_aal3(), Policy::internal()] {
        preset.validate().unwrap();
        assert!(preset.cookie.session_name().starts_with("__Host-"));
    }
    let timeouts =
        |policy: Policy| (policy.idle_timeout.as_secs() / 60, policy.absolute_timeout.as_secs() / 3600);
    assert_eq!(timeouts(Policy::bank_aal2()), (30, 12));
    assert_eq!(timeouts(Policy::bank_aal3()), (15, 12));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let policy = Policy {
        idle_timeout: Duration::ZERO,
        absolute_timeout: Duration::from_hours(401 * 24),
        remember: Some(Remember { idle_timeout: minute_long(2), absolute_timeout: minute_long(1) }),
        touch_interval: Some(Duration::from_mins(11)),
        max_values: 0,
        cookie: CookiePolicy::default().name("a b").same_site(SameSite::None).danger_plain_http(),
        ..Policy::web()
    };
    let error = policy.validate().unwrap_err();
    assert_eq!(error.mistakes().len(), 7, "{error}");
}

fn minute_long(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}

#[test]
fn cookies_are_host_bound_and_secure_unless_that_is_waived() {
    let cookie = CookiePolicy::default();
    assert_eq!(cookie.session_name(), "__Host-stayput-session");
    assert_eq!(cookie.attributes(), "; Path=/; HttpOnly; SameSite=Lax; Secure");
    let plain = cookie.danger_plain_http();
    assert_eq!(plain.session_name(), "stayput-session");
    assert_eq!(plain.attributes(), "; Path=/; HttpOnly; SameSite=Lax");
}

#[test]
fn a_domain_or_path_needs_the_acknowledgement_that_siblings_can_plant_sessions() {
    let check = |cookie: CookiePolicy| {
        Policy { cookie, ..Policy::web() }.validate().map_err(|error| error.to_string())
    };
    let shared = CookiePolicy::default().domain("example.org").path("/app");
    assert!(check(shared.clone()).unwrap_err().contains("danger_without_host_prefix"));
    let shared = shared.danger_without_host_prefix().partitioned().same_site(SameSite::None);
    assert_eq!(check(shared.clone()), Ok(()));
    assert_eq!(shared.anonymous_name(), "__Secure-stayput-anonymous");
    let attributes = "; Domain=example.org; Path=/app; HttpOnly; SameSite=None; Secure; Partitioned";
    assert_eq!(shared.attributes(), attributes);
}

#[test]
fn what_browsers_reject_is_refused() {
    let refused = |cookie: CookiePolicy| {
        let cookie = cookie.danger_without_host_prefix();
        Policy { cookie, ..Policy::web() }.validate().is_err()
    };
    for domain in ["", "localhost", ".example.org", "127.0.0.1", "a..b", "-a.org", "a.org;", "exa mple.org"] {
        assert!(refused(CookiePolicy::default().domain(domain)), "{domain}");
    }
    for path in ["", "app", "/a;b", "/a\n", "/ä"] {
        assert!(refused(CookiePolicy::default().path(path)), "{path}");
    }
    let plain = CookiePolicy::default().partitioned().danger_plain_http();
    assert!(Policy { cookie: plain, ..Policy::web() }.validate().is_err());
}

#[test]
fn a_touch_is_due_after_a_tenth_of_the_timeout_and_never_past_the_absolute_deadline() {
    let policy = Policy::web();
    assert!(!policy.touch_is_due(&header(minute(30)), minute(2)));
    assert!(policy.touch_is_due(&header(minute(30)), minute(3)));
    assert!(!policy.touch_is_due(&header(minute(720)), minute(719)));
    // The last touch, which the absolute deadline cuts short, is due too.
    assert!(policy.touch_is_due(&header(minute(718)), minute(710)));
}

#[test]
fn the_touch_interval_can_be_set() {
    let policy = Policy { touch_interval: Some(Duration::from_mins(10)), ..Policy::web() };
    assert!(!policy.touch_is_due(&header(minute(30)), minute(9)));
    assert!(policy.touch_is_due(&header(minute(30)), minute(10)));
}

#[test]
fn what_rests_needs_neither_a_touch_nor_a_renewal() {
    let slow = Policy { touch_interval: Some(Duration::from_mins(10)), ..Policy::web() };
    let often = Policy { renewal_interval: Duration::from_mins(7), ..Policy::web() };
    for policy in [Policy::web(), Policy::bank_aal3(), slow, often] {
        let mut rested = 0;
        for expires in (0..=720).step_by(6) {
            for renewed in [0, 1, 20, 300, 700] {
                let mut header = header(minute(expires));
                (header.renewed, header.presented) = (minute(renewed), Some(minute(renewed)));
                let until = policy.rests_until(&header);
                for now in (0..720).map(minute).filter(|now| *now < until) {
                    rested += 1;
                    assert!(!policy.touch_is_due(&header, now), "{header:?} at {now:?}");
                    assert!(!policy.renewal_is_due(&header, now, false), "{header:?} at {now:?}");
                }
            }
        }
        assert!(rested > 1000, "it says so rarely: {rested}");
    }
    // A session in use needs nothing until its next touch.
    assert_eq!(Policy::web().rests_until(&header(minute(30))), minute(3));
}

#[test]
fn remembered_and_anonymous_sessions_have_timeouts_of_their_own() {
    let policy = Policy::web();
    let mut header = header(minute(30));
    header.absolute = Timestamp::MAX;
    assert_eq!(policy.expiry(&header, minute(0)), minute(30));
    header.is_remembered = true;
    assert_eq!(policy.expiry(&header, minute(0)), minute(14 * 24 * 60));
    assert_eq!(policy.absolute(minute(0), true), minute(30 * 24 * 60));
    assert_eq!(policy.longest_absolute_timeout(), Duration::from_hours(30 * 24));
    // Who may not ask to be remembered is not, whatever an older policy allowed.
    let strict = Policy { remember: None, ..policy.clone() };
    assert_eq!(strict.expiry(&header, minute(0)), minute(30));
    assert_eq!(strict.absolute(minute(0), true), minute(720));
    header.subject = None;
    assert_eq!(policy.expiry(&header, minute(0)), minute(20));
}
