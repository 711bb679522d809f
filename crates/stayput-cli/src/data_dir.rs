//! The data directory: the keyring and the embedded store, readable by their owner only.
//!
//! A keyring that is there is never overwritten.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use stayput::{Keyring, SystemRandom};
use stayput_stores::StoreUrl;

use crate::failure::Failure;

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

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn keyring_path(&self) -> PathBuf {
        self.0.join("keyring")
    }

    /// Reads the keyring.
    pub(crate) fn keyring(&self) -> Result<Keyring, Failure> {
        let path = self.keyring_path();
        let failed = || Failure::other(format!("cannot read the keyring {}", path.display()));
        let text = fs::read_to_string(&path).map_err(|error| {
            failed().because(error).way_out("give this user the right to read it, or use another --data-dir")
        })?;
        if fs::metadata(&path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0) {
            tracing::warn!(path = %path.display(), "the keyring can be read by other users; chmod it to 600");
        }
        Keyring::parse(&text).map_err(|error| {
            failed().because(error).way_out("restore it from a backup; without it, sessions can't be read")
        })
    }

    /// Reads the keyring or, if there is none, makes one; says which.
    ///
    /// The embedded store without its keyring is an error: a new key would log everybody out for good.
    pub(crate) fn keyring_or_new(&self) -> Result<(Keyring, KeyringOrigin), Failure> {
        let path = self.keyring_path();
        if path.try_exists().unwrap_or(true) {
            return Ok((self.keyring()?, KeyringOrigin::Found));
        }
        if self.0.join("sessions.db").exists() {
            return Err(Failure::other(format!("{} holds sessions, but no keyring", self.0.display())).way_out(
                "put the keyring file back from a backup; or, to start without the old sessions, move sessions.db \
                 away. Nothing was changed.",
            ));
        }
        let keyring = Keyring::generate(&SystemRandom);
        match self.write_keyring(&keyring) {
            Ok(()) => Ok((keyring, KeyringOrigin::Made)),
            // Another process was faster; theirs it is.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Ok((self.keyring()?, KeyringOrigin::Found))
            }
            Err(error) => Err(Failure::other(format!("cannot write the keyring {}", path.display()))
                .because(error)
                .way_out("name a directory that you may write to with --data-dir")),
        }
    }

    /// Takes a keyring away that was just made and turned out to be wrong.
    pub(crate) fn discard_new_keyring(&self) {
        if let Err(error) = fs::remove_file(self.keyring_path()) {
            tracing::warn!(%error, "the new keyring is still there");
        }
    }

    /// Written beside its place and linked into it, so that nobody ever reads half a keyring.
    fn write_keyring(&self, keyring: &Keyring) -> io::Result<()> {
        let draft = self.0.join(format!("keyring.{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let written = file
            .write_all(keyring.danger_to_text().as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::hard_link(&draft, self.keyring_path()));
        fs::remove_file(&draft)?;
        written
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
