//! How servers that fail are found, and what becomes of their clients.

use stayput_gateway::{Check, CheckKind, HealthConfig, OnReturn};
use toml::de::DeValue;

use crate::config::reader::{Reader, Section};
use crate::config::values;

/// `[pool.health]`, `[pool.check]` and `pool.on_return`.
#[derive(Clone, Debug, Default)]
pub(super) struct HealthSettings {
    pub(super) health: HealthConfig,
    pub(super) on_return: OnReturn,
}

impl HealthSettings {
    pub(super) fn read<'i>(&mut self, reader: &mut Reader<'i>, pool: &mut Section<'i>) {
        pool.read(reader, "on_return", &mut self.on_return, on_return);
        let (health, mut section) = (&mut self.health, pool.section(reader, "health"));
        section.read(reader, "failures", &mut health.failures, failures);
        section.read(reader, "gateway_errors", &mut health.gateway_errors, values::boolean);
        section.read(reader, "ejection", &mut health.ejection, values::some_duration);
        section.read(reader, "silence", &mut health.silence, silence);
        section.read(reader, "floor", &mut health.floor, percent);
        section.finish(reader);
        let section = pool.section(reader, "check");
        if section.is_there() {
            health.check = Some(read_check(reader, section));
        }
    }
}

fn read_check<'i>(reader: &mut Reader<'i>, mut section: Section<'i>) -> Check {
    let (mut check, mut is_http) = (Check::tcp(), true);
    section.read(reader, "kind", &mut is_http, |value| match value.as_str() {
        Some("http") => Ok(true),
        Some("tcp") => Ok(false),
        _ => Err(r#""http" or "tcp""#.to_owned()),
    });
    section.read(reader, "interval", &mut check.interval, |value| {
        let fine = values::some_duration(value).ok().filter(|duration| duration.as_millis() >= 10);
        fine.ok_or_else(|| r#"a duration such as "5s", from 10 ms to a day"#.to_owned())
    });
    section.read(reader, "timeout", &mut check.timeout, values::some_duration);
    section.read(reader, "rise", &mut check.rise, times);
    section.read(reader, "fall", &mut check.fall, times);
    if is_http {
        let (mut path, mut host, mut statuses) = ("/".to_owned(), None, 200..=399);
        section.read(reader, "path", &mut path, |value| {
            let fine = value.as_str().filter(|path| path.starts_with('/') && is_visible(path));
            fine.map(str::to_owned).ok_or_else(|| r#"a path such as "/health""#.to_owned())
        });
        section.read(reader, "host", &mut host, |value| {
            let fine = value.as_str().filter(|host| !host.is_empty() && is_visible(host));
            fine.map(|host| Some(host.to_owned()))
                .ok_or_else(|| r#"a host such as "shop.example""#.to_owned())
        });
        section.read(reader, "statuses", &mut statuses, |value| {
            let parts = value.as_str().and_then(|text| text.split_once('-').or(Some((text, text))));
            let range = parts.and_then(|(low, high)| Some(low.parse().ok()?..=high.parse().ok()?));
            let fine =
                range.filter(|its| 200 <= *its.start() && its.start() <= its.end() && *its.end() <= 599);
            fine.ok_or_else(|| r#"a status or a range of them, such as "200" or "200-399""#.to_owned())
        });
        check.kind = CheckKind::Http { path, host, statuses };
    }
    section.finish(reader);
    check
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn on_return(value: &DeValue<'_>) -> Result<OnReturn, String> {
    match value.as_str() {
        Some("stay") => Ok(OnReturn::Stay),
        Some("back") => Ok(OnReturn::Back),
        _ => Err(r#""stay" or "back""#.to_owned()),
    }
}

fn failures(value: &DeValue<'_>) -> Result<Option<u32>, String> {
    if value.as_str() == Some("off") {
        return Ok(None);
    }
    times(value).map(Some).map_err(|expected| format!(r#""off", or {expected}"#))
}

fn silence(value: &DeValue<'_>) -> Result<Option<std::time::Duration>, String> {
    if value.as_str() == Some("off") {
        return Ok(None);
    }
    let fine = values::some_duration(value).ok().filter(|duration| duration.as_secs() >= 1);
    fine.map(Some).ok_or_else(|| r#""off", or a duration such as "10s" from 1 s to a day"#.to_owned())
}

fn percent(value: &DeValue<'_>) -> Result<u8, String> {
    let percent = values::within(0, 100)(value).map_err(|expected| format!("{expected}, in percent"))?;
    Ok(u8::try_from(percent).expect("it is at most 100"))
}

fn times(value: &DeValue<'_>) -> Result<u32, String> {
    let times = values::within(1, 10_000)(value)?;
    Ok(u32::try_from(times).expect("it is at most 10,000"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stayput_gateway::{CheckKind, OnReturn, PoolConfig};

    use crate::config::Config;

    fn parse(rest: &str) -> Result<PoolConfig, String> {
        let config = Config::parse(&format!("[[pool]]\nupstreams = [\"127.0.0.1:1\"]\n{rest}"));
        let names = ["a", "b"].map(str::to_owned);
        config
            .map(|config| config.pools[0].pool(false, &names))
            .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn a_pool_is_told_how_to_find_who_fails() {
        let pool = parse(
            "on_return = \"back\"\n[pool.health]\nfailures = \"off\"\ngateway_errors = true\nejection = \"3s\"\n\
             silence = \"off\"\nfloor = 50\n[pool.check]\npath = \"/up?deep\"\nhost = \"a.example\"\n\
             statuses = \"204\"\ninterval = \"1s\"\ntimeout = \"200ms\"\nrise = 1\nfall = 4",
        )
        .unwrap();
        let health = pool.health;
        assert_eq!((pool.on_return, health.failures, health.gateway_errors), (OnReturn::Back, None, true));
        assert_eq!((health.ejection, health.silence, health.floor), (Duration::from_secs(3), None, 50));
        let check = health.check.unwrap();
        assert_eq!((check.interval, check.timeout), (Duration::from_secs(1), Duration::from_millis(200)));
        assert_eq!((check.rise, check.fall), (1, 4));
        let (path, host) = ("/up?deep".to_owned(), Some("a.example".to_owned()));
        assert_eq!(check.kind, CheckKind::Http { path, host, statuses: 204..=204 });
        let tcp = parse("[pool.check]\nkind = \"tcp\"").unwrap().health.check.unwrap();
        assert_eq!(tcp.kind, CheckKind::Tcp);
        assert!(parse("").unwrap().health.check.is_none());
    }

    #[test]
    fn every_mistake_has_its_place_and_the_way_out() {
        for (rest, mistake) in [
            ("on_return = \"later\"", "3:13: `pool.on_return` must be \"stay\" or \"back\""),
            ("[pool.health]\nfloor = 101", "4:9: `pool.health.floor` must be a whole number from 0 to 100"),
            (
                "[pool.health]\nfailures = 0",
                "4:12: `pool.health.failures` must be \"off\", or a whole number from 1",
            ),
            (
                "[pool.health]\nsilence = \"10ms\"",
                "4:11: `pool.health.silence` must be \"off\", or a duration",
            ),
            ("[pool.check]\nkind = \"ping\"", "4:8: `pool.check.kind` must be \"http\" or \"tcp\""),
            ("[pool.check]\npath = \"health\"", "4:8: `pool.check.path` must be a path such as \"/health\""),
            ("[pool.check]\npath = \"/a b\"", "4:8: `pool.check.path` must be a path such as \"/health\""),
            (
                "[pool.check]\nstatuses = \"399-200\"",
                "4:12: `pool.check.statuses` must be a status or a range",
            ),
            (
                "[pool.check]\ninterval = \"1ms\"",
                "4:12: `pool.check.interval` must be a duration such as \"5s\"",
            ),
            ("[pool.check]\nkind = \"tcp\"\npath = \"/\"", "5:1: no setting is called `pool.check.path`"),
        ] {
            let mistakes = parse(rest).unwrap_err();
            assert!(mistakes.starts_with(mistake) && mistakes.lines().count() == 1, "{rest}: {mistakes}");
        }
    }
}
