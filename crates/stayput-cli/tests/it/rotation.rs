//! Keys are exchanged under load, across processes, and nobody is logged out by it.

use std::fs;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use reqwest::StatusCode;
use rustix::process::Signal;
use stayput_testkit::Browser;

use crate::keys::{fingerprint, on, rows, succeeds};
use crate::mistakes::fails;
use crate::survive::{Load, User};
use crate::up::{Up, free_port};

const USERS: usize = 20;

/// A former key's cookies are renewed ten graces after the last renewal; nothing else renews any within the test.
const POLICY: &str = "[policy]\ngrace = \"2s\"\nstore_timeout = \"1s\"\nrenewal_interval = \"1h\"\n";

/// The id of the key that a browser's session cookie is under.
fn key_of(browser: &Browser) -> String {
    let cookie = BASE64URL_NOPAD.decode(browser.cookie("stayput-session").unwrap().as_bytes()).unwrap();
    format!("{:08x}", u32::from_be_bytes(cookie[..4].try_into().unwrap()))
}

/// Returns when the gateway's process and the three sample servers have the keyring of that fingerprint.
async fn taken_over(up: &Up, load: &Load, fingerprint: &str) {
    within_a_minute(async {
        while up.logged(&["keyring changed", fingerprint]) < 4 {
            load.runs_for(1).await;
        }
    })
    .await;
}

async fn within_a_minute(work: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_mins(1), work).await.expect("it takes no minute");
}

/// A directory in memory, where there is one: grace is so short here that the store gets but a second for a write, and a disk that
/// others keep busy may take longer.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_added_promoted_and_retired_under_load_and_no_session_is_lost() {
    let (dir, port) = (in_memory(), free_port());
    let config = dir.path().join("stayput.toml");
    fs::write(&config, POLICY).unwrap();
    let args = ["--config", config.to_str().unwrap()];
    let up = Up::start(dir.path(), port, &args);
    let mut users = Vec::new();
    for number in 0..USERS {
        users.push(User::log_in(&up, number).await);
    }
    let kept = format!("stayput-session={}", users[0].browser.cookie("stayput-session").unwrap());
    let keys = |args: &[&str]| succeeds(&on(dir.path(), args));
    let former = rows(&keys(&["list"]))[0][0].clone();
    let load = Load::of(&users);
    load.runs_for(3).await;

    let said = keys(&["new"]);
    let new = rows(&keys(&["list"]))[1][0].clone();
    taken_over(&up, &load, &fingerprint(&said)).await;
    assert!(users.iter().all(|user| key_of(&user.browser) == former));

    // They would see it by themselves; told, they see it at once.
    let said = keys(&["promote", &new]);
    up.signal(Signal::HUP);
    taken_over(&up, &load, &fingerprint(&said)).await;
    within_a_minute(async {
        while users.iter().any(|user| key_of(&user.browser) != new) {
            load.runs_for(1).await;
        }
    })
    .await;

    fails(&on(dir.path(), &["retire", &former]), 1, &[&former, "from 20"]);
    let said = keys(&["retire", &former, "--force"]);
    taken_over(&up, &load, &fingerprint(&said)).await;
    let reply = up.browser().get_with_cookies("/me", kept.as_bytes()).await.unwrap();
    assert_eq!((reply.status, reply.cookies.len()), (StatusCode::UNAUTHORIZED, 1), "{:?}", reply.cookies);
    load.runs_for(5).await;
    load.ends().await;
    for user in &users {
        user.lost_nothing().await;
    }

    assert!(up.stop(Signal::TERM).0.success());
    let _up = Up::start(dir.path(), port, &args);
    for user in &users {
        user.lost_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_keyring_under_a_running_server_harms_nobody() {
    let (up, dir, _) = Up::fresh();
    let users = [User::log_in(&up, 0).await];
    let file = dir.path().join("keyring");
    let right = fs::read(&file).unwrap();
    fs::write(&file, "half a ke").unwrap();
    up.signal(Signal::HUP);
    let load = Load::of(&users);
    within_a_minute(async {
        while up.logged(&["the keyring stays as it is", "line 1"]) < 4 {
            load.runs_for(1).await;
        }
    })
    .await;
    assert_eq!(up.logged(&["told to look at the keyring"]), 4, "all were told, and none died of it");
    fs::write(&file, right).unwrap();
    load.ends().await;
    users[0].lost_nothing().await;
}
