//! From a TOML value, or a word of the command line, to a setting's type. Errors complete "must be …".

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use stayput::{Activity, OnWiped, Outage, Overflow, Policy, RecordFormat, SameSite};
use stayput_gateway::{BadAddress, LogFormat, PoolConfig, RequestIds, Rule, SessionFormat, UpstreamAddress};
use stayput_stores::StoreUrl;
use toml::de::DeValue;

/// An address to listen on; `localhost` stands for 127.0.0.1.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    numeric.as_deref().unwrap_or(text).parse().map_err(|_| {
        let hint = if text.contains("://") { "; leave the scheme out" } else { "" };
        format!("an IP address (or localhost) and a port, such as 127.0.0.1:3000{hint}")
    })
}

/// The address of a server, or its name; `localhost` stands for 127.0.0.1.
pub(crate) fn server(text: &str) -> Result<UpstreamAddress, String> {
    let known = address(text).map(UpstreamAddress::Socket);
    match known.or_else(|_| text.parse()) {
        Ok(UpstreamAddress::Name { port: 0, .. }) => Err("a name with a port above 0".to_owned()),
        Ok(address) if address.socket().is_some_and(|socket| socket.port() == 0) => {
            Err("an address with a port above 0".to_owned())
        }
        Ok(address) => Ok(address),
        Err(BadAddress) => {
            let hint = if text.contains("://") { "; leave the scheme out" } else { "" };
            Err(format!(
                "an IP address or a name, and a port, such as 127.0.0.1:3000 or app.internal:3000{hint}"
            ))
        }
    }
}

/// Where the admin interface listens; `None` if nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdminListen(pub(crate) Option<SocketAddr>);

impl Default for AdminListen {
    /// On loopback, on any free port.
    fn default() -> Self {
        Self(Some(SocketAddr::from(([127, 0, 0, 1], 0))))
    }
}

/// An address for the admin interface, or `off`.
pub(crate) fn admin(text: &str) -> Result<AdminListen, String> {
    let listen = if text == "off" { Ok(None) } else { address(text).map(Some) };
    listen.map(AdminListen).map_err(|expected| format!(r#""off", or {expected}"#))
}

pub(super) fn admin_listen(value: &DeValue<'_>) -> Result<AdminListen, String> {
    admin(value.as_str().unwrap_or_default())
}

/// A number between two others.
pub(super) fn within(least: usize, most: usize) -> impl Fn(&DeValue<'_>) -> Result<usize, String> {
    move |value| {
        let fine = count(value).ok().filter(|count| (least..=most).contains(count));
        fine.ok_or_else(|| format!("a whole number from {least} to {most}"))
    }
}

/// A whole number up to this one.
pub(super) fn whole(most: u32) -> impl Fn(&DeValue<'_>) -> Result<u32, String> {
    let within = within(0, usize::try_from(most).unwrap_or(usize::MAX));
    move |value| Ok(u32::try_from(within(value)?).unwrap_or(most))
}

/// A pool's own limit: "off" is a number, too, since nothing stands for that of all pools.
pub(super) fn own_body_bytes(value: &DeValue<'_>) -> Result<Option<u64>, String> {
    body_bytes(value).map(|bytes| bytes.or(Some(u64::MAX)))
}

pub(super) fn body_bytes(value: &DeValue<'_>) -> Result<Option<u64>, String> {
    if value.as_str() == Some("off") {
        return Ok(None);
    }
    let bytes = count(value).ok().and_then(|bytes| u64::try_from(bytes).ok());
    bytes.map(Some).ok_or_else(|| r#""off", or a whole number of bytes"#.to_owned())
}

pub(super) fn listen(value: &DeValue<'_>) -> Result<SocketAddr, String> {
    address(value.as_str().unwrap_or_default())
}

pub(super) fn string(value: &DeValue<'_>) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "a text in quotes".to_owned())
}

pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "true or false".to_owned())
}

pub(super) fn count(value: &DeValue<'_>) -> Result<usize, String> {
    let digits = value.as_integer().filter(|integer| integer.radix() == 10).map(toml::de::DeInteger::as_str);
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| "a whole number, 0 or more".to_owned())
}

pub(super) fn duration(value: &DeValue<'_>) -> Result<Duration, String> {
    let parsed = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
    parsed.ok_or_else(|| r#"a duration such as "250ms", "30s", "15m" or "12h""#.to_owned())
}

pub(super) fn some_duration(value: &DeValue<'_>) -> Result<Duration, String> {
    let fine = duration(value).ok().filter(|duration| !duration.is_zero() && *duration <= LONGEST);
    fine.ok_or_else(|| {
        r#"a duration such as "250ms", "30s" or "15m", above zero and at most a day"#.to_owned()
    })
}

/// A timeout that there need not be.
pub(super) fn pin_timeout(value: &DeValue<'_>) -> Result<Option<Duration>, String> {
    if value.as_str() == Some("off") {
        return Ok(None);
    }
    let fine = duration(value).ok().filter(|duration| (SHORTEST_PIN..=LONGEST_PIN).contains(duration));
    fine.map(Some)
        .ok_or_else(|| r#""off", or a duration such as "30m" or "12h" from 10 s to 400 days"#.to_owned())
}

pub(super) fn slow_start(value: &DeValue<'_>) -> Result<Duration, String> {
    let fine = duration(value).ok().filter(|duration| *duration <= LONGEST);
    fine.ok_or_else(|| r#"a duration such as "10s", at most a day; "0s" for none"#.to_owned())
}

/// Addresses and networks of proxies.
pub(super) fn networks(value: &DeValue<'_>) -> Result<Vec<IpNet>, String> {
    let network = |text: &str| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let all = texts(value).and_then(|texts| texts.iter().map(|text| network(text)).collect::<Option<_>>());
    all.ok_or_else(|| {
        r#"a list of addresses and networks such as ["10.0.0.0/8", "127.0.0.1", "fd00::/8"]"#.to_owned()
    })
}

/// By which the admin interface and metrics know a pool, and its affinity cookie's name ends.
pub(super) fn pool_name(value: &DeValue<'_>) -> Result<String, String> {
    let name = value.as_str().filter(|name| (1..=64).contains(&name.len()) && name.bytes().all(is_plain));
    name.map(str::to_owned).ok_or_else(|| "a name of at most 64 letters, digits and -._".to_owned())
}

/// An affinity cookie's name, to which `__Host-` may be added.
pub(super) fn affinity_cookie(value: &DeValue<'_>) -> Result<String, String> {
    let name = string(value)?;
    let fine = !name.is_empty() && !name.starts_with("__") && name.bytes().all(is_plain);
    let expected = || "a name of letters, digits and -._ that does not begin with __".to_owned();
    if fine { Ok(name) } else { Err(expected()) }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

pub(super) fn hosts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let fine = texts(value).filter(|hosts| hosts.iter().all(|host| PoolConfig::takes_host(host)));
    fine.ok_or_else(|| {
        r#"a list of hosts without ports, such as ["shop.example", "*.shop.example"]"#.to_owned()
    })
}

pub(super) fn paths(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let fine = texts(value).filter(|paths| paths.iter().all(|path| PoolConfig::takes_path(path)));
    fine.ok_or_else(|| r#"a list of what paths begin with, such as ["/api", "/shop"]"#.to_owned())
}

pub(super) fn cookie_names(value: &DeValue<'_>) -> Result<Option<Vec<String>>, String> {
    let is_name = |name: &String| !name.is_empty() && name.bytes().all(is_token);
    let fine = texts(value).filter(|names| !names.is_empty() && names.iter().all(is_name));
    fine.map(Some).ok_or_else(|| {
        r#"a list of at least one cookie's name as browsers send it, such as ["JSESSIONID"]"#.to_owned()
    })
}

/// Names of fields that the gateway may take off.
pub(super) fn field_names(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let fine = texts(value).filter(|names| names.iter().all(|name| Rule::takes_header(name)));
    fine.ok_or_else(|| r#"a list of fields of the application's own, such as ["Remote-User"]"#.to_owned())
}

pub(super) fn session_format(value: &DeValue<'_>) -> Result<SessionFormat, String> {
    match value.as_str() {
        Some("stayput") => Ok(SessionFormat::Stayput),
        Some("whole") => Ok(SessionFormat::Whole),
        _ => Err(r#""stayput" (the session id in Stayput's cookies) or "whole" (all of anybody else's)"#
            .to_owned()),
    }
}

fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
}

/// Names of fields and cookies (RFC 9110, 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

pub(super) fn store_url(value: &DeValue<'_>) -> Result<StoreUrl, String> {
    let text = value.as_str().ok_or_else(|| "a store URL in quotes".to_owned())?;
    text.parse().map_err(|error| format!("a store URL: {error}"))
}

pub(super) fn same_site(value: &DeValue<'_>) -> Result<SameSite, String> {
    match value.as_str() {
        Some("strict") => Ok(SameSite::Strict),
        Some("lax") => Ok(SameSite::Lax),
        Some("none") => Ok(SameSite::None),
        _ => Err(r#""strict", "lax" or "none""#.to_owned()),
    }
}

pub(super) fn preset(value: &DeValue<'_>) -> Result<Policy, String> {
    match value.as_str() {
        Some("web") => Ok(Policy::web()),
        Some("bank-aal2") => Ok(Policy::bank_aal2()),
        Some("bank-aal3") => Ok(Policy::bank_aal3()),
        Some("internal") => Ok(Policy::internal()),
        _ => Err(r#""web", "bank-aal2", "bank-aal3" or "internal""#.to_owned()),
    }
}

pub(super) fn overflow(value: &DeValue<'_>) -> Result<Overflow, String> {
    match value.as_str() {
        Some("end-oldest") => Ok(Overflow::EndOldest),
        Some("reject") => Ok(Overflow::Reject),
        _ => Err(r#""end-oldest" or "reject""#.to_owned()),
    }
}

pub(super) fn activity(value: &DeValue<'_>) -> Result<Activity, String> {
    match value.as_str() {
        Some("session") => Ok(Activity::Session),
        Some("any") => Ok(Activity::Any),
        _ => Err(r#""session" or "any""#.to_owned()),
    }
}

pub(super) fn outage(value: &DeValue<'_>) -> Result<Outage, String> {
    match value.as_str() {
        Some("refuse") => Ok(Outage::Refuse),
        Some("read_only") => Ok(Outage::ReadOnly),
        Some("lifeboat") => Ok(Outage::Lifeboat),
        _ => Err(r#""refuse", "read_only" or "lifeboat""#.to_owned()),
    }
}

pub(super) fn record_format(value: &DeValue<'_>) -> Result<RecordFormat, String> {
    let number = count(value).ok().and_then(|number| u8::try_from(number).ok());
    let format = number.and_then(|number| RecordFormat::from_number(number).ok());
    format.ok_or_else(|| format!("the number of a format, from 1 to {}", RecordFormat::NEWEST.number()))
}

pub(super) fn on_wiped(value: &DeValue<'_>) -> Result<OnWiped, String> {
    match value.as_str() {
        Some("log_out") => Ok(OnWiped::LogOut),
        Some("restore") => Ok(OnWiped::Restore),
        _ => Err(r#""log_out" or "restore""#.to_owned()),
    }
}

pub(super) fn request_ids(value: &DeValue<'_>) -> Result<RequestIds, String> {
    match value.as_str() {
        Some("off") => Ok(RequestIds::Off),
        Some("forward") => Ok(RequestIds::Forward),
        Some("return") => Ok(RequestIds::Return),
        _ => Err(r#""off", "forward" or "return""#.to_owned()),
    }
}

pub(super) fn access_log(value: &DeValue<'_>) -> Result<Option<LogFormat>, String> {
    match value.as_str() {
        Some("off") => Ok(None),
        Some("text") => Ok(Some(LogFormat::Text)),
        Some("json") => Ok(Some(LogFormat::Json)),
        _ => Err(r#""off", "text" or "json""#.to_owned()),
    }
}

const LONGEST: Duration = Duration::from_hours(24);
const SHORTEST_PIN: Duration = Duration::from_secs(10);
/// As long as browsers keep a cookie.
const LONGEST_PIN: Duration = Duration::from_hours(400 * 24);
