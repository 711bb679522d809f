//! The admin interface of `up`: its token, and the note of where it is.
//!
//! The token is in a file for its owner alone, or in the environment; it is never said.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use stayput::SystemRandom;
use stayput_core::Random;
use stayput_gateway::AdminToken;

use crate::cli::TOKEN_VARIABLE;
use crate::data_dir::DataDir;
use crate::failure::Failure;

/// The token that the environment says, or the one in the data directory, which is made if it isn't there.
pub(super) fn token(data_dir: &DataDir) -> Result<AdminToken, Failure> {
    if let Ok(text) = std::env::var(TOKEN_VARIABLE) {
        let failed = |error| Failure::usage(format!("{TOKEN_VARIABLE} holds no token")).because(error);
        return AdminToken::new(&text).map_err(failed);
    }
    let path = DataDir::admin_token_in(data_dir.path());
    let failed = |error: io::Error| {
        Failure::other(format!("cannot read or make the admin token {}", path.display()))
            .because(error)
            .way_out(format!("make it readable for this user, set {TOKEN_VARIABLE}, or say --admin off"))
    };
    make(&path).map_err(failed)?;
    if fs::metadata(&path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "the admin token can be read by other users; chmod it to 600");
    }
    let text = fs::read_to_string(&path).map_err(failed)?;
    AdminToken::new(text.trim()).map_err(|error| {
        Failure::other(format!("{} holds no admin token", path.display()))
            .because(error)
            .way_out("remove the file; another one is made")
    })
}

/// Makes a token where there is none.
fn make(path: &Path) -> io::Result<()> {
    let directory = File::open(path.parent().unwrap_or(Path::new(".")))?;
    if path.exists() {
        if directory.try_lock().is_ok() {
            let _ = remove_drafts(path);
        }
        return Ok(());
    }
    // The system gives up the lock of a process that ended, so that whatever drafts are there now belong to nobody.
    directory.lock()?;
    remove_drafts(path)?;
    let mut bytes = [0; 32];
    SystemRandom.fill(&mut bytes);
    // Whole or not at all, for whoever reads it at the same moment.
    let draft = path.with_extension(std::process::id().to_string());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(file, "{}", BASE64URL_NOPAD.encode(&bytes))?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

/// Removes what processes have left that were killed while they made a token.
fn remove_drafts(path: &Path) -> io::Result<()> {
    let is_number = |suffix: &OsStr| suffix.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    for entry in fs::read_dir(path.parent().unwrap_or(Path::new(".")))? {
        let other = entry?.path();
        if other.file_stem() == path.file_name() && other.extension().is_some_and(is_number) {
            fs::remove_file(other)?;
        }
    }
    Ok(())
}

/// The note in the data directory of where the admin interface is; gone when this is dropped.
///
/// It is locked for as long as this process lives. One that isn't was left by a process that was killed, and whoever listens
/// there by now must not be told the token.
pub(crate) struct Note {
    path: PathBuf,
    text: String,
    _locked: Option<File>,
}

impl Note {
    pub(super) fn write(data_dir: &DataDir, address: SocketAddr) -> Self {
        let (path, text) = (DataDir::admin_address_in(data_dir.path()), format!("{address}\n"));
        let put = || {
            // Locked before anybody can find it, and no other gateway's note: that one keeps its own lock.
            let draft = path.with_extension(std::process::id().to_string());
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.try_lock()?;
            file.write_all(text.as_bytes())?;
            fs::rename(&draft, &path)?;
            io::Result::Ok(file)
        };
        let locked = put().inspect_err(|error| {
            let path = path.display();
            tracing::warn!(%error, %path, "`stayput gateway` will need --admin: the address can't be noted");
        });
        Self { _locked: locked.ok(), path, text }
    }

    /// What the note at `path` says, unless nobody stands by it any more.
    pub(crate) fn read(path: &Path) -> io::Result<String> {
        let mut file = File::open(path)?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => return Err(io::ErrorKind::NotFound.into()),
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text.trim().to_owned())
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // Another gateway with this directory may have written its own by now.
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_processes_left_of_a_token_is_cleared_away_and_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = DataDir::admin_token_in(dir.path());
        let left = || {
            let left = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
            left.sort();
            left
        };
        // One of them had the number that this process has now.
        for number in [1, std::process::id()] {
            fs::write(path.with_extension(number.to_string()), "half a to").unwrap();
        }
        fs::write(path.with_extension("bak"), "somebody's own").unwrap();
        make(&path).unwrap();
        assert_eq!(left(), ["admin-token", "admin-token.bak"]);
        fs::write(path.with_extension("1"), "a whole one, killed when it was in place").unwrap();
        make(&path).unwrap();
        assert_eq!(left(), ["admin-token", "admin-token.bak"]);
        assert!(AdminToken::new(fs::read_to_string(path).unwrap().trim()).is_ok());
    }
}
