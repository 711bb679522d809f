//! `stayput gateway`, and reloading: as an operator meets them.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;

use crate::keys::succeeds;
use crate::mistakes::fails;
use crate::up::{Up, free_port, run, stayput};

fn gateway(data_dir: &Path, args: &[&str]) -> Output {
    stayput(&[&["gateway"], args, &["--data-dir", data_dir.to_str().unwrap()]].concat())
}

fn status(data_dir: &Path) -> serde_json::Value {
    serde_json::from_str(&succeeds(&gateway(data_dir, &["status", "--json"]))).unwrap()
}

fn server(data_dir: &Path, name: &str) -> serde_json::Value {
    let status = status(data_dir);
    let mut servers =
        status["pools"].as_array().unwrap().iter().flat_map(|pool| pool["upstreams"].as_array().unwrap());
    servers.find(|server| server["name"] == name).cloned().unwrap_or_default()
}

#[tokio::test]
async fn servers_are_seen_drained_weighed_added_and_removed_without_a_flag_but_the_directory() {
    let (up, dir, _) = Up::fresh();
    let dir = dir.path();
    let table = succeeds(&gateway(dir, &["status"]));
    assert!(
        table.contains("pool default")
            && table.lines().any(|line| line.contains("sample-2") && line.contains(" up ")),
        "{table}"
    );

    let said = succeeds(&gateway(dir, &["drain", "sample-2", "--for", "10m"]));
    assert!(said.contains("sample-2 gets no new clients; its clients move in 10m"), "{said}");
    assert!(succeeds(&gateway(dir, &["status"])).contains("up, draining for "));
    for _ in 0..10 {
        let reply = up.browser().get("/server").await.unwrap().json();
        assert_ne!(reply["server"], "sample-2");
    }
    succeeds(&gateway(dir, &["undrain", "sample-2"]));
    assert_eq!(server(dir, "sample-2")["draining"], false);

    let address = server(dir, "sample-1")["address"].as_str().unwrap().to_owned();
    let said = succeeds(&gateway(dir, &["add", "more", &address, "--weight", "2"]));
    assert!(said.contains("more is in the pool default") && said.contains("configuration"), "{said}");
    succeeds(&gateway(dir, &["weight", "more", "5"]));
    assert_eq!(server(dir, "more")["weight"], 5);

    let said = succeeds(&gateway(dir, &["reload"]));
    assert!(said.starts_with("reloaded\n  undone: the upstream \"more\""), "{said}");
    let said = succeeds(&gateway(dir, &["remove", "sample-3"]));
    assert!(said.contains("sample-3 is gone"), "{said}");
    assert!(server(dir, "sample-3").is_null());
    assert!(up.logged(&["changed through the admin interface", "remove", "default/sample-3"]) > 0);
}

#[test]
fn what_cannot_be_asked_for_is_said_with_the_way_out() {
    let (up, dir, port) = Up::fresh();
    let (dir, other) = (dir.path(), tempfile::tempdir().unwrap());
    fails(
        &gateway(dir, &["drain", "sample-4"]),
        1,
        &["no pool has a server", "did you mean sample-", "sample-1, sample-2, sample-3"],
    );
    fails(
        &gateway(dir, &["drain", "sample-1", "--pool", "shop"]),
        1,
        &["no pool \"shop\"", "there is: default"],
    );
    fails(&gateway(dir, &["weight", "sample-1", "0"]), 1, &["has the weight 0"]);
    fails(&gateway(dir, &["drain", "sample-1", "--for", "soon"]), 2, &["--for"]);
    fails(&gateway(other.path(), &["status"]), 1, &["no gateway with an admin interface runs", "stayput up"]);
    let wrong = other.path().join("token");
    fs::write(&wrong, "a-token-that-is-wrong").unwrap();
    let wrong = wrong.to_str().unwrap();
    fails(
        &gateway(dir, &["status", "--token-file", wrong]),
        1,
        &["refuses the token", wrong, "--token-file"],
    );
    let nobody = format!("127.0.0.1:{}", port + 5);
    fails(&gateway(dir, &["status", "--admin", &nobody]), 1, &["no gateway can be reached", &nobody]);
    let this = format!("127.0.0.1:{port}");
    fails(&gateway(dir, &["status", "--admin", &this]), 1, &["is no admin interface"]);

    let token = fs::read_to_string(dir.join("admin-token")).unwrap();
    let mode = fs::metadata(dir.join("admin-token")).unwrap().permissions().mode();
    assert_eq!((token.trim().len(), mode & 0o777), (43, 0o600));
    let (_, output) = up.stop(Signal::TERM);
    assert!(!output.contains(token.trim()), "the token is nowhere to be read");
    assert!(!dir.join("admin-address").exists());
    fails(&gateway(dir, &["status"]), 1, &["no gateway with an admin interface runs"]);
}

#[test]
fn nobody_else_gets_the_token_where_a_gateway_has_been_that_was_killed() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let up = Up::start(dir.path(), port, &["--sample-servers", "1"]);
    let address = fs::read_to_string(dir.path().join("admin-address")).unwrap();
    up.kill();
    // Somebody else, by chance or on purpose.
    let listener = TcpListener::bind(address.trim()).unwrap();
    listener.set_nonblocking(true).unwrap();
    fails(&gateway(dir.path(), &["status"]), 1, &["no gateway with an admin interface runs"]);
    assert!(listener.accept().is_err(), "the token is for the gateway alone");
    let up = Up::start(dir.path(), port, &["--sample-servers", "1"]);
    succeeds(&gateway(dir.path(), &["status"]));
    drop(up);
}

#[test]
fn the_admin_interface_is_opened_where_it_is_wanted_or_not_at_all() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let address = format!("127.0.0.1:{}", port + 9);
    let up = Up::start(dir.path(), port, &["--admin", &address, "--sample-servers", "1"]);
    succeeds(&gateway(dir.path(), &["status", "--admin", &format!("http://{address}/")]));
    fails(
        &run(dir.path(), free_port(), &["--admin", &address]),
        1,
        &[&format!("{address} is taken"), "--admin"],
    );
    drop(up);
    let up = Up::start(dir.path(), port, &["--admin", "off", "--sample-servers", "1"]);
    let (_, output) = up.stop(Signal::TERM);
    assert!(!output.contains("  admin"), "{output}");
    fails(&run(dir.path(), port, &["--admin", "nowhere"]), 2, &["--admin", "off"]);
}

#[tokio::test]
async fn a_reload_puts_the_file_into_effect_or_says_all_that_is_wrong_with_it() {
    let (samples, _dir, _) = Up::fresh();
    let address = |n: usize| samples.servers()[n].url.strip_prefix("http://").unwrap().to_owned();
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let config = dir.path().join("stayput.toml");
    let write = |rest: &str, shop: &str| {
        let text =
            format!("[gateway]\nworkers = 1\n{rest}\n[[pool]]\nname = \"shop\"\nupstreams = [{shop}]\n");
        fs::write(&config, text).unwrap();
    };
    let named = |name: &str, n: usize| format!("{{ name = \"{name}\", address = \"{}\" }}", address(n));
    write("", &named("a", 0));
    let up = Up::start(dir.path(), port, &["--config", config.to_str().unwrap()]);
    let asked = async || up.browser().get("/server").await.unwrap().json()["server"].clone();
    assert_eq!(asked().await, "sample-1");

    write("behind_tls = 7", &format!("{}, 7", named("b", 1)));
    let place = |place: &str| format!("{}:{place}", config.display());
    fails(
        &gateway(dir.path(), &["reload"]),
        1,
        &["nothing was changed", &place("3:14: `gateway.behind_tls`"), &place("6:")],
    );
    assert_eq!(asked().await, "sample-1");

    write("", &named("b", 1));
    assert_eq!(succeeds(&gateway(dir.path(), &["reload"])), "reloaded\n");
    assert_eq!(asked().await, "sample-2");

    // By signal the same, and what takes a restart is said.
    write("access_log = \"json\"", &named("c", 2));
    up.signal(Signal::HUP);
    while asked().await != "sample-3" {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        succeeds(&gateway(dir.path(), &["reload"])),
        "reloaded\n  not in effect before a restart: gateway.access_log\n"
    );

    fs::write(&config, "[gateway]\nworkers = 1\n").unwrap();
    fails(
        &gateway(dir.path(), &["reload"]),
        1,
        &["a restart is needed to go from sample servers to [[pool]], or back"],
    );
    fs::write(dir.path().join("keyring"), "half a ke").unwrap();
    write("", &named("c", 2));
    fails(&gateway(dir.path(), &["reload"]), 1, &["the keyring can't be used"]);
    assert_eq!(asked().await, "sample-3");
    let (_, output) = up.stop(Signal::TERM);
    assert!(
        output.contains("\nreloaded\n  not in effect before a restart: gateway.access_log\n"),
        "{output}"
    );
}

#[tokio::test]
async fn a_reload_whose_files_hang_keeps_nobody_from_ending_the_gateway() {
    let (samples, _dir, _) = Up::fresh();
    let address = samples.servers()[0].url.strip_prefix("http://").unwrap().to_owned();
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let config = dir.path().join("stayput.toml");
    fs::write(
        &config,
        format!("[[pool]]\nname = \"shop\"\nupstreams = [{{ name = \"a\", address = \"{address}\" }}]\n"),
    )
    .unwrap();
    let up = Up::start(dir.path(), port, &["--config", config.to_str().unwrap()]);
    fs::remove_file(&config).unwrap();
    assert!(Command::new("mkfifo").arg(&config).status().unwrap().success());
    up.signal(Signal::HUP);
    // Opens when somebody reads, who then waits for what never comes.
    let _writer = fs::OpenOptions::new().write(true).open(&config).unwrap();
    // Long enough for a look at the keyring, which comes every second: a shorter time would see less.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(up.browser().get("/server").await.is_ok());
    let (status, output) = up.stop(Signal::TERM);
    assert!(status.success(), "{output}");
}

#[tokio::test]
async fn pools_are_told_apart_by_path() {
    let (samples, _dir, _) = Up::fresh();
    let servers = samples.servers();
    let address = |n: usize| servers[n].url.strip_prefix("http://").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("stayput.toml");
    let text = format!(
        "[[pool]]\nname = \"shop\"\nupstreams = [\"{}\"]\n[[pool]]\nname = \"who\"\npaths = [\"/server\"]\nupstreams = [\"{}\"]\n",
        address(0),
        address(1)
    );
    fs::write(&config, text).unwrap();
    let up = Up::start(dir.path(), free_port(), &["--config", config.to_str().unwrap()]);
    let browser = up.browser();
    assert_eq!(browser.get("/server").await.unwrap().json()["server"], "sample-2");
    let login = browser.post("/login", &[("user", "alice")]).await.unwrap();
    assert_eq!(login.json()["server"], "sample-1");
    assert!(
        browser.cookie("stayput-affinity-shop").is_some() && browser.cookie("stayput-affinity-who").is_some()
    );
    fails(&gateway(dir.path(), &["add", "x", address(2)]), 2, &["--pool shop or --pool who"]);
    succeeds(&gateway(dir.path(), &["add", "x", address(2), "--pool", "who"]));
    fails(
        &run(dir.path(), free_port(), &["--config", config.to_str().unwrap(), "--upstream", "127.0.0.1:1"]),
        2,
        &["--upstream"],
    );
}
