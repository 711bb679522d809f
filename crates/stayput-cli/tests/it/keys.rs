//! `stayput keys`: what the commands do to the file, what they say, and what they refuse.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::mistakes::fails;
use crate::up::{Up, stayput};

/// A data directory, and the commands on its keyring.
struct Keys(TempDir);

impl Keys {
    /// With a keyring of one key.
    fn fresh() -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        keys.done(&["new"]);
        keys
    }

    fn run(&self, args: &[&str]) -> Output {
        on(self.0.path(), args)
    }

    /// What a command says that succeeds, after checking that it tells no secret.
    fn done(&self, args: &[&str]) -> String {
        let said = succeeds(&self.run(args));
        for line in self.text().lines().filter_map(|line| line.strip_prefix("stayput-key-v1.")) {
            assert!(!said.contains(&line[..10]), "{said}");
        }
        said
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("keyring")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// The rows of the table.
    fn rows(&self) -> Vec<Vec<String>> {
        rows(&self.done(&["list"]))
    }
}

/// `stayput keys …` on a data directory.
pub(crate) fn on(data_dir: &Path, args: &[&str]) -> Output {
    let data_dir = ["--data-dir", data_dir.to_str().unwrap()];
    stayput(&[&["keys"], args, &data_dir].concat())
}

#[track_caller]
pub(crate) fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The rows of the table that `list` prints.
pub(crate) fn rows(said: &str) -> Vec<Vec<String>> {
    let lines = said.lines().skip(1).filter(|line| !line.starts_with("fingerprint"));
    lines
        .map(|line| line.split("  ").map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect())
        .collect()
}

/// The fingerprint that a command told.
pub(crate) fn fingerprint(said: &str) -> String {
    said.lines().find_map(|line| line.strip_prefix("fingerprint ")).unwrap().to_owned()
}

#[test]
fn a_key_is_made_added_promoted_and_retired() {
    let keys = Keys(tempfile::tempdir().unwrap());
    let said = keys.done(&["new"]);
    assert!(said.contains("Made the keyring"), "{said}");
    assert_eq!(fs::metadata(keys.file()).unwrap().permissions().mode() & 0o777, 0o600);
    let old = keys.rows()[0][0].clone();

    let said = keys.done(&["new"]);
    let rows = keys.rows();
    let new = rows[1][0].clone();
    assert_eq!(rows[0], [&old, "primary", "-", "-"]);
    assert_eq!(rows[1], [&new, "accepted", "never was", "now"]);
    assert!(said.contains(&format!("stayput keys promote {new} --data-dir")), "{said}");
    assert_eq!(fingerprint(&said), fingerprint(&keys.done(&["list"])));

    let said = keys.done(&["promote", &new]);
    let rows = keys.rows();
    assert_eq!(rows[0][..2], [new.clone(), "primary".into()]);
    assert_eq!(rows[1][..2], [old.clone(), "accepted".into()]);
    assert!(rows[1][2].ends_with('Z') && rows[1][3].starts_with("from 20"), "{rows:?}");
    assert!(said.contains(&format!("stayput keys retire {old}")), "{said}");
    assert!(keys.done(&["promote", &new]).contains("already"));

    fails(&keys.run(&["retire", &old]), 1, &[&old, "from 20", "30days", "--force", "Nothing was changed"]);
    assert!(keys.done(&["retire", &old, "--force"]).contains("logged out"));
    assert_eq!(keys.rows().len(), 1);
    let mut left: Vec<_> =
        fs::read_dir(keys.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["keyring"], "no draft is left behind");
}

#[test]
fn a_key_is_retired_in_time_by_the_policy_of_the_configuration() {
    let keys = Keys::fresh();
    keys.done(&["new"]);
    let rows = keys.rows();
    keys.done(&["promote", &rows[1][0]]);
    let config = keys.0.path().join("stayput.toml");
    fs::write(
        &config,
        "[policy]\nabsolute_timeout = \"1h\"\nidle_timeout = \"30m\"\nremember.allowed = false\n",
    )
    .unwrap();
    let args = ["retire", &rows[0][0], "--config", config.to_str().unwrap()];
    fails(&keys.run(&args), 1, &["can last 1h"]);

    // The day before yesterday, as far as the file knows.
    let text = keys.text();
    let (before, _) = text.split_once("demoted=").unwrap();
    fs::write(keys.file(), format!("{before}demoted=2020-01-01T00:00:00Z\n")).unwrap();
    assert_eq!(keys.rows()[1][3], "now");
    assert!(keys.done(&args).contains("nobody needed it"));
}

#[test]
fn a_keyring_from_before_keys_had_a_past_is_kept_as_it_is_until_it_is_changed() {
    let keys = Keys::fresh();
    let (one, other) = (keys.text(), Keys::fresh().text());
    fs::write(keys.file(), format!("{other}{one}")).unwrap();
    let rows = keys.rows();
    assert_eq!(rows[1][1..], ["accepted", "unknown", "with --force only"]);
    assert_eq!(keys.text(), format!("{other}{one}"));
    fails(&keys.run(&["retire", &rows[1][0]]), 1, &["does not say when", "--force"]);
    keys.done(&["promote", &rows[1][0]]);
    assert_eq!(keys.rows()[0][0], rows[1][0]);
}

#[test]
fn mistakes_are_named_with_the_way_out_and_change_nothing() {
    let keys = Keys::fresh();
    let (before, primary) = (keys.text(), keys.rows()[0][0].clone());
    fails(&keys.run(&["promote", "00000000"]), 1, &["no key 00000000", "stayput keys list"]);
    fails(&keys.run(&["retire", "00000000", "--force"]), 1, &["no key 00000000"]);
    fails(&keys.run(&["retire", &primary, "--force"]), 1, &[&primary, "promote another one first"]);
    fails(&keys.run(&["promote", "first"]), 2, &["8 hexadecimal digits"]);
    fails(&keys.run(&["list", "--keyring", "x"]), 2, &["--keyring"]);
    fails(&stayput(&["keys"]), 2, &["promote"]);
    assert_eq!(keys.text(), before);

    let nowhere = keys.0.path().join("nowhere");
    for command in [&["list"][..], &["promote", &primary], &["retire", &primary]] {
        fails(&on(&nowhere, command), 1, &["there is no keyring", "--data-dir", "stayput keys new"]);
    }
    assert!(!nowhere.exists());
    let unmade = nowhere.join("keyring");
    fails(
        &stayput(&["keys", "new", "--keyring", unmade.to_str().unwrap()]),
        1,
        &["cannot write", "--keyring"],
    );

    fs::write(keys.file(), before.trim_end().to_owned() + " hunter2\n").unwrap();
    for command in [&["list"][..], &["new"]] {
        let output = keys.run(command);
        fails(&output, 1, &["cannot read the keyring", "line 3", "newer Stayput"]);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
    }
}

#[test]
fn no_new_keyring_is_made_for_sessions_that_were_written_with_another() {
    let keys = Keys::fresh();
    fs::remove_file(keys.file()).unwrap();
    fs::write(keys.0.path().join("sessions.db"), "").unwrap();
    fails(&keys.run(&["new"]), 1, &["holds sessions, but no keyring", "backup"]);
    assert!(!keys.file().exists());
}

#[test]
fn of_commands_at_the_same_time_none_is_lost() {
    let keys = Keys(tempfile::tempdir().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| succeeds(&keys.run(&["new"])));
        }
    });
    assert_eq!(keys.rows().len(), 12);
}

#[test]
fn a_changed_file_keeps_its_readers_and_the_link_that_leads_to_it() {
    let keys = Keys::fresh();
    let link = keys.0.path().join("link");
    std::os::unix::fs::symlink("keyring", &link).unwrap();
    for (mode, kept) in [(0o640, 0o640), (0o664, 0o640), (0o400, 0o600)] {
        fs::set_permissions(keys.file(), fs::Permissions::from_mode(mode)).unwrap();
        succeeds(&stayput(&["keys", "new", "--keyring", link.to_str().unwrap()]));
        assert_eq!(fs::metadata(keys.file()).unwrap().permissions().mode() & 0o777, kept, "{mode:o}");
    }
    assert_eq!(keys.rows().len(), 4);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[tokio::test]
async fn keys_exchanged_while_nothing_runs_leave_a_store_that_the_next_server_takes_for_its_own() {
    let (up, dir, port) = Up::fresh();
    let browser = up.browser();
    browser.post("/login", &[("user", "alice")]).await.unwrap();
    assert!(up.stop(Signal::TERM).0.success());

    succeeds(&on(dir.path(), &["new"]));
    let keys = rows(&succeeds(&on(dir.path(), &["list"])));
    succeeds(&on(dir.path(), &["promote", &keys[1][0]]));
    succeeds(&on(dir.path(), &["retire", &keys[0][0], "--force"]));

    let _up = Up::start(dir.path(), port, &[]);
    let old = format!("stayput-session={}", browser.cookie("stayput-session").unwrap());
    assert_eq!(browser.get_with_cookies("/me", old.as_bytes()).await.unwrap().status, 401);
}
