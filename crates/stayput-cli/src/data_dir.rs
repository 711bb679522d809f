//! The data directory: the keyring and the embedded store, readable by their owner only.
//!
//! A keyring that is there is never overwritten.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use stayput::{Journal, Keyring, SharedKeyring, SystemRandom};
use stayput_stores::StoreUrl;

use crate::failure::Failure;
use crate::keyring_file::KeyringFile;

/// A data directory that exists.
#[derive(Clone, Debug)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// Opens the directory, which is made if it doesn't exist.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
            Failure::other(format!("cannot make the data directory {}", path.display()))
                .because(error)
                .way_out("name a directory that you may write to with --data-dir")
        })?;
        Ok(Self(path.to_owned()))
    }

    /// The URL of the embedded store in the directory `path`.
    pub(crate) fn store_url(path: &Path) -> StoreUrl {
        StoreUrl::Sqlite(path.join("sessions.db"))
    }

    /// Whether the embedded store is in the directory `path`.
    pub(crate) fn holds_store(path: &Path) -> bool {
        path.join("sessions.db").exists()
    }

    /// The keyring's place in the directory `path`.
    pub(crate) fn keyring_path_in(path: &Path) -> PathBuf {
        path.join("keyring")
    }

    /// Where the admin interface's token is kept in the directory `path`.
    pub(crate) fn admin_token_in(path: &Path) -> PathBuf {
        path.join("admin-token")
    }

    /// Where it is noted in the directory `path` which address the admin interface has.
    pub(crate) fn admin_address_in(path: &Path) -> PathBuf {
        path.join("admin-address")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the server called `name` keeps what it accepts while the store is out.
    pub(crate) fn journal(&self, name: &str) -> Result<Journal, Failure> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name: String = name.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
        let path = self.0.join(format!("journal-{name}"));
        Journal::open(&path).map_err(|error| {
            Failure::other(format!("cannot open the journal {}", path.display()))
                .because(error)
                .way_out("give each server a name and each fleet a data directory of its own")
        })
    }

    pub(crate) fn keyring_file(&self) -> KeyringFile {
        KeyringFile::new(self.keyring_path())
    }

    pub(crate) fn keyring_path(&self) -> PathBuf {
        Self::keyring_path_in(&self.0)
    }

    /// Reads the keyring or, if there is none, makes one; says which.
    pub(crate) fn keyring_or_new(&self) -> Result<(SharedKeyring, KeyringOrigin), Failure> {
        let file = self.keyring_file();
        let origin = if file.exists() { KeyringOrigin::Found } else { self.make_keyring()? };
        Ok((file.read()?, origin))
    }

    /// Makes a keyring where there is none.
    ///
    /// The embedded store without its keyring is an error: a new key would log everybody out for good.
    pub(crate) fn make_keyring(&self) -> Result<KeyringOrigin, Failure> {
        if Self::holds_store(&self.0) {
            return Err(Failure::other(format!("{} holds sessions, but no keyring", self.0.display())).way_out(
                "put the keyring file back from a backup; or, to start without the old sessions, move sessions.db \
                 away. Nothing was changed.",
            ));
        }
        match self.keyring_file().create(&Keyring::generate(&SystemRandom)) {
            Ok(()) => Ok(KeyringOrigin::Made),
            // Another process was faster; theirs it is.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(KeyringOrigin::Found),
            Err(error) => {
                let path = self.keyring_path();
                Err(Failure::other(format!("cannot write the keyring {}", path.display()))
                    .because(error)
                    .way_out("name a directory that you may write to with --data-dir"))
            }
        }
    }

    /// Takes a keyring away that was just made and turned out to be wrong.
    pub(crate) fn discard_new_keyring(&self) {
        if let Err(error) = fs::remove_file(self.keyring_path()) {
            tracing::warn!(%error, "the new keyring is still there");
        }
    }
}

/// Where a keyring comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyringOrigin {
    /// It was there.
    Found,
    /// It has just been made.
    Made,
}
