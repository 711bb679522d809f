//! The session cookie's value: any bytes are refused, or are to the letter what a server of ours wrote.

use std::sync::LazyLock;

use stayput_core::{CookieValue, Generation, Keyring};

use super::Target;
use super::known::{FORMER_KEYRING, KEYRING, NAMES, STRANGE_KEYRING, id};

/// See the module.
pub const TARGET: Target = Target { name: "session_cookie", check, seeds, words };

/// A cookie that a server of ours wrote.
struct Genuine {
    name: &'static str,
    text: String,
    value: CookieValue,
    under_primary: bool,
}

fn check(data: &[u8]) -> bool {
    NAMES.map(|name| authenticates(name, data)).contains(&true)
}

fn authenticates(name: &str, data: &[u8]) -> bool {
    let genuine = genuine().iter().find(|cookie| cookie.name == name && cookie.text.as_bytes() == data);
    match (CookieValue::decode(name, data, &KEYRING), genuine) {
        (Ok(decoded), Some(genuine)) => {
            assert_eq!(decoded.value, genuine.value);
            assert_eq!(decoded.under_primary, genuine.under_primary);
            let signer: &Keyring = if decoded.under_primary { &KEYRING } else { &FORMER_KEYRING };
            assert_eq!(
                decoded.value.encode(name, signer),
                genuine.text,
                "it is written again as it was read"
            );
            true
        }
        (Err(refused), None) => {
            assert!(refused.to_string().len() < 100, "a refusal quotes nothing");
            false
        }
        (Ok(_), None) => panic!("a cookie that nobody signed authenticates as {name}"),
        (Err(refused), Some(_)) => panic!("a genuine {name} is refused: {refused}"),
    }
}

/// Every genuine cookie: two sessions, under both names and both keys.
fn genuine() -> &'static [Genuine] {
    static ALL: LazyLock<Vec<Genuine>> = LazyLock::new(|| {
        let mut all = Vec::new();
        for name in NAMES {
            for (number, generation) in [(1, 0), (u64::MAX, u32::MAX)] {
                let value = CookieValue { id: id(number), generation: Generation(generation) };
                for (signer, under_primary) in [(&**KEYRING, true), (&*FORMER_KEYRING, false)] {
                    let (text, value) = (value.encode(name, signer), value.clone());
                    all.push(Genuine { name, text, value, under_primary });
                }
            }
        }
        all
    });
    &ALL
}

fn seeds() -> Vec<Vec<u8>> {
    let value = CookieValue { id: id(1), generation: Generation(1) };
    let foreign = [value.encode(NAMES[0], &STRANGE_KEYRING), value.encode("sid", &KEYRING)];
    let texts = genuine().iter().map(|cookie| cookie.text.clone()).chain(foreign);
    texts.map(String::into_bytes).collect()
}

fn words() -> Vec<String> {
    genuine().iter().map(|cookie| cookie.text.clone()).collect()
}
