//! The servers of a pool, each by an address or a table of its own.

use stayput_gateway::UpstreamConfig;
use toml::Spanned;
use toml::de::DeValue;

use crate::config::reader::Reader;
use crate::config::values;

/// Reads `pool.upstreams`: addresses, or tables with `name`, `address` and `weight`.
pub(super) fn read<'i>(reader: &mut Reader<'i>, list: Spanned<DeValue<'i>>) -> Vec<UpstreamConfig> {
    let place = list.span();
    let items = match list.into_inner() {
        DeValue::Array(items) if items.iter().next().is_some() => items,
        _ => {
            reader.mistake(place, "`pool.upstreams` must be a list of at least one address");
            return Vec::new();
        }
    };
    let mut upstreams: Vec<UpstreamConfig> = Vec::new();
    for item in items {
        let place = item.span();
        match read_upstream(item.get_ref()) {
            Err(message) => reader.mistake(place, message),
            Ok(upstream) if upstreams.iter().any(|earlier| earlier.name == upstream.name) => {
                reader.mistake(place, format!("two upstreams are named {:?}", upstream.name));
            }
            Ok(upstream) => upstreams.push(upstream),
        }
    }
    upstreams
}

fn read_upstream(item: &DeValue<'_>) -> Result<UpstreamConfig, String> {
    let server =
        |text: &str| values::server(text).map_err(|expected| format!("an upstream must be {expected}"));
    let Some(table) = item.as_table() else {
        let address = server(item.as_str().unwrap_or_default())?;
        return Ok(UpstreamConfig::new(address.to_string(), address));
    };
    if let Some(key) =
        table.keys().find(|key| !["name", "address", "weight"].contains(&key.get_ref().as_ref()))
    {
        return Err(format!("an upstream has `name`, `address` and `weight`, but no `{}`", key.get_ref()));
    }
    let text = |key| table.get(key).and_then(|value| value.get_ref().as_str()).unwrap_or_default();
    let (name, address) = (text("name"), server(text("address"))?);
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err("an upstream's `name` must be a text of at least one character".to_owned());
    }
    let most = usize::from(UpstreamConfig::MOST_WEIGHT);
    let weight = table.get("weight").map_or(Ok(1), |value| values::within(1, most)(value.get_ref()));
    let weight = weight.map_err(|expected| format!("an upstream's `weight` must be {expected}"))?;
    let weight = u16::try_from(weight).expect("it is within the limits");
    Ok(UpstreamConfig { weight, ..UpstreamConfig::new(name, address) })
}
