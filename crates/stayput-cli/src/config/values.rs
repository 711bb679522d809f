//! From a TOML value, or a word of the command line, to a setting's type. Errors complete "must be …".

use std::net::SocketAddr;
use std::time::Duration;

use stayput::{Activity, OnWiped, Outage, Overflow, Policy, SameSite};
use stayput_gateway::LogFormat;
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

/// The address of a server.
pub(crate) fn server(text: &str) -> Result<SocketAddr, String> {
    match address(text)? {
        address if address.port() == 0 => Err("an address with a port above 0".to_owned()),
        address => Ok(address),
    }
}

/// A number between two others.
pub(super) fn within(least: usize, most: usize) -> impl Fn(&DeValue<'_>) -> Result<usize, String> {
    move |value| {
        let fine = count(value).ok().filter(|count| (least..=most).contains(count));
        fine.ok_or_else(|| format!("a whole number from {least} to {most}"))
    }
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

pub(super) fn on_wiped(value: &DeValue<'_>) -> Result<OnWiped, String> {
    match value.as_str() {
        Some("log_out") => Ok(OnWiped::LogOut),
        Some("restore") => Ok(OnWiped::Restore),
        _ => Err(r#""log_out" or "restore""#.to_owned()),
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
