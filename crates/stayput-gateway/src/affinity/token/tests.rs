//! What a token is good for, how long, and who can write one.

use stayput_core::SystemRandom;

use super::*;

const NOW: u64 = 2_000_000_000;

fn upstreams() -> Vec<UpstreamConfig> {
    ["a", "b"].map(|name| UpstreamConfig::new(name, ([127, 0, 0, 1], 1).into())).into()
}

fn tokens(keyring: &Keyring, idle: Option<u64>, absolute: Option<u64>) -> Tokens {
    let [idle_timeout, absolute_timeout] = [idle, absolute].map(|limit| limit.map(Duration::from_secs));
    Tokens::new(
        &CookieRule { idle_timeout, absolute_timeout, ..CookieRule::default() },
        &upstreams(),
        keyring,
    )
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn read(tokens: &Tokens, token: &Token, seconds: u64) -> Option<Pin> {
    tokens.read(token, || at(seconds))
}

#[test]
fn tokens_of_every_key_are_honoured_and_those_of_the_primary_are_current() {
    let (old, new) = (Keyring::generate(&SystemRandom), Keyring::generate(&SystemRandom));
    let both = Keyring::parse(&(new.danger_to_text() + &old.danger_to_text())).unwrap();
    let all = tokens(&both, None, None);
    let pin = |is_current| Some(Pin { upstream: 1, made: NOW, is_current });
    assert_eq!(read(&all, &tokens(&new, None, None).write(1, None, at(NOW)), NOW), pin(true));
    assert_eq!(read(&all, &tokens(&old, None, None).write(1, None, at(NOW)), NOW), pin(false));
    let foreign = tokens(&Keyring::generate(&SystemRandom), None, None).write(1, None, at(NOW));
    assert_eq!(read(&all, &foreign, NOW), None);
}

#[test]
fn a_changed_token_is_none_of_ours() {
    let tokens = tokens(&Keyring::generate(&SystemRandom), None, None);
    let token = tokens.write(0, None, at(NOW));
    assert!(read(&tokens, &token, NOW).is_some());
    for index in 0..TOKEN {
        for byte in (0..=u8::MAX).filter(|&byte| byte != token[index]) {
            let mut changed = token;
            changed[index] = byte;
            assert_eq!(read(&tokens, &changed, NOW), None, "byte {index} is {byte}");
        }
    }
}

#[test]
fn the_times_of_one_token_do_not_fit_another() {
    let tokens = tokens(&Keyring::generate(&SystemRandom), None, None);
    let (mut a, b) = (tokens.write(0, None, at(NOW)), tokens.write(1, None, at(NOW)));
    a[NAME..].copy_from_slice(&b[NAME..]);
    assert_eq!(read(&tokens, &a, NOW), None);
}

#[test]
fn a_pin_ends_when_it_was_not_used_for_its_idle_timeout() {
    let tokens = tokens(&Keyring::generate(&SystemRandom), Some(1000), None);
    let token = tokens.write(0, None, at(NOW));
    let current = |after| read(&tokens, &token, NOW + after).map(|pin| pin.is_current);
    assert_eq!([0, 99, 100, 999].map(current), [Some(true), Some(true), Some(false), Some(false)]);
    assert_eq!([1000, 5000].map(current), [None, None]);
    let pin = read(&tokens, &token, NOW + 999).unwrap();
    let again = tokens.write(0, Some(pin), at(NOW + 999));
    assert_eq!(read(&tokens, &again, NOW + 1998), Some(Pin { upstream: 0, made: NOW, is_current: false }));
}

#[test]
fn a_pin_ends_at_its_absolute_timeout_however_often_it_is_written_again() {
    let tokens = tokens(&Keyring::generate(&SystemRandom), Some(100), Some(1000));
    let mut token = tokens.write(0, None, at(NOW));
    for after in (50..1000).step_by(50) {
        let pin = read(&tokens, &token, NOW + after).expect("it is used often enough");
        token = tokens.write(0, Some(pin), at(NOW + after));
    }
    assert!(read(&tokens, &token, NOW + 999).is_some());
    assert_eq!(read(&tokens, &token, NOW + 1000), None);
}

#[test]
fn timeouts_hold_for_tokens_from_before_there_were_any() {
    let keyring = Keyring::generate(&SystemRandom);
    let token = tokens(&keyring, None, None).write(0, None, at(NOW));
    assert!(read(&tokens(&keyring, Some(100), None), &token, NOW + 99).is_some());
    assert!(read(&tokens(&keyring, Some(100), None), &token, NOW + 100).is_none());
    assert!(read(&tokens(&keyring, None, Some(100)), &token, NOW + 100).is_none());
}

#[test]
fn a_token_of_a_gateway_whose_clock_is_ahead_counts_as_new() {
    let tokens = tokens(&Keyring::generate(&SystemRandom), Some(100), Some(1000));
    let token = tokens.write(0, None, at(NOW + 30));
    assert!(read(&tokens, &token, NOW).unwrap().is_current);
}

#[test]
fn numbers_are_read_as_they_were_written() {
    for seconds in [0, 1, 63, 64, NOW, (1 << 48) - 1] {
        assert_eq!(number(&digits::<TIME>(seconds)), seconds);
    }
    assert_ne!(digits::<TAG>(u64::MAX), digits::<TAG>(u64::MAX >> 1), "all 64 bits are there");
}

#[test]
fn keys_of_times_differ_by_key_and_are_no_upstreams_tags() {
    let (one, other) = (Keyring::generate(&SystemRandom), Keyring::generate(&SystemRandom));
    let [one, other] = [one, other].map(|keyring| keys(&keyring));
    assert!(one.len() == 1 && one != other && one[0][..12] != one[0][4..]);
}
