//! What `up` says to the person who started it.

use std::fmt::Write;
use std::net::SocketAddr;

use stayput_gateway::{ReloadError, Reloaded, UpstreamConfig};
use stayput_stores::StoreUrl;

use super::Settings;
use super::children::Server;
use crate::cli::ReachedBy;
use crate::data_dir::{DataDir, KeyringOrigin};

pub(super) fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// What runs where.
pub(super) fn banner(settings: &Settings, origin: KeyringOrigin, data_dir: &DataDir, url: &str) -> String {
    let samples = settings.runs_samples();
    let whose = if samples { "" } else { "  (checked and swept here; your servers open it themselves)" };
    let made = if origin == KeyringOrigin::Made { "  (new)" } else { "" };
    let cookies = if samples { "cookies" } else { "the affinity cookie" };
    let cookies = match settings.reached_by() {
        ReachedBy::Https => {
            format!("{cookies}: Secure and __Host-, for https, which something in front ends")
        }
        ReachedBy::Loopback => format!("{cookies}: without Secure, as plain http on this machine needs"),
        ReachedBy::PlainHttp => format!("{cookies}: Secure and __Host-{PLAIN_HTTP_WARNING}"),
    };
    format!(
        "Stayput {}\n  gateway   {url}\n  sessions  {}{whose}\n  keyring   {}{made}\n  {cookies}\n",
        env!("CARGO_PKG_VERSION"),
        settings.store,
        data_dir.keyring_path().display(),
    )
}

const PLAIN_HTTP_WARNING: &str = "
  WARNING   this is plain http, and not on loopback: browsers will drop the cookies, so nobody stays logged in.
            Put something in front that ends TLS and set `behind_tls = true` under [gateway],
            or listen on 127.0.0.1.";

/// Where the admin interface is.
pub(super) fn admin(address: Option<SocketAddr>, data_dir: &DataDir) -> String {
    let Some(address) = address else { return String::new() };
    let warning = if address.ip().is_loopback() { "" } else { ADMIN_WARNING };
    let flag = match data_dir.path().to_str() {
        Some("stayput-data") => String::new(),
        _ => format!(" --data-dir {}", data_dir.path().display()),
    };
    format!("  admin  {address}  (stayput gateway status{flag}){warning}\n")
}

const ADMIN_WARNING: &str = "
  WARNING   the admin interface is not on loopback, and speaks plain http: whoever can listen in learns its token.";

/// What came of a reload.
pub(super) fn reloaded(outcome: &Result<Reloaded, ReloadError>) -> String {
    let lines = |what: &str, list: &[String]| {
        list.iter().fold(String::new(), |text, each| text + "  " + what + each + "\n")
    };
    match outcome {
        Ok(Reloaded { undone, needs_restart }) => {
            let undone: Vec<_> = undone.iter().map(ToString::to_string).collect();
            let restart = lines("not in effect before a restart: ", needs_restart);
            format!("reloaded\n{}{restart}", lines("undone: ", &undone))
        }
        Err(ReloadError(mistakes)) => {
            format!("not reloaded, and nothing has changed:\n{}", lines("", mistakes))
        }
    }
}

/// The user's own servers, and whether something listens there.
pub(super) fn own_servers(servers: &[(UpstreamConfig, bool)]) -> String {
    servers.iter().fold(String::new(), |mut text, (server, listens)| {
        let note = if *listens { "" } else { "  WARNING: nothing listens there yet" };
        let name = if server.name == server.address.to_string() { "server" } else { &server.name };
        let _ = writeln!(text, "  {name}  http://{}{note}", server.address);
        text
    })
}

pub(super) fn servers(servers: &[Server]) -> String {
    servers.iter().fold(String::new(), |mut text, Server { name, address, pid }| {
        let _ = writeln!(text, "  {name}  http://{address}  process {}", pid.unwrap_or_default());
        text
    })
}

/// What to try.
pub(super) fn next_steps(settings: &Settings, data_dir: &DataDir, url: &str, servers: &[Server]) -> String {
    let (store, keyring) = (&settings.store, data_dir.keyring_path());
    let first = match servers.first().and_then(|server| server.pid) {
        Some(pid) => format!(
            "Open {url}, log in, then kill a server and reload: you stay logged in.\n       \
             kill -9 {pid}     (the page names the one that answered you)"
        ),
        None => format!("Open {url}: your servers answer, and each browser stays on one of them."),
    };
    let second = if settings.runs_samples() {
        format!(
            "Put the gateway in front of your own servers, without a file:\n       \
             stayput up --upstream 127.0.0.1:3000 --upstream 127.0.0.1:3001 --store {store}"
        )
    } else {
        "Name your servers, so that browsers find them again when an address changes:\n       \
         stayput config default > stayput.toml     (see [[pool]]), then stayput up --config stayput.toml"
            .to_owned()
    };
    format!(
        "
Try this:
  1. {first}
  2. {second}
  3. Add sessions to an axum application (crates `stayput` and `stayput-stores`; the README has it whole):
       let store = stayput_stores::{open}.await?;
       let keyring = stayput::SharedKeyring::from_file(\"{keyring}\")?;
       let sessions = stayput::Sessions::builder(store).keyring(keyring).build()?;
       let app = app.layer(sessions.layer());
Ctrl-C ends it.
",
        open = opening(store),
        keyring = keyring.display(),
    )
}

/// How an application opens the store. A password is left out, for its user to put in.
fn opening(store: &StoreUrl) -> String {
    match store {
        StoreUrl::Redis(_) => format!("RedisStore::connect(\"{store}\")"),
        _ => format!("SqliteStore::open(\"{}\")", store.to_string().trim_start_matches("sqlite:")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn banner_at(listen: &str) -> (Settings, String) {
        let cli = Cli::parse_from(["stayput", "up", "--listen", listen]);
        let Command::Up(args) = cli.command else { panic!("not `up`") };
        let settings = Settings::from_args(args).unwrap();
        let data_dir = DataDir::open(Path::new(".")).unwrap();
        let text = banner(&settings, KeyringOrigin::Made, &data_dir, "http://x");
        (settings, text)
    }

    #[test]
    fn plain_http_beyond_loopback_keeps_cookies_secure_and_warns_that_browsers_drop_them() {
        for listen in ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080"] {
            let (settings, text) = banner_at(listen);
            assert!(settings.secure_cookies() && text.contains("browsers will drop the cookies"), "{text}");
        }
        for listen in ["127.0.0.1:8080", "[::1]:8080", "localhost:8080"] {
            let (settings, text) = banner_at(listen);
            assert!(!settings.secure_cookies() && text.contains("without Secure"), "{text}");
        }
    }
}
