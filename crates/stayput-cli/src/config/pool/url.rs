//! `[pool.url]`: the parameter by which clients without cookies are kept on their server.

use stayput_gateway::{UrlPlace, UrlRule};
use toml::de::DeValue;

use crate::config::reader::{Reader, Section};
use crate::config::values;

/// Reads the settings of the rule `url`.
pub(super) fn read<'i>(reader: &mut Reader<'i>, mut section: Section<'i>, rule: &mut UrlRule) {
    section.read(reader, "parameter", &mut rule.parameter, parameter);
    section.read(reader, "in", &mut rule.place, place);
    section.read(reader, "html", &mut rule.html, values::boolean);
    let is_idle_said = section.has("idle_timeout");
    let idle = section.read(reader, "idle_timeout", &mut rule.idle_timeout, values::pin_timeout);
    section.read(reader, "absolute_timeout", &mut rule.absolute_timeout, values::pin_timeout);
    if let (Some(idle_timeout), Some(absolute)) = (rule.idle_timeout, rule.absolute_timeout)
        && idle_timeout > absolute
    {
        if is_idle_said {
            reader.mistake(idle, "`pool.url.idle_timeout` must not exceed `absolute_timeout`");
        }
        rule.idle_timeout = Some(absolute);
    }
    section.finish(reader);
}

fn parameter(value: &DeValue<'_>) -> Result<String, String> {
    let fine = value.as_str().filter(|name| UrlRule::takes_parameter(name));
    fine.map(str::to_owned).ok_or_else(|| "a name of 1 to 64 letters, digits, -, ., _ or ~".to_owned())
}

fn place(value: &DeValue<'_>) -> Result<UrlPlace, String> {
    match value.as_str() {
        Some("query") => Ok(UrlPlace::Query),
        Some("path") => Ok(UrlPlace::Path),
        _ => Err(r#""query" (/cart?stayput-route=…) or "path" (/cart;stayput-route=…)"#.to_owned()),
    }
}
