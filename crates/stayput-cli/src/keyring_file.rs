//! The keyring's file: read, made, and exchanged as a whole.
//!
//! Nobody ever reads half a keyring, and of two changes at once none is lost.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use stayput::{Keyring, KeyringSourceError, SharedKeyring};

use crate::failure::Failure;

/// The file at a path, be it there or not.
#[derive(Clone, Debug)]
pub(crate) struct KeyringFile(PathBuf);

impl KeyringFile {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether it is there, as far as can be told.
    pub(crate) fn exists(&self) -> bool {
        self.0.try_exists().unwrap_or(true)
    }

    /// Reads the keyring, which then follows the file.
    pub(crate) fn read(&self) -> Result<SharedKeyring, Failure> {
        if fs::metadata(&self.0).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0) {
            tracing::warn!(path = %self.0.display(), "the keyring can be read by other users; chmod it to 600");
        }
        SharedKeyring::from_file(&self.0).map_err(|error| self.unreadable(error))
    }

    /// Reads the keyring to change it.
    pub(crate) fn parse(&self) -> Result<Keyring, Failure> {
        let read = fs::read_to_string(&self.0);
        let text = read.map_err(|error| self.failed().because(error).way_out(READ_RIGHTS))?;
        Keyring::parse(&text).map_err(|error| self.failed().because(error).way_out(RESTORE))
    }

    /// Makes the file. Fails with [`io::ErrorKind::AlreadyExists`] if it is there by now.
    pub(crate) fn create(&self, keyring: &Keyring) -> io::Result<()> {
        let draft = Draft::write(&self.0, keyring, None)?;
        fs::hard_link(&draft.0, &self.0)?;
        sync_directory(&self.0)
    }

    /// Waits until nobody else changes the file, and keeps others from doing so.
    pub(crate) fn lock(&self) -> Result<LockedKeyring, Failure> {
        // What a link points at is exchanged, not the link.
        let path = fs::canonicalize(&self.0).unwrap_or_else(|_| self.0.clone());
        let failed = |error: io::Error| {
            Failure::other(format!("cannot lock the keyring {}", self.0.display()))
                .because(error)
                .way_out("run this as the user whom its directory belongs to")
        };
        // The directory, which is there and is nobody's to leave behind, unlike a file made for the purpose.
        let lock = File::open(directory(&path)).map_err(failed)?;
        let until = Instant::now() + PATIENCE;
        loop {
            // The system gives up the lock of a process that ended, however it did.
            match lock.try_lock() {
                Ok(()) => return Ok(LockedKeyring { file: Self(path), _lock: lock }),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                    return Err(Failure::other(format!(
                        "another `stayput keys` has been changing {} for {PATIENCE:?}",
                        self.0.display()
                    ))
                    .way_out("let it finish, or end it, and try again"));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn unreadable(&self, error: KeyringSourceError) -> Failure {
        match error {
            KeyringSourceError::Unreadable { source, .. } => {
                self.failed().because(source).way_out(READ_RIGHTS)
            }
            KeyringSourceError::Invalid { source, .. } => self.failed().because(source).way_out(RESTORE),
            error => self.failed().because(error),
        }
    }

    fn failed(&self) -> Failure {
        Failure::other(format!("cannot read the keyring {}", self.0.display()))
    }
}

/// The file while nobody else changes it.
pub(crate) struct LockedKeyring {
    file: KeyringFile,
    _lock: File,
}

impl LockedKeyring {
    pub(crate) fn file(&self) -> &KeyringFile {
        &self.file
    }

    /// Puts `keyring` in the file's place, for readers from one moment to the next.
    pub(crate) fn replace(&self, keyring: &Keyring) -> Result<(), Failure> {
        let path = self.file.path();
        let replaced = fs::metadata(path).and_then(|former| {
            let draft = Draft::write(path, keyring, Some(&former))?;
            fs::rename(&draft.0, path)?;
            sync_directory(path)
        });
        replaced.map_err(|error| {
            Failure::other(format!("cannot write the keyring {}", path.display()))
                .because(error)
                .way_out("run this as the user whom the file and its directory belong to")
        })
    }
}

/// A whole keyring beside its place, which goes when it was not put there.
struct Draft(PathBuf);

impl Draft {
    /// For the owner alone; like `former`, if there is one, it belongs to the same and can be read by the same group.
    fn write(path: &Path, keyring: &Keyring, former: Option<&fs::Metadata>) -> io::Result<Self> {
        let draft = Self(beside(path, &std::process::id().to_string()));
        // Left by a process of this number that was killed.
        let _ = fs::remove_file(&draft.0);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft.0)?;
        if let Some(former) = former {
            let own = file.metadata()?;
            // A keyring that the servers can't read any more would be found out at their next start.
            if (own.uid(), own.gid()) != (former.uid(), former.gid()) {
                fchown(&file, Some(former.uid()), Some(former.gid()))?;
            }
            file.set_permissions(fs::Permissions::from_mode(0o600 | former.mode() & 0o040))?;
        }
        file.write_all(keyring.danger_to_text().as_bytes())?;
        file.sync_all()?;
        Ok(draft)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already if it was renamed.
        let _ = fs::remove_file(&self.0);
    }
}

/// A new name is on disk when its directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

/// How long to wait for another change.
const PATIENCE: Duration = Duration::from_secs(10);

const READ_RIGHTS: &str = "give this user the right to read it, or use another --data-dir";

const RESTORE: &str = "restore it from a backup; without it, sessions can't be read";
