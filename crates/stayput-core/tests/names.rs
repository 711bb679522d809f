//! What stores and logs call sessions and users: names by which nobody finds the one or learns of the other.

use stayput_core::{Keyring, SessionId, Subject, SystemRandom};

#[test]
fn a_sessions_name_in_logs_tells_nothing_of_its_record() {
    let (one, other) = (Keyring::generate(&SystemRandom), Keyring::generate(&SystemRandom));
    let key = SessionId::generate(&SystemRandom).storage_key();
    let tag = one.log_tag(&key);
    assert_eq!(tag, one.log_tag(&key));
    let bytes = u64::from_str_radix(&tag.to_string(), 16).unwrap().to_be_bytes();
    assert!(!key.as_bytes().windows(bytes.len()).any(|window| window == bytes), "{tag}");
    // Without the key nobody can say what a record is called.
    assert_ne!(tag, other.log_tag(&key));
}

#[test]
fn a_store_knows_no_user_by_name() {
    let name = "alice@example.org, by her full name";
    let key = Subject::new(name).key();
    assert_eq!(key, Subject::new(name).key());
    assert!(!key.as_bytes().windows(5).any(|window| window == b"alice"));
    // Two long names that begin alike are two users.
    assert_ne!(key, Subject::new(format!("{name} again")).key());
}
