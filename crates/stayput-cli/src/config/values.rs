//! From a TOML value, or a word of the command line, to a setting's type. Errors complete "must be …".

use std::net::SocketAddr;
use std::time::Duration;

use stayput::SameSite;
use stayput_gateway::LogFormat;
use stayput_stores::StoreUrl;
use toml::de::DeValue;

/// An address and port; `localhost` stands for 127.0.0.1.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let parsed = numeric.as_deref().unwrap_or(text).parse();
    parsed.map_err(|_| "an IP address and port, such as 127.0.0.1:8080".to_owned())
}

pub(super) fn socket_addr(value: &DeValue<'_>) -> Result<SocketAddr, String> {
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
    let nonzero = duration(value).ok().filter(|duration| !duration.is_zero());
    nonzero.ok_or_else(|| r#"a duration above zero such as "250ms", "30s" or "15m""#.to_owned())
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

pub(super) fn access_log(value: &DeValue<'_>) -> Result<Option<LogFormat>, String> {
    match value.as_str() {
        Some("off") => Ok(None),
        Some("text") => Ok(Some(LogFormat::Text)),
        Some("json") => Ok(Some(LogFormat::Json)),
        _ => Err(r#""off", "text" or "json""#.to_owned()),
    }
}
