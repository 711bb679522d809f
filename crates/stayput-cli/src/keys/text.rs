//! What `stayput keys` says: ids, times, fingerprints and the next step, never a secret.

use std::fmt::Write;
use std::time::Duration;

use stayput::{Keyring, Timestamp};
use stayput_core::{Key, KeyId, Past};

use crate::cli::KeyringArgs;
use crate::keyring_file::KeyringFile;

/// The arguments again, as they were given.
pub(super) fn flags(args: &KeyringArgs) -> String {
    let given = [("--keyring", &args.keyring), ("--data-dir", &args.data_dir), ("--config", &args.config)];
    let given = given.into_iter().filter_map(|(flag, value)| Some((flag, value.as_ref()?)));
    given.fold(String::new(), |mut text, (flag, value)| {
        let _ = write!(text, " {flag} {}", value.display());
        text
    })
}

pub(super) fn made(file: &KeyringFile, keyring: &Keyring) -> String {
    format!(
        "Made the keyring {file} with key {id}, which signs and seals.\n{fingerprint}\n\
         Next: back it up, and copy it to every server before that starts, readable by the server's user only.\n",
        file = file.path().display(),
        id = keyring.primary().id(),
        fingerprint = fingerprint(keyring),
    )
}

pub(super) fn added(id: KeyId, file: &KeyringFile, keyring: &Keyring, flags: &str) -> String {
    format!(
        "Added key {id}: accepted, and not yet the one that signs.\n{fingerprint}\n\
         Next: copy {file} to every server (running ones take it over within seconds),\n      \
         wait until all of them have this fingerprint, then: stayput keys promote {id}{flags}\n",
        fingerprint = fingerprint(keyring),
        file = file.path().display(),
    )
}

pub(super) fn primary_already(id: KeyId, keyring: &Keyring) -> String {
    format!("Key {id} is the one that signs and seals already.\n{}\n", fingerprint(keyring))
}

pub(super) fn promoted(
    id: KeyId,
    former: KeyId,
    until: Timestamp,
    file: &KeyringFile,
    keyring: &Keyring,
    flags: &str,
) -> String {
    format!(
        "Promoted key {id}: it signs and seals from now on. Key {former} is still accepted, and nobody is logged out.\n\
         {fingerprint}\n\
         Next: copy {file} to every server, wait until all of them have this fingerprint,\n      \
         and after {until}: stayput keys retire {former}{flags}\n",
        fingerprint = fingerprint(keyring),
        file = file.path().display(),
    )
}

pub(super) fn retired(id: KeyId, in_time: bool, file: &KeyringFile, keyring: &Keyring) -> String {
    let who = if in_time { "nobody needed it any more" } else { "whoever still needs it is logged out" };
    format!(
        "Retired key {id}: {who}.\n{fingerprint}\n\
         Next: copy {file} to every server, and wait until all of them have this fingerprint: until then they\n      \
         accept the key.\n",
        fingerprint = fingerprint(keyring),
        file = file.path().display(),
    )
}

/// The keys, one a line, and the fingerprint.
pub(super) fn table(keyring: &Keyring, now: Timestamp, longest: Duration) -> String {
    let mut text = row("KEY", "ROLE", "NOT PRIMARY SINCE", "MAY BE RETIRED");
    for (place, key) in keyring.keys().iter().enumerate() {
        let id = key.id().to_string();
        text += &match place {
            0 => row(&id, "primary", "-", "-"),
            _ => accepted(&id, key, now, longest),
        };
    }
    let _ = writeln!(text, "{}", fingerprint(keyring));
    text
}

fn accepted(id: &str, key: &Key, now: Timestamp, longest: Duration) -> String {
    match key.past() {
        Past::Added(_) => row(id, "accepted", "never was", "now"),
        Past::Unknown => row(id, "accepted", "unknown", "with --force only"),
        Past::Demoted(at) => {
            let from = at.after(longest);
            let when = if from <= now { "now".to_owned() } else { format!("from {from} on") };
            row(id, "accepted", &at.to_string(), &when)
        }
    }
}

fn row(key: &str, role: &str, since: &str, retire: &str) -> String {
    format!("{key:<8}  {role:<8}  {since:<20}  {retire}\n")
}

fn fingerprint(keyring: &Keyring) -> String {
    format!("fingerprint {}", keyring.fingerprint())
}
