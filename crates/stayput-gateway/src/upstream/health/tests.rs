//! Verdicts as a function of results, failures and time.

use super::*;
use crate::config::UpstreamConfig;

const SECOND: Duration = Duration::from_secs(1);
const BROKE: &str = "it broke off";

fn upstream() -> Upstream {
    Upstream::new(UpstreamConfig::new("a", ([127, 0, 0, 1], 1).into()))
}

fn config() -> HealthConfig {
    HealthConfig { failures: Some(3), ..HealthConfig::default() }
}

/// As a request does that is sent now.
fn fail(upstream: &Upstream, after: u32) -> bool {
    let changes = upstream.failed(upstream.falls(), BROKE, &config(), upstream.born + SECOND * after);
    if changes {
        upstream.take_out();
    }
    changes
}

fn answer(upstream: &Upstream, after: u32) -> bool {
    let now = upstream.born + SECOND * after;
    let changes = upstream.answered(upstream.falls(), now);
    if changes {
        upstream.let_in(true, now);
    }
    changes
}

fn asking(upstream: &Upstream, after: u32, is_repeatable: bool) -> Asking {
    Asking { now: upstream.born + SECOND * after, down: SECOND, is_repeatable, client: 0, probes: true }
}

fn admits(upstream: &Upstream, after: u32) -> bool {
    upstream.admit(asking(upstream, after, true), SECOND * 10)
}

fn eject(upstream: &Upstream, after: u32) {
    assert_eq!([fail(upstream, after), fail(upstream, after), fail(upstream, after)], [false, false, true]);
}

#[test]
fn failures_in_a_row_eject_and_any_answer_begins_anew() {
    let upstream = upstream();
    for _ in 0..5 {
        assert!(!fail(&upstream, 1) && !fail(&upstream, 1) && !answer(&upstream, 1));
    }
    eject(&upstream, 1);
    assert!(upstream.is_out() && !admits(&upstream, 10));
    assert_eq!(upstream.status(&"p".into(), false).last_failure, Some(BROKE));
}

#[test]
fn after_an_ejection_a_check_that_is_answered_brings_it_back_without_a_request() {
    let check = |kind| Check { kind, ..Check::http("/") };
    let passes = |upstream: &Upstream, kind, after| {
        let now = upstream.born + SECOND * after;
        let changes = upstream.checked(Ok(()), &check(kind), now);
        if changes {
            upstream.let_in(true, now);
        }
        changes
    };
    let upstream = upstream();
    eject(&upstream, 0);
    let http = || Check::http("/").kind;
    assert!(!passes(&upstream, http(), 9), "not before its time");
    assert!(!passes(&upstream, CheckKind::Tcp, 10), "who hangs can be connected to");
    assert!(passes(&upstream, http(), 10) && !upstream.is_out());
    assert!(!passes(&upstream, http(), 11), "only once");
    eject(&upstream, 11);
    assert!(!passes(&upstream, http(), 21), "twice as long this time");
    upstream.eject("it hangs", true, &config(), upstream.born + SECOND * 40);
    assert!(!passes(&upstream, http(), 100), "it has to give a sign of life");
}

#[test]
fn after_an_ejection_one_request_finds_out_and_only_an_answer_brings_it_back() {
    let upstream = upstream();
    eject(&upstream, 0);
    assert!(admits(&upstream, 10) && !admits(&upstream, 10), "one, and the others wait for what it finds");
    assert!(admits(&upstream, 20), "it found nothing");
    upstream.mark_up(upstream.born + SECOND * 20);
    assert!(!admits(&upstream, 21), "it can be connected to, which says nothing");
    assert!(answer(&upstream, 21));
    assert!(admits(&upstream, 21) && admits(&upstream, 21));
    assert!(upstream.share(upstream.born + SECOND * 21, SECOND * 100) < super::super::WHOLE, "slowly");
}

#[test]
fn each_ejection_in_a_row_is_twice_as_long_up_to_five_minutes() {
    let (upstream, mut now) = (upstream(), 0);
    eject(&upstream, now);
    for seconds in [10, 20, 40, 80, 160, 300, 300] {
        assert!(!admits(&upstream, now + seconds - 1), "{seconds}");
        now += seconds;
        assert!(admits(&upstream, now), "{seconds}");
        assert!(fail(&upstream, now), "the one request fails, too");
    }
}

#[test]
fn one_that_was_well_for_as_long_as_it_was_out_begins_anew() {
    for (well, seconds) in [(9, 20), (10, 10)] {
        let upstream = upstream();
        eject(&upstream, 0);
        assert!(admits(&upstream, 10) && answer(&upstream, 10));
        eject(&upstream, 10 + well);
        assert!(!admits(&upstream, 10 + well + seconds - 1) && admits(&upstream, 10 + well + seconds));
    }
}

#[test]
fn who_was_sent_before_the_verdict_has_no_say() {
    let upstream = upstream();
    let before = upstream.falls();
    eject(&upstream, 0);
    let late = upstream.born + SECOND * 11;
    assert!(!upstream.answered(before, late) && upstream.is_out());
    assert!(!upstream.failed(before, BROKE, &config(), late));
    assert_eq!(upstream.status(&"p".into(), false).ejections, 1);
}

#[test]
fn what_cannot_be_repeated_is_tried_last() {
    let upstream = upstream();
    eject(&upstream, 0);
    let post = |after| upstream.is_available(asking(&upstream, after, false));
    assert!(!post(10) && !post(19) && post(20), "{:?}", upstream.health);
    assert!(upstream.is_available(asking(&upstream, 10, true)));
}

#[test]
fn a_check_takes_fall_results_to_fail_and_rise_to_pass() {
    let (upstream, check) = (upstream(), Check { rise: 2, fall: 3, ..Check::tcp() });
    let result = |passes: bool| {
        let result = if passes { Ok(()) } else { Err("no".to_owned()) };
        upstream.checked(result, &check, upstream.born)
    };
    let turns = |results: &[bool]| results.iter().map(|&passes| result(passes)).collect::<Vec<_>>();
    assert_eq!(turns(&[true, false, false, true, false, false]), [false; 6], "never three in a row");
    assert_eq!(turns(&[false, false]), [true, false]);
    assert!(upstream.accused_since().is_some());
    assert_eq!(turns(&[true, false, true, true, true]), [false, false, false, true, false]);
    assert!(upstream.accused_since().is_none());
    assert_eq!(upstream.status(&"p".into(), false).check.unwrap().why, None);
}

#[test]
fn while_a_check_fails_no_request_is_tried() {
    let (upstream, check) = (upstream(), Check { fall: 1, rise: 1, ..Check::tcp() });
    assert!(upstream.checked(Err("no".to_owned()), &check, upstream.born));
    upstream.take_out();
    assert!(!admits(&upstream, 86_400));
    assert!(upstream.forget_check() && !upstream.forget_check());
}

#[test]
fn many_that_wait_for_a_silent_server_make_it_suspect_and_fewer_or_an_answer_do_not() {
    let upstream = upstream();
    let suspect = |after| upstream.is_suspect(SECOND * 10, upstream.born + SECOND * after);
    let two = [upstream.overdue(), upstream.overdue()];
    assert!(!suspect(20));
    let third = upstream.overdue();
    assert!(suspect(20));
    upstream.heard(upstream.born + SECOND * 15);
    assert!(!suspect(20) && suspect(25));
    drop(third);
    assert!(!suspect(25));
    drop(two);
}

#[test]
fn one_that_hung_is_tried_only_after_a_sign_of_life() {
    let upstream = upstream();
    let now = |after: u32| upstream.born + SECOND * after;
    assert!(upstream.eject("it hangs", true, &config(), now(0)));
    upstream.take_out();
    assert!(!upstream.is_suspect(SECOND * 10, now(9)) && upstream.is_suspect(SECOND * 10, now(10)));
    assert!(upstream.is_suspect(Duration::MAX, now(10)), "though silence is no reason any more");
    assert!(!admits(&upstream, 10), "no request is wasted on it");
    assert!(upstream.is_alive(now(11)));
    upstream.take_out();
    assert!(admits(&upstream, 11) && !admits(&upstream, 11));
    assert!(answer(&upstream, 12) && admits(&upstream, 12));
}
