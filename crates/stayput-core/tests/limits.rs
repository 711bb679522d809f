//! What a policy may ask of browsers: no longer a cookie, and none for longer, than they keep.

use std::time::Duration;

use stayput_core::{CookiePolicy, Policy, Remember};

const DAY: Duration = Duration::from_hours(24);

fn is_valid(cookie: &CookiePolicy) -> bool {
    Policy { cookie: cookie.clone(), ..Policy::web() }.validate().is_ok()
}

#[test]
fn a_cookie_is_never_longer_than_browsers_keep() {
    let path = |len: usize| format!("/{}", "p".repeat(len - 1));
    let shared = CookiePolicy::default().danger_without_host_prefix();
    let longest = shared.clone().name("n".repeat(64)).path(path(1024));
    assert!(is_valid(&longest));
    assert!(!is_valid(&longest.clone().name("n".repeat(65))));
    assert!(!is_valid(&longest.clone().path(path(1025))));
    // RFC 6265bis, 5.6: 4096 bytes of name and value; the value has 64 characters.
    assert!(longest.session_name().len().max(longest.anonymous_name().len()) + 64 <= 4096);
}

#[test]
fn no_session_is_to_outlive_its_cookie_in_the_browser() {
    let remembered = |days| Some(Remember { idle_timeout: DAY, absolute_timeout: DAY * days });
    for (days, is_fine) in [(400, true), (401, false)] {
        let policy = Policy { absolute_timeout: DAY * days, ..Policy::web() };
        assert_eq!(policy.validate().is_ok(), is_fine, "{days}");
        let policy = Policy { remember: remembered(days), ..Policy::web() };
        assert_eq!(policy.validate().is_ok(), is_fine, "remembered {days}");
    }
}
