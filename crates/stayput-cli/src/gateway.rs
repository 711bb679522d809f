//! `stayput gateway`: what a running gateway is asked for through its admin interface.
//!
//! It decides nothing: the gateway does, and what it refuses is passed on with its reasons.

mod client;
mod table;
mod whom;

use serde_json::{Value, json};

use self::client::{Client, encoded};
use crate::cli::{AdminArgs, GatewayCommand, ServerArgs};
use crate::failure::Failure;

pub(crate) async fn run(command: GatewayCommand) -> Result<(), Failure> {
    match command {
        GatewayCommand::Status { json, admin } => status(json, &admin).await,
        GatewayCommand::Drain { server, limit, admin } => {
            let seconds = limit.map(|limit| limit.as_secs());
            let change = json!({"draining": true, "deadline_seconds": seconds});
            let until =
                limit.map(|limit| format!("; its clients move in {}", humantime::format_duration(limit)));
            let said = format!("gets no new clients{}", until.unwrap_or_default());
            patch(&admin, &server, &change, &said).await
        }
        GatewayCommand::Undrain { server, admin } => {
            patch(&admin, &server, &json!({"draining": false}), "gets clients as ever").await
        }
        GatewayCommand::Weight { server, weight, admin } => {
            patch(&admin, &server, &json!({"weight": weight}), &format!("has weight {weight}")).await
        }
        GatewayCommand::Add { server, address, weight, admin } => {
            add(&admin, &server, &address, weight).await
        }
        GatewayCommand::Remove { server, admin } => remove(&admin, &server).await,
        GatewayCommand::Reload { admin } => reload(&admin).await,
    }
}

async fn status(as_json: bool, admin: &AdminArgs) -> Result<(), Failure> {
    let status = Client::new(admin)?.ask("GET", "/v1/status", None).await?;
    if as_json {
        println!("{status:#}");
    } else {
        print!("{}", table::of(&status));
    }
    Ok(())
}

async fn patch(admin: &AdminArgs, server: &ServerArgs, change: &Value, said: &str) -> Result<(), Failure> {
    let client = Client::new(admin)?;
    let pool = whom::pool_of(&client, server).await?;
    client.ask("PATCH", &path(&pool, server), Some(change)).await?;
    println!("{} {said}", server.server);
    Ok(())
}

async fn add(
    admin: &AdminArgs,
    server: &ServerArgs,
    address: &str,
    weight: Option<u16>,
) -> Result<(), Failure> {
    let client = Client::new(admin)?;
    let pool = whom::pool_for(&client, server).await?;
    let wanted = json!({"address": address, "weight": weight});
    let added = client.ask("PUT", &path(&pool, server), Some(&wanted)).await?;
    println!(
        "{} is in the pool {pool}, at {}, with weight {}",
        server.server,
        plain(&added["address"]),
        added["weight"]
    );
    println!("  -> write it into the configuration, too: a reload takes away what is not there");
    Ok(())
}

async fn remove(admin: &AdminArgs, server: &ServerArgs) -> Result<(), Failure> {
    let client = Client::new(admin)?;
    let pool = whom::pool_of(&client, server).await?;
    let last = client.ask("DELETE", &path(&pool, server), None).await?;
    println!(
        "{} is gone from the pool {pool}; {} requests in flight finish",
        server.server, last["in_flight"]
    );
    println!("  -> take it out of the configuration, too: a reload brings back what is there");
    Ok(())
}

async fn reload(admin: &AdminArgs) -> Result<(), Failure> {
    let done = Client::new(admin)?.ask("POST", "/v1/reload", None).await?;
    println!("reloaded");
    let list = |key: &str| done[key].as_array().cloned().unwrap_or_default();
    for undone in list("undone") {
        println!("  undone: {}", plain(&undone));
    }
    for setting in list("needs_restart") {
        println!("  not in effect before a restart: {}", plain(&setting));
    }
    Ok(())
}

fn path(pool: &str, server: &ServerArgs) -> String {
    format!("/v1/pools/{}/upstreams/{}", encoded(pool), encoded(&server.server))
}

/// A text without its quotes; anything else as JSON writes it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
