//! Which pool a server is in, where the user didn't say.

use serde_json::Value;

use super::client::Client;
use super::plain;
use crate::cli::ServerArgs;
use crate::failure::Failure;

/// The pool that has the server.
pub(super) async fn pool_of(client: &Client, args: &ServerArgs) -> Result<String, Failure> {
    if let Some(pool) = &args.pool {
        return Ok(pool.clone());
    }
    let pools = pools(&client.ask("GET", "/v1/status", None).await?);
    let having: Vec<_> = pools.iter().filter(|(_, servers)| servers.contains(&args.server)).collect();
    match having.as_slice() {
        [(pool, _)] => Ok(pool.clone()),
        [] => Err(unknown(&args.server, &pools)),
        several => Err(unclear(&args.server, several.iter().map(|(pool, _)| pool.as_str()))),
    }
}

/// The pool that a server is to be added to.
pub(super) async fn pool_for(client: &Client, args: &ServerArgs) -> Result<String, Failure> {
    if let Some(pool) = &args.pool {
        return Ok(pool.clone());
    }
    let pools = pools(&client.ask("GET", "/v1/status", None).await?);
    match pools.as_slice() {
        [(pool, _)] => Ok(pool.clone()),
        several => Err(unclear(&args.server, several.iter().map(|(pool, _)| pool.as_str()))),
    }
}

/// Each pool with the names of its servers.
fn pools(status: &Value) -> Vec<(String, Vec<String>)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let names = |pool: &Value| list(&pool["upstreams"]).iter().map(|server| plain(&server["name"])).collect();
    list(&status["pools"]).iter().map(|pool| (plain(&pool["name"]), names(pool))).collect()
}

fn unknown(server: &str, pools: &[(String, Vec<String>)]) -> Failure {
    let names: Vec<_> = pools.iter().flat_map(|(_, servers)| servers.iter().map(String::as_str)).collect();
    let close = names.iter().min_by_key(|name| strsim::damerau_levenshtein(name, server));
    let way_out = match close.filter(|close| strsim::damerau_levenshtein(close, server) <= 3) {
        Some(close) => format!("did you mean {close}? There is: {}", names.join(", ")),
        None => format!("there is: {}", names.join(", ")),
    };
    Failure::other(format!("no pool has a server {server:?}")).way_out(way_out)
}

fn unclear<'a>(server: &str, pools: impl Iterator<Item = &'a str>) -> Failure {
    let pools: Vec<_> = pools.collect();
    Failure::usage(format!("it is not clear which pool's {server:?} is meant"))
        .way_out(format!("say --pool {}", pools.join(" or --pool ")))
}
