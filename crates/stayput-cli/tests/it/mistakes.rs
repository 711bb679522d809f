//! What goes wrong at the start is said once, clearly, with the way out; and nothing is lost by it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;

use crate::up::{Up, free_port, run, stayput};

#[track_caller]
pub(crate) fn fails(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn a_taken_port_is_named_with_the_way_out() {
    let (dir, taken) = (tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = taken.local_addr().unwrap().port();
    fails(&run(dir.path(), port, &[]), 1, &[&format!("127.0.0.1:{port} is taken"), "--listen"]);
}

#[test]
fn a_taken_port_behind_the_gateways_is_no_obstacle() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let _taken = TcpListener::bind(("127.0.0.1", port + 2)).unwrap();
    let up = Up::start(dir.path(), port, &[]);
    let urls: Vec<_> = up.servers().into_iter().map(|server| server.url).collect();
    assert_eq!(urls.len(), 3);
    assert!(!urls.contains(&format!("http://127.0.0.1:{}", port + 2)), "{urls:?}");
}

#[test]
fn a_sample_server_whose_port_was_taken_meanwhile_takes_another_and_says_which() {
    let (up, dir, _) = Up::fresh();
    assert!(up.stop(Signal::TERM).0.success());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let store = format!("sqlite:{}", dir.path().join("sessions.db").display());
    let data_dir = dir.path().to_str().unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_stayput"))
        .args(["sample-server", "--name", "s", "--listen", &address, "--or-any-port", "--store", &store])
        .args(["--data-dir", data_dir, "--reached-by", "loopback"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    // Its parent is gone.
    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
    let other = line.strip_prefix("ready 127.0.0.1:").unwrap();
    assert!(!address.ends_with(other.trim()), "{line}");
}

#[test]
fn a_second_gateway_on_the_same_address_is_refused_and_the_first_goes_on() {
    let (up, dir, port) = Up::fresh();
    fails(&run(dir.path(), port, &[]), 1, &["is taken", "--listen"]);
    assert!(up.stop(Signal::TERM).0.success());
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    fails(&run(&file, free_port(), &[]), 1, &[file.to_str().unwrap(), "--data-dir"]);
    fails(&run(&file.join("below"), free_port(), &[]), 1, &["--data-dir"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");

    // Unreadable for root, too.
    fs::create_dir(dir.path().join("keyring")).unwrap();
    fails(&run(dir.path(), free_port(), &[]), 1, &["cannot read the keyring"]);
}

#[tokio::test]
async fn a_wrong_keyring_is_refused_and_the_right_one_still_works() {
    let (up, dir, port) = Up::fresh();
    let browser = up.browser();
    browser.post("/login", &[("user", "alice")]).await.unwrap();
    assert!(up.stop(Signal::TERM).0.success());
    let keyring = dir.path().join("keyring");
    let right = fs::read(&keyring).unwrap();

    let other = tempfile::tempdir().unwrap();
    drop(Up::start(other.path(), port, &[]));
    fs::copy(other.path().join("keyring"), &keyring).unwrap();
    fails(&run(dir.path(), port, &[]), 1, &["keyring", "is not the one", "--store"]);

    fs::write(&keyring, "not a key\n").unwrap();
    fails(&run(dir.path(), port, &[]), 1, &["line 1", "backup"]);

    fs::remove_file(&keyring).unwrap();
    fails(&run(dir.path(), port, &[]), 1, &["holds sessions, but no keyring"]);
    assert!(!keyring.exists());

    fs::write(&keyring, right).unwrap();
    let _up = Up::start(dir.path(), port, &[]);
    let cookie = format!("stayput-session={}", browser.cookie("stayput-session").unwrap());
    let me = browser.get_with_cookies("/me", cookie.as_bytes()).await.unwrap();
    assert_eq!(me.json()["user"], "alice");
}

#[test]
fn a_new_keyring_for_somebody_elses_store_is_not_left_behind() {
    let (up, dir, port) = Up::fresh();
    drop(up);
    let (other, store) = (tempfile::tempdir().unwrap(), dir.path().join("sessions.db"));
    let output = run(other.path(), port, &["--store", &format!("sqlite:{}", store.display())]);
    fails(&output, 1, &["is not the one"]);
    assert!(!other.path().join("keyring").exists());
}

#[test]
fn a_strangers_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes.txt");
    fs::write(&file, "no database at all, but somebody's notes").unwrap();
    let output = run(dir.path(), free_port(), &["--store", &format!("sqlite:{}", file.display())]);
    fails(&output, 1, &["cannot open the session store", "--store"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "no database at all, but somebody's notes");
}

#[test]
fn bad_usage_has_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let up = |args: &[&str]| run(dir.path(), free_port(), args);
    fails(&up(&["--store", "mongodb://user:hunter2@host"]), 2, &["no store is called `mongodb`"]);
    fails(&up(&["--store", "memory:"]), 2, &["can't share", "--sample-servers 1"]);
    fails(&up(&["--upstream", "nowhere"]), 2, &["--upstream", "such as 127.0.0.1:3000"]);
    fails(&up(&["--upstream", "127.0.0.1:1", "--upstream", "127.0.0.1:1"]), 2, &["twice"]);
    fails(&up(&["--upstream", "127.0.0.1:1", "--sample-servers", "2"]), 2, &["--sample-servers"]);
    fails(&up(&["--sample-servers", "0"]), 2, &["--sample-servers"]);
    fails(&up(&["--upstream", "http://127.0.0.1:1"]), 2, &["leave the scheme out"]);
    fails(&up(&["--config", "missing.toml"]), 2, &["missing.toml", "config default"]);
    fails(&stayput(&["sing"]), 2, &["sing"]);
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing was made");
}

#[test]
fn the_printed_defaults_check_and_mistakes_are_listed_with_their_places() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("stayput.toml");
    let default = stayput(&["config", "default"]);
    assert!(default.status.success());
    fs::write(&file, &default.stdout).unwrap();
    let file = file.to_str().unwrap();
    assert!(stayput(&["config", "check", file]).status.success());

    fs::write(file, "[gateway]\nlisten = 7\n[policy]\nidle_timeout = \"never\"\n").unwrap();
    let places = [&*format!("{file}:2:10: `gateway.listen`"), &format!("{file}:4:16: `policy.idle_timeout`")];
    fails(&stayput(&["config", "check", file]), 2, &places);
    fails(&run(dir.path(), free_port(), &["--config", file]), 2, &places);
}

#[tokio::test]
async fn the_gateway_runs_in_front_of_servers_of_ones_own() {
    let (samples, _dir, _) = Up::fresh();
    let servers = samples.servers();
    let dir = tempfile::tempdir().unwrap();
    let address = |n: usize| servers[n].url.strip_prefix("http://").unwrap().to_owned();
    let config = dir.path().join("stayput.toml");
    let text = format!(
        "[[pool]]\nupstreams = [\"{}\", {{ name = \"b\", address = \"{}\" }}]\n",
        address(0),
        address(1)
    );
    fs::write(&config, text).unwrap();
    let up = Up::start(dir.path(), free_port(), &["--config", config.to_str().unwrap()]);
    let name = up.browser().get("/server").await.unwrap().json()["server"].clone();
    assert!(name == "sample-1" || name == "sample-2", "{name}");
    drop(up);

    let up = Up::start(dir.path(), free_port(), &["--upstream", &address(2)]);
    assert_eq!(up.browser().get("/server").await.unwrap().json()["server"], "sample-3");
    let (_, output) = up.stop(Signal::TERM);
    assert!(output.contains(&address(2)) && !output.contains("nothing listens"), "{output}");

    let nobody = format!("127.0.0.1:{}", free_port());
    let up = Up::start(dir.path(), free_port(), &["--upstream", &nobody]);
    assert_eq!(up.browser().get("/").await.unwrap().status, 503);
    let (_, output) = up.stop(Signal::TERM);
    assert!(output.contains("nothing listens there yet"), "{output}");
}
