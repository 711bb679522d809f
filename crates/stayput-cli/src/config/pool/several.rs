//! All `[[pool]]`s together: what they can't have in common is the gateway's to say; here it gets its place.

use stayput_gateway::{ConfigMistake, SiteConfig};
use toml::Spanned;
use toml::de::DeValue;

use super::{Places, PoolSettings};
use crate::config::reader::{Reader, Section};

/// Reads all pools. Of several each has an affinity cookie of its own, which begins with `affinity_cookie`.
pub(in crate::config) fn read<'i>(
    reader: &mut Reader<'i>,
    pools: Spanned<DeValue<'i>>,
    affinity_cookie: &str,
) -> Vec<(PoolSettings, Places)> {
    const BRACKETS: &str = "a pool is written [[pool]], with double brackets";
    let place = pools.span();
    let DeValue::Array(pools) = pools.into_inner() else {
        reader.mistake(place, BRACKETS);
        return Vec::new();
    };
    let is_only = pools.len() == 1;
    let mut read = Vec::new();
    for pool in pools {
        let place = pool.span();
        let DeValue::Table(pool) = pool.into_inner() else {
            reader.mistake(place, BRACKETS);
            continue;
        };
        let mut settings = PoolSettings::new(affinity_cookie);
        let places = settings.read(reader, Section::listed("pool", place, pool), is_only);
        read.push((settings, places));
    }
    clashes(reader, &read);
    read
}

fn clashes(reader: &mut Reader<'_>, pools: &[(PoolSettings, Places)]) {
    let sessions = [String::new(), String::new()];
    let configs = pools.iter().map(|(settings, _)| settings.pool(false, &sessions)).collect();
    // The one that comes later is to blame.
    let last = |name: &String| pools.iter().rev().find(|(settings, _)| settings.name == *name);
    for mistake in SiteConfig::new(configs).mistakes(None) {
        let (name, setting) = match &mistake {
            ConfigMistake::RepeatedPool(name) => (name, Setting::Name),
            ConfigMistake::SamePlace(_, other) => (other, Setting::Hosts),
            ConfigMistake::SameAffinityCookie(_, other) => (other, Setting::Cookie),
            // Found before, in its pool.
            _ => continue,
        };
        let Some((_, places)) = last(name) else { continue };
        let place = match setting {
            Setting::Name => &places.name,
            Setting::Hosts => &places.hosts,
            Setting::Cookie => &places.cookie,
        };
        reader.mistake(place.clone(), mistake.to_string());
    }
}

/// What of a later pool clashes with an earlier one.
enum Setting {
    Name,
    Hosts,
    Cookie,
}
