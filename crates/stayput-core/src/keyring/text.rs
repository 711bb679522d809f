//! A keyring as text: a key a line. Errors name lines and never their text.

use std::fmt;
use std::time::UNIX_EPOCH;

use data_encoding::BASE64URL_NOPAD;

use super::{Key, Keyring, Past};
use crate::clock::Timestamp;

impl Keyring {
    /// Reads a keyring from its text: a key a line, the primary first; empty lines and lines that begin with `#`
    /// are skipped. Behind a key stands what it was before: `added=TIME`, `demoted=TIME`, or nothing.
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
            let key = parse_line(line, number)?;
            if keys.iter().any(|earlier| earlier.id() == key.id()) {
                return Err(KeyringError::Repeated { line: number });
            }
            keys.push(key);
        }
        let primary = keys.first_mut().ok_or(KeyringError::Empty)?;
        // Somebody moved it to the top by hand: whatever it was, it is the primary one now.
        primary.past = Past::Unknown;
        Ok(Self { keys })
    }

    /// The keyring as text, secrets included: for a file that only its owner can read.
    pub fn danger_to_text(&self) -> String {
        let mut text = String::from(
            "# Stayput keyring. Who holds it can forge sessions: keep it secret, and the same on every server.\n\
             # A key a line; the first one signs and seals, the others are still accepted.\n",
        );
        for key in &self.keys {
            text.push_str(KEY_PREFIX);
            text.push_str(&BASE64URL_NOPAD.encode(key.secret()));
            match key.past() {
                Past::Unknown => text.push('\n'),
                Past::Added(at) => text.push_str(&attribute(ADDED, at)),
                Past::Demoted(at) => text.push_str(&attribute(DEMOTED, at)),
            }
        }
        text
    }
}

fn attribute(name: &str, at: Timestamp) -> String {
    format!(" {name}={at}\n")
}

fn parse_line(line: &str, number: usize) -> Result<Key, KeyringError> {
    let mut words = line.split_ascii_whitespace();
    let mut key = words.next().and_then(parse_key).ok_or(KeyringError::NotAKey { line: number })?;
    if let Some(word) = words.next() {
        key.past = parse_past(word).ok_or(KeyringError::UnknownAttribute { line: number })?;
    }
    match words.next() {
        None => Ok(key),
        Some(_) => Err(KeyringError::UnknownAttribute { line: number }),
    }
}

fn parse_key(word: &str) -> Option<Key> {
    let bytes = BASE64URL_NOPAD.decode(word.strip_prefix(KEY_PREFIX)?.as_bytes()).ok()?;
    Some(Key::from_secret(bytes.try_into().ok()?))
}

fn parse_past(word: &str) -> Option<Past> {
    let (name, time) = word.split_once('=')?;
    let since_epoch = humantime::parse_rfc3339(time).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let at = Timestamp::default().after(since_epoch);
    match name {
        ADDED => Some(Past::Added(at)),
        DEMOTED => Some(Past::Demoted(at)),
        _ => None,
    }
}

/// Marks a line as a key, for people and for scanners that look for leaked secrets.
const KEY_PREFIX: &str = "stayput-key-v1.";

/// When a key was added that was never the primary one.
const ADDED: &str = "added";

/// When a key ceased to be the primary one.
const DEMOTED: &str = "demoted";

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
    /// The line says something about its key that can't be understood.
    UnknownAttribute {
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
            Self::UnknownAttribute { line } => write!(
                f,
                "line {line} says more about its key than `{ADDED}=TIME` or `{DEMOTED}=TIME` (UTC, as in \
                 2026-11-21T04:00:00Z): written by a newer Stayput, or a mistake"
            ),
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

    #[test]
    fn what_a_key_was_before_stands_behind_it_and_older_files_are_still_read() {
        let lines = Keyring { keys: vec![Key::generate(&SystemRandom), Key::generate(&SystemRandom)] };
        let older = lines.danger_to_text();
        let past = |attribute: &str| {
            let text = format!("{}{attribute}\n", older.trim_end());
            Keyring::parse(&text).map(|keyring| (keyring.keys()[1].past(), keyring.danger_to_text() == text))
        };
        let at = Timestamp::from_millis(1_800_000_000_000);
        assert_eq!(past(""), Ok((Past::Unknown, true)));
        assert_eq!(past(" demoted=2027-01-15T08:00:00Z"), Ok((Past::Demoted(at), true)));
        assert_eq!(past(" added=2027-01-15T08:00:00Z"), Ok((Past::Added(at), true)));
        for bad in [
            " demoted=soon",
            " demoted",
            " demoted=2027-01-15T08:00:00+01:00",
            " secret=2027-01-15T08:00:00Z",
            " added=2027-01-15T08:00:00Z demoted=2027-01-15T08:00:00Z",
            " # comment",
        ] {
            let error = past(bad).unwrap_err();
            assert_eq!(error, KeyringError::UnknownAttribute { line: 4 }, "{bad}");
            assert!(error.to_string().contains("newer Stayput") && !error.to_string().contains("secret"));
        }
    }

    #[test]
    fn a_key_moved_to_the_top_by_hand_is_the_primary_one_and_nothing_else() {
        let text = Keyring::generate(&SystemRandom).danger_to_text();
        let text = format!("{} demoted=2027-01-15T08:00:00Z\n", text.trim_end());
        let keyring = Keyring::parse(&text).unwrap();
        assert_eq!(keyring.primary().past(), Past::Unknown);
        assert!(!keyring.danger_to_text().contains("demoted"));
    }
}
