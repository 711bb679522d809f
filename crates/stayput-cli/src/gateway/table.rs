//! `status` for people: a line a server, in columns.

use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;

use super::plain;

pub(super) fn of(status: &Value) -> String {
    let uptime = Duration::from_secs(status["uptime_seconds"].as_u64().unwrap_or_default());
    let mut text = format!(
        "gateway on {}, up {}, version {}\n",
        plain(&status["listen"]),
        humantime::format_duration(uptime),
        plain(&status["version"])
    );
    for pool in status["pools"].as_array().into_iter().flatten() {
        let place = [&pool["hosts"], &pool["paths"]].map(list);
        let place =
            place.iter().filter(|its| !its.is_empty()).fold(String::new(), |text, its| text + "  " + its);
        let _ = write!(text, "\npool {}{place}\n{}", plain(&pool["name"]), servers(&pool["upstreams"]));
    }
    text
}

fn list(values: &Value) -> String {
    let all: Vec<_> = values.as_array().into_iter().flatten().map(plain).collect();
    all.join(" ")
}

/// An address, or a name with what it stands for.
fn address(upstream: &Value) -> String {
    let (address, all) = (plain(&upstream["address"]), list(&upstream["addresses"]));
    match upstream["addresses"].as_array() {
        Some(_) if all.is_empty() => format!("{address} (unknown)"),
        Some(_) if all != address => format!("{address} ({all})"),
        _ => address,
    }
}

fn servers(upstreams: &Value) -> String {
    let head = ["server", "address", "weight", "state", "in flight", "requests", "retries", "pins", "remaps"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(upstreams.as_array().into_iter().flatten().map(|its| {
        let number = |key: &str| plain(&its[key]);
        let (name, address) = (plain(&its["name"]), address(its));
        [
            name,
            address,
            number("weight"),
            state(its),
            number("in_flight"),
            number("requests"),
            number("retries"),
            number("pins"),
            number("remaps"),
        ]
    }));
    let widths: Vec<_> = (0..head.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    rows.iter().fold(String::new(), |mut text, row| {
        let cells = row.iter().zip(&widths).enumerate();
        let line: String = cells
            .map(|(column, (cell, &width))| match column {
                0 | 1 | 3 => format!("  {cell:width$}"),
                _ => format!("  {cell:>width$}"),
            })
            .collect();
        let _ = writeln!(text, "{}", line.trim_end());
        text
    })
}

fn state(upstream: &Value) -> String {
    let up = match upstream["ejected_for_seconds"].as_u64() {
        _ if upstream["up"] != true => "down".to_owned(),
        Some(left) => format!("ejected for {}", humantime::format_duration(Duration::from_secs(left))),
        None if upstream["check"]["passing"] == false => {
            let kept = if upstream["out"] == true { "" } else { ", used all the same" };
            format!("check fails{kept}: {}", plain(&upstream["check"]["why"]))
        }
        None if upstream["out"] == true => "out".to_owned(),
        None => "up".to_owned(),
    };
    match (upstream["draining"] == true, upstream["drains_for_seconds"].as_u64()) {
        (false, _) => up,
        (true, None) => format!("{up}, draining"),
        (true, Some(left)) => {
            format!("{up}, draining for {}", humantime::format_duration(Duration::from_secs(left)))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_says_why_a_server_gets_no_requests() {
        let check = |out, why| json!({"up": true, "out": out, "check": {"passing": false, "why": why}});
        assert_eq!(state(&check(true, "it answered 500")), "check fails: it answered 500");
        assert_eq!(state(&check(false, "late")), "check fails, used all the same: late");
        let passing = json!({"passing": true, "why": null});
        let ejected = json!({"up": true, "out": true, "check": passing, "ejected_for_seconds": 9});
        assert_eq!(state(&ejected), "ejected for 9s");
        assert_eq!(state(&json!({"up": true, "out": true, "check": null})), "out");
        assert_eq!(state(&json!({"up": true, "out": false, "check": passing})), "up");
    }

    #[test]
    fn a_name_is_shown_with_what_it_stands_for() {
        let shown = |all: &[&str]| address(&json!({"address": "app:80", "addresses": all}));
        assert_eq!(shown(&["10.0.0.1:80", "10.0.0.2:80"]), "app:80 (10.0.0.1:80 10.0.0.2:80)");
        assert_eq!(shown(&[]), "app:80 (unknown)");
        assert_eq!(address(&json!({"address": "10.0.0.1:80", "addresses": ["10.0.0.1:80"]})), "10.0.0.1:80");
    }

    #[test]
    fn columns_are_aligned_and_say_who_drains() {
        let server = |name: &str, up: bool, draining: bool, left: Option<u64>| {
            json!({"name": name, "address": "10.0.0.1:3000", "weight": 1, "up": up, "draining": draining,
                   "drains_for_seconds": left, "in_flight": 3, "requests": 12345, "retries": 0, "pins": 7, "remaps": 0})
        };
        let status = json!({"listen": "127.0.0.1:8080", "uptime_seconds": 61, "version": "1", "pools": [
            {"name": "shop", "hosts": ["shop.example"], "paths": [], "upstreams": [
                server("a", true, false, None), server("longer", false, true, Some(90)),
            ]},
        ]});
        assert_eq!(
            of(&status),
            "gateway on 127.0.0.1:8080, up 1m 1s, version 1\n\npool shop  shop.example\n  \
             server  address        weight  state                      in flight  requests  retries  pins  remaps\n  \
             a       10.0.0.1:3000       1  up                                 3     12345        0     7       0\n  \
             longer  10.0.0.1:3000       1  down, draining for 1m 30s          3     12345        0     7       0\n"
        );
    }
}
