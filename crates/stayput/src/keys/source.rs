//! Where a keyring comes from, and why it could not be had from there. Errors never quote what they found.

use std::error::Error as StdError;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use stayput_core::{Keyring, KeyringError};

/// Where a keyring is read from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    File(PathBuf),
    Variable(String),
}

impl Source {
    pub(super) fn read(&self) -> Result<Keyring, KeyringSourceError> {
        let text =
            self.text().map_err(|source| KeyringSourceError::Unreadable { place: self.place(), source })?;
        Keyring::parse(&text).map_err(|source| KeyringSourceError::Invalid { place: self.place(), source })
    }

    /// The file's path, or the variable's name after `$`.
    pub(super) fn place(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Variable(name) => format!("${name}"),
        }
    }

    fn text(&self) -> io::Result<String> {
        match self {
            Self::File(path) => {
                let mut text = String::new();
                File::open(path)?.take(LONGEST).read_to_string(&mut text)?;
                Ok(text)
            }
            // The variable's own error would quote it.
            Self::Variable(name) => std::env::var(name).map_err(|error| match error {
                std::env::VarError::NotPresent => io::Error::new(io::ErrorKind::NotFound, "it is not set"),
                std::env::VarError::NotUnicode(_) => {
                    io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8")
                }
            }),
        }
    }
}

/// Room for thousands of keys; what is longer is some other file.
const LONGEST: u64 = 1024 * 1024;

/// Why a keyring was not taken from its file or variable.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyringSourceError {
    /// It can't be read.
    Unreadable {
        /// Where the keyring should be.
        place: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// What is there is no keyring.
    Invalid {
        /// Where the keyring should be.
        place: String,
        /// What is wrong with it.
        source: KeyringError,
    },
    /// The keyring that is there now has no key in common with the one in force. Only a restart takes it, after
    /// [`Sessions::check_keyring`](crate::Sessions::check_keyring) has found that it is the store's.
    Foreign {
        /// Where it is.
        place: String,
    },
}

impl KeyringSourceError {
    /// With the cause.
    pub(super) fn to_text(&self) -> String {
        self.source().map_or_else(|| self.to_string(), |source| format!("{self}: {source}"))
    }
}

impl fmt::Display for KeyringSourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { place, .. } => write!(f, "keyring {place} can't be read"),
            Self::Invalid { place, .. } => write!(f, "keyring {place} is not valid"),
            Self::Foreign { place } => write!(
                f,
                "keyring {place} shares no key with the one in force, and would log everybody out; \
                 if that is what you want, restart"
            ),
        }
    }
}

impl StdError for KeyringSourceError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Invalid { source, .. } => Some(source),
            Self::Foreign { .. } => None,
        }
    }
}
