//! A keyring as text: a key a line. Errors name lines and never their text.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Key, Keyring};

impl Keyring {
    /// Reads a keyring from its text: a key a line, the primary first; empty lines and lines that begin with `#`
    /// are skipped.
    ///
    /// # Errors
    ///
    /// Names the line that is no key or repeats one, or says that there is none. Never quotes the line.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let (line, number) = (line.trim(), index + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = parse_key(line).ok_or(KeyringError::NotAKey { line: number })?;
            if keys.iter().any(|earlier| earlier.id() == key.id()) {
                return Err(KeyringError::Repeated { line: number });
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(KeyringError::Empty) } else { Ok(Self { keys }) }
    }

    /// The keyring as text, secrets included: for a file that only its owner can read.
    pub fn danger_to_text(&self) -> String {
        let mut text = String::from(
            "# Stayput keyring. Who holds it can forge sessions: keep it secret, and the same on every server.\n\
             # A key a line; the first one signs and seals, the others are still accepted.\n",
        );
        for key in &self.keys {
            text.push_str(KEY_PREFIX);
            text.push_str(&URL_SAFE_NO_PAD.encode(key.secret()));
            text.push('\n');
        }
        text
    }
}

fn parse_key(line: &str) -> Option<Key> {
    let bytes = URL_SAFE_NO_PAD.decode(line.strip_prefix(KEY_PREFIX)?).ok()?;
    Some(Key::from_secret(bytes.try_into().ok()?))
}

/// Marks a line as a key, for people and for scanners that look for leaked secrets.
const KEY_PREFIX: &str = "stayput-key-v1.";

/// What is wrong with a keyring's text. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyringError {
    /// The line is not a key.
    NotAKey {
        /// The line.
        line: usize,
    },
    /// The line holds a key that an earlier line holds too.
    Repeated {
        /// The line.
        line: usize,
    },
    /// There is no key at all.
    Empty,
}

impl fmt::Display for KeyringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAKey { line } => {
                write!(f, "line {line} is no key (expected `{KEY_PREFIX}` and 43 characters of base64url)")
            }
            Self::Repeated { line } => write!(f, "line {line} repeats a key of an earlier line"),
            Self::Empty => f.write_str("no key in it"),
        }
    }
}

impl std::error::Error for KeyringError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn a_keyring_survives_being_written_and_read() {
        let keyring = Keyring { keys: vec![Key::generate(&SystemRandom), Key::generate(&SystemRandom)] };
        let read = Keyring::parse(&keyring.danger_to_text()).unwrap();
        let ids = |keyring: &Keyring| keyring.keys().iter().map(Key::id).collect::<Vec<_>>();
        assert_eq!(ids(&read), ids(&keyring));
        assert_eq!(read.primary().secret(), keyring.primary().secret());
    }

    #[test]
    fn mistakes_name_the_line_and_never_its_text() {
        let good = Keyring::generate(&SystemRandom).danger_to_text();
        assert_eq!(Keyring::parse("").unwrap_err(), KeyringError::Empty);
        assert_eq!(Keyring::parse(&format!("{good}{good}")).unwrap_err(), KeyringError::Repeated { line: 6 });
        let error = Keyring::parse("\nstayput-key-v1.short").unwrap_err();
        assert_eq!(error, KeyringError::NotAKey { line: 2 });
        assert!(!error.to_string().contains("short"));
    }
}
