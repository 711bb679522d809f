//! The example behind a real nginx, configured by the `nginx.conf` that users read.

#[path = "../../running.rs"]
mod running;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Client;
use running::Running;
use stayput::{Keyring, SystemRandom};
use stayput_testkit::Browser;
use tempfile::TempDir;

const SERVER: &str = env!("CARGO_BIN_EXE_example-behind-nginx");

#[tokio::test]
async fn sessions_know_the_address_that_nginx_reports_and_believe_no_client() {
    let site = Site::start();
    let client = client_at(Ipv4Addr::new(127, 0, 0, 2));
    let plain = client.get(&site.url).send().await.unwrap().text().await.unwrap();
    assert!(plain.starts_with("a visitor from 127.0.0.2 by http,"), "{plain}");
    // By nginx, and past it.
    for url in [&site.url, &site.servers[0].url] {
        for claimed in ["203.0.113.9", "127.0.0.1", "203.0.113.9, 127.0.0.1"] {
            let request =
                client.get(url).header("x-forwarded-for", claimed).header("x-forwarded-proto", "https");
            let answer = request.send().await.unwrap().text().await.unwrap();
            assert!(answer.starts_with("a visitor from 127.0.0.2 by http,"), "{claimed}: {answer}");
        }
    }
}

#[tokio::test]
async fn sessions_survive_when_one_of_the_servers_is_killed() {
    let mut site = Site::start();
    let browser = Browser::new(&site.url);
    assert_eq!(browser.post("/login", &[("user", "alice")]).await.unwrap().status, 200);
    let mut answered = std::collections::BTreeSet::new();
    for visits in 1..=6 {
        assert_eq!(browser.post("/visits", &[]).await.unwrap().text, format!("{visits} visits\n"));
        let page = browser.get("/").await.unwrap().text;
        answered.insert(page.rsplit(' ').next().unwrap().to_owned());
    }
    assert!(answered.len() > 1, "one server answered all");

    drop(site.servers.remove(0)); // as `kill -9`
    for _ in 0..9 {
        let answer = browser.get("/").await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.text.starts_with("alice from 127.0.0.1 by http, 6 visits"), "{}", answer.text);
    }
    assert_eq!(browser.post("/visits", &[]).await.unwrap().text, "7 visits\n");
}

/// nginx with three servers behind it.
struct Site {
    nginx: Child,
    servers: Vec<Running>,
    url: String,
    /// Outlives what runs in it.
    _directory: TempDir,
}

impl Site {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keyring = Keyring::generate(&SystemRandom).danger_to_text();
        std::fs::write(directory.path().join("keyring"), keyring).unwrap();
        let servers: Vec<_> = (0..3).map(|_| Running::start(SERVER, Some(directory.path()))).collect();
        let address = format!("127.0.0.1:{}", free_port());
        let configuration = directory.path().join("nginx.conf");
        std::fs::write(&configuration, configured(&address, &servers)).unwrap();
        let nginx = start_nginx(directory.path(), &configuration);
        let mut site = Self { nginx, servers, url: format!("http://{address}"), _directory: directory };
        site.wait_until_it_listens(&address);
        site
    }

    fn wait_until_it_listens(&mut self, address: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            assert_eq!(self.nginx.try_wait().unwrap(), None, "nginx ended");
            assert!(Instant::now() < deadline, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(10)); // it doesn't say when it does
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.nginx.kill();
        let _ = self.nginx.wait();
    }
}

/// The `nginx.conf` of the example, at other addresses.
fn configured(address: &str, servers: &[Running]) -> String {
    let mut text = include_str!("../nginx.conf").to_owned();
    let servers = servers.iter().map(|server| server.url.strip_prefix("http://").unwrap());
    let documented = ["127.0.0.1:8080", "127.0.0.1:3001", "127.0.0.1:3002", "127.0.0.1:3003"];
    for (documented, actual) in documented.into_iter().zip(std::iter::once(address).chain(servers)) {
        assert_eq!(text.matches(documented).count(), 1);
        text = text.replace(documented, actual);
    }
    text
}

/// As one process, which a kill ends.
fn start_nginx(directory: &Path, configuration: &Path) -> Child {
    let mut nginx = Command::new("nginx");
    nginx.arg("-p").arg(directory).args(["-e", "stderr"]).arg("-c").arg(configuration);
    nginx.args(["-g", "daemon off; master_process off;"]).stdin(Stdio::null());
    nginx.spawn().expect("nginx is installed; scripts/test does that")
}

/// One below those that the system gives to connections, which could take it before nginx does.
fn free_port() -> u16 {
    let first = std::process::id() * 4;
    let mut ports = (first..first + 2_000).map(|slot| 12_007 + u16::try_from(slot % 1_800).unwrap() * 10);
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a port is free")
}

fn client_at(address: Ipv4Addr) -> Client {
    Client::builder().no_proxy().local_address(std::net::IpAddr::from(address)).build().unwrap()
}
